"""`test`: the unit tests, and every chapter compared with its reference: a stored run of it, or else a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ctlib.book import parameters
from ctlib.book.project import BookError, Project
from ctlib.book.runner import reference, run, store
from ctlib.book.session import ONE_THREAD

NBVAL = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "1200", "-p", "ctlib.book.runner.replay"]


def run_tests(project: Project, arguments: list[str], execute: bool = False, long: bool = False) -> int:
    """Exit code of pytest on the tests and the references, in two processes.

    arguments  further ones for pytest;  execute  run every chapter again, also where the store has a run of it
    long       the tests marked `long` alone, which are left out otherwise; no references
    """
    if bad := reference.problems(project):
        raise BookError("references cannot be trusted:\n" + "\n".join(bad))
    env = {**ONE_THREAD, "PYTHONHASHSEED": "0", **os.environ}  # a person may test with other numbers of threads
    env.pop("CTLIB_PRESET", None)
    as_stored = ONE_THREAD.items() <= env.items() and not execute
    replays = [word for path in stored(project) for word in ("--replay", str(path))] if as_stored else []
    chosen = ["-m", "long"] if long else ["-m", "not long", *NBVAL, *replays]
    command = [sys.executable, "-m", "pytest", *chosen, "-n", "2", "--dist", "loadfile", *arguments]
    return subprocess.call(command, cwd=project.root, env=env)


def stored(project: Project) -> list[Path]:
    """The runs of chapters at `ci` that the store has for the present code; tells which of them cannot be taken."""
    runs = []
    for slug in project.chapters():
        path = run.place(project, slug, run.run_key(project, slug, parameters.resolve(project, slug), "ci"))
        trouble = store.trouble(path)
        if not trouble and reference.made_from(project, slug, path):
            trouble = "the reference was written from the stored run"
        if not trouble:
            runs.append(path)
        elif path.exists():
            print(f"{slug}: {trouble}; the chapter is executed", flush=True)
    return runs
