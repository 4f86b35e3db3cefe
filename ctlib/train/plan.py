"""Plans: the computations of a chapter as jobs of minutes, done in order by one process or by several side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from ctlib.contract import number
from ctlib.errors import ArgumentError


class Job(Protocol):
    """A part of a plan: `block` says of which part, `name` tells it from all others."""

    @property
    def block(self) -> str: ...

    @property
    def name(self) -> str: ...


class Planned(Protocol):
    """An experiment with a plan, whose results lie in the folder `checkpoints`."""

    checkpoints: str | Path | None

    def plan(self) -> Iterable[Job]:
        """All jobs, the most important first; what comes later may depend on results of what came before."""

    def do(self, job: Job, wait: bool = True) -> str | None:
        """Make a result or find it, and say what it is; None where another process is at it and `wait` is false."""


def run_plan(
    study: Planned, blocks: Sequence[str] = (), limit_s: float = float("inf"), say: Callable[[str], object] = print
) -> bool:
    """Do the jobs of a plan in its order; each is kept in the study's folder. Whether all are done.

    blocks   parts of the plan, all by default;  limit_s  no job is begun after so many seconds
    say      is told every job that took more than a second, as it ends

    A job that another process is at is passed over, and waited for at the end.
    """
    if not study.checkpoints:
        raise ArgumentError("checkpoints", repr(study.checkpoints), "a folder in which the results are kept")
    limit_s, start, left = number("limit_s", limit_s, above=0, finite=False), time.monotonic(), []
    for wait in (False, True):
        for job in left if wait else study.plan():
            if blocks and job.block not in blocks:
                continue
            began = time.monotonic()
            if began - start > limit_s:
                return False
            found = study.do(job, wait)
            if found is None:
                left.append(job)
            elif time.monotonic() - began > 1:
                say(f"{job.block}: {job.name}: {found}, {time.monotonic() - began:.0f} s".replace(": ,", ","))
    return True
