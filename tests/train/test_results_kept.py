"""Results of minutes in files: found again, named after all that they depend on, damaged ones refused."""

import pytest
import torch

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
    assert kept.has("a", {"n": 1})
    kept.path("a", {"n": 1}).write_bytes(b"broken")
    kept.forget("a", {"n": 1})
    with pytest.raises(DataError, match="checkpoint"):
        kept.get("a", {"n": 1}, make)


def test_without_a_folder_results_stay_in_memory_and_with_one_they_can_leave_it(tmp_path):
    calls = []
    make = lambda: {"n": len(calls), "called": calls.append(1)}  # noqa: E731
    alone = Kept(None)
    assert not alone.has("a", {})
    assert alone.get("a", {}, make)["n"] == 0
    alone.forget("a", {})
    assert alone.has("a", {})
    assert alone.get("a", {}, make)["n"] == 0
    assert list(tmp_path.iterdir()) == []
    there = Kept(tmp_path)
    there.get("a", {}, make)
    there.forget("a", {})
    assert there.memory == {}
    assert there.get("a", {}, make)["n"] == 1
    assert len(calls) == 2
