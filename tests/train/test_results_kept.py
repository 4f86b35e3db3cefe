"""Results of minutes in files: found again, named after all that they depend on, damaged ones refused."""

import threading
import time

import pytest
import torch
from other_process import another_at

from ctlib.errors import DataError
from ctlib.train.kept import Kept


def test_kept_results_are_named_after_all_they_depend_on(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"value": torch.arange(3)}

    kept = Kept(tmp_path, "ctlib.prox")
    for _ in range(2):
        assert torch.equal(kept.get("a", {"n": 1}, make)["value"], torch.arange(3))
    assert torch.equal(Kept(tmp_path, "ctlib.prox").get("a", {"n": 1}, make)["value"], torch.arange(3))
    assert len(calls) == 1
    kept.get("a", {"n": 2}, make)
    Kept(tmp_path, "ctlib.linop").get("a", {"n": 1}, make)
    assert len(calls) == 3
    assert not list(tmp_path.glob("*.lock"))
    kept.path("a", {"n": 1}).write_bytes(b"broken")
    kept.forget()
    with pytest.raises(DataError, match="checkpoint"):
        kept.get("a", {"n": 1}, make)


def test_without_a_folder_results_stay_in_memory_and_with_one_they_can_leave_it(tmp_path):
    calls = []
    make = lambda: {"n": len(calls), "called": calls.append(1)}  # noqa: E731
    alone = Kept(None)
    assert alone.get("a", {}, make)["n"] == 0
    alone.forget()
    assert alone.get("a", {}, make)["n"] == 0
    assert list(tmp_path.iterdir()) == []
    there = Kept(tmp_path)
    there.get("a", {}, make)
    there.forget()
    assert there.memory == {}
    assert there.get("a", {}, make)["n"] == 1
    assert len(calls) == 2


def test_what_another_process_is_at_is_passed_over_or_waited_for(tmp_path):
    kept = Kept(tmp_path)
    with another_at(kept.path("a", {})) as end:
        assert kept.get("a", {}, lambda: {"value": 1}, wait=False) is None
        threading.Timer(0.2, end.set).start()
        began = time.monotonic()
        assert kept.get("a", {}, lambda: {"value": 1}) == {"value": 1}
        assert time.monotonic() - began > 0.1
