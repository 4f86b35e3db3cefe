"""A plan of kept jobs passes over what another process is at."""

import os
import threading
from dataclasses import dataclass

import pytest
from other_process import another_at

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.run_plan import run_plan
from ctlib.train.kept import Kept

CODE = "ctlib.train.kept"


@dataclass
class Plan:
    kept: Kept
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
    plan = Plan(Kept(tmp_path, CODE), str(tmp_path), [])
    with another_at(plan.kept.path("a", {})) as end:
        threading.Timer(0.3, end.set).start()
        assert run_plan(plan, say=lambda told: None)
    assert plan.order == ["b", "c", "a"]
    assert not run_plan(Plan(plan.kept, str(tmp_path), []), limit_s=1e-9)


def test_a_plan_needs_a_folder():
    with pytest.raises(ArgumentError, match="checkpoints"):
        run_plan(Plan(Kept(None, CODE), "", []))
