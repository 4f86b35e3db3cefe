"""A plan of kept jobs passes over what another process is at."""

import os
import threading
import time
from dataclasses import dataclass

import pytest
from other_process import another_at

from ctlib.errors import ArgumentError
from ctlib.train.kept import Kept, claimed
from ctlib.train.plan import run_plan

CODE = "ctlib.train.kept"


@dataclass
class Plan:
    kept: Kept
    checkpoints: str
    order: list

    def plan(self):
        return (Job(name) for name in "abc")

    def do(self, job, wait=True):
        made = self.kept.get(job.name, {}, lambda: self.order.append(job.name) or {"pid": os.getpid()}, wait)
        return made and "made"


@dataclass(frozen=True)
class Job:
    name: str
    block: str = "all"


def test_a_plan_does_first_what_nobody_is_at(tmp_path):
    plan = Plan(Kept(tmp_path, CODE), str(tmp_path), [])
    with another_at(plan.kept.path("a", {})) as end:
        threading.Timer(0.3, end.set).start()
        assert run_plan(plan, say=lambda told: None)
    assert plan.order == ["b", "c", "a"]
    assert not run_plan(Plan(plan.kept, str(tmp_path), []), limit_s=1e-9)


def test_parts_of_a_plan_are_done_alone_and_long_jobs_are_told(tmp_path):
    plan, told = Plan(Kept(tmp_path, CODE), str(tmp_path), []), []
    assert run_plan(plan, ["none"], say=told.append)
    assert plan.order == told == []
    do = plan.do
    plan.do = lambda job, wait: (time.sleep(1.1), do(job, wait))[1] if job.name == "b" else do(job, wait)
    assert run_plan(plan, ["all"], say=told.append)
    assert plan.order == ["a", "b", "c"]
    assert told == ["all: b: made, 1 s"]


def test_a_file_is_one_process_s_at_a_time(tmp_path):
    path = tmp_path / "new" / "a.fit"
    with another_at(path), claimed(path, wait=False) as ours:
        assert not ours
    with claimed(path, wait=False) as ours:
        assert ours
    assert list(path.parent.iterdir()) == []  # no lock is left


def test_a_plan_needs_a_folder():
    with pytest.raises(ArgumentError, match="checkpoints"):
        run_plan(Plan(Kept(None, CODE), "", []))
