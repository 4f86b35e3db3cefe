"""A plan of kept jobs, worked through by one process or by several that share a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ctlib.contract import number
from ctlib.errors import ArgumentError


def run_plan(study, blocks: Sequence[str] = (), limit_s: float = float("inf"), say: Callable = print) -> bool:
    """Do the jobs of a study's plan in its order and keep each; whether all are done.

    study    with `checkpoints`, plan() and result(job, wait)
    blocks   parts of the plan, all by default;  limit_s  no job is begun after so many seconds
    say      is told every job as it ends

    A job that another process is at is passed over, and waited for at the end.
    """
    if not study.checkpoints:
        raise ArgumentError("checkpoints", repr(study.checkpoints), "a folder in which the results are kept")
    limit_s, start, left = number("limit_s", limit_s, above=0, finite=False), time.monotonic(), []
    for wait in (False, True):
        for job in study.plan() if not wait else left:
            if blocks and job.block not in blocks:
                continue
            began = time.monotonic()
            if began - start > limit_s:
                return False
            if study.result(job, wait) is None:
                left.append(job)
            elif time.monotonic() - began > 1:
                say(f"{job.block}: {job.name}, {time.monotonic() - began:.0f} s")
            study.kept.forget()
    return True
