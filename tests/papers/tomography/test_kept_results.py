"""Results in files: read again, told apart, shared by two processes; a plan passes over what another is at."""

import fcntl
import os
import threading
import time
from dataclasses import dataclass

import pytest

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.kept import Results
from ctlib.papers.tomography.run_plan import run_plan

CODE = "ctlib.papers.tomography.kept"


def test_a_result_is_computed_once_and_told_by_all_it_depends_on(tmp_path):
    made = []
    make = lambda: made.append(1) or {"value": len(made)}  # noqa: E731
    for _ in range(2):
        assert Results(tmp_path, CODE).get("a", {"n": 1}, make) == {"value": 1}
    assert Results(tmp_path, CODE).get("a", {"n": 2}, make) == {"value": 2}
    assert Results(tmp_path, "ctlib.papers.tomography.losses").get("a", {"n": 1}, make) == {"value": 3}
    assert not list(tmp_path.glob("*.lock"))


def test_without_a_folder_results_stay_in_memory():
    kept = Results(None, CODE)
    first = kept.get("a", {}, lambda: {"value": 1})
    kept.forget()
    assert kept.get("a", {}, lambda: {"value": 2}) is first


def test_what_another_is_at_is_passed_over_or_waited_for(tmp_path):
    kept = Results(tmp_path, CODE)
    lock = kept.path("a", {}).with_suffix(".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert kept.get("a", {}, lambda: {"value": 1}, wait=False) is None
    freed = threading.Timer(0.2, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
    freed.start()
    began = time.monotonic()
    assert kept.get("a", {}, lambda: {"value": 1}) == {"value": 1}
    assert time.monotonic() - began > 0.1
    lock.close()


@dataclass
class Plan:
    kept: Results
    checkpoints: str
    order: list

    def plan(self):
        return (Job(name) for name in "abc")

    def result(self, job, wait=True):
        return self.kept.get(job.name, {}, lambda: self.order.append(job.name) or {"pid": os.getpid()}, wait)


@dataclass(frozen=True)
class Job:
    name: str
    block: str = "all"


def test_a_plan_does_first_what_nobody_is_at(tmp_path):
    plan = Plan(Results(tmp_path, CODE), str(tmp_path), [])
    lock = plan.kept.path("a", {}).with_suffix(".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    threading.Timer(0.3, lambda: fcntl.flock(lock, fcntl.LOCK_UN)).start()
    assert run_plan(plan, say=lambda told: None)
    assert plan.order == ["b", "c", "a"]
    assert not run_plan(Plan(plan.kept, str(tmp_path), []), limit_s=1e-9)
    lock.close()


def test_a_plan_needs_a_folder():
    with pytest.raises(ArgumentError, match="checkpoints"):
        run_plan(Plan(Results(None, CODE), "", []))
