"""Plant small faults in one file, one at a time, and count how many of them its tests find.

    make mutate FILE=ctlib/recon/sirt.py                        # 10 faults, drawn with seed 0; the tests that mirror it
    make mutate FILE=ctlib/prox.py SAMPLE=25 SEED=3 TESTS="tests/test_prox.py tests/recon"

Cosmic Ray plants them (operators, numbers, comparisons, decorators, loops that never run), in a copy of the tree.
A fault that no test sees is printed as a difference: write the test, or say why the fault is none.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).resolve().parents[1]
CONFIG = """[cosmic-ray]
module-path = "{file}"
timeout = {timeout}
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"
"""


def mirrored(file: Path) -> list[str]:
    """The tests of a file: those of its room, and of its own name where they lie beside the rooms."""
    room = Path("tests", *file.parts[1:-1])
    own = Path("tests", f"test_{file.stem}.py") if len(file.parts) == 2 else room
    return [str(own)] if (ROOT / own).exists() else []


def copied(to: Path) -> None:
    """The tracked and new files of the tree, as they are now."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)


def draw(session: Path, sample: int, seed: int) -> int:
    """Leave a random sample of the faults to be planted; how many there are."""
    with use_db(session, WorkDB.Mode.open) as db:
        jobs = sorted(item.job_id for item in db.pending_work_items)
        order = {item.job_id: item.mutations[0] for item in db.pending_work_items}
        jobs.sort(key=lambda job: (order[job].start_pos, order[job].operator_name, order[job].occurrence))
        kept = set(random.Random(seed).sample(jobs, min(sample, len(jobs))))
        for job in jobs:
            if job not in kept:
                db.set_result(job, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    return len(jobs)


def report(session: Path) -> tuple[int, int]:
    """Print what no test saw; how many faults were found, of how many."""
    with use_db(session, WorkDB.Mode.open) as db:
        tried = [result for _, result in db.completed_work_items if result.worker_outcome != WorkerOutcome.SKIPPED]
    missed = [result for result in tried if result.test_outcome == TestOutcome.SURVIVED]
    for result in missed:
        print("\n".join(["", "no test saw this:", *(result.diff or "").splitlines()[2:]]))
    return len(tried) - len(missed), len(tried)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="file of the library, from the root of the project")
    parser.add_argument("tests", nargs="*", help="what pytest is given; by default the tests that mirror the file")
    parser.add_argument("--sample", type=int, default=10, help="faults planted (10)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for the tests of one fault (600)")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the project's environment")
    given = parser.parse_args(arguments)
    tests = given.tests or mirrored(given.file)
    if not (ROOT / given.file).is_file() or not tests:
        parser.error(f"{given.file}: needs a file of the library" if not tests else f"{given.file}: no such file")
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tree, session = Path(folder, "tree"), Path(folder, "session.sqlite")
        copied(tree)
        command = f"{given.python} -m pytest -q -x -p no:cacheprovider {' '.join(tests)}"
        Path(folder, "config.toml").write_text(CONFIG.format(file=given.file, timeout=given.timeout, command=command))
        environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        environment |= {"NUMBA_NUM_THREADS": "1", "NUMBA_CACHE_DIR": str(Path(folder, "numba"))}
        ray = [sys.executable, "-m", "cosmic_ray.cli"]
        for step in ("baseline", "init"):
            done = subprocess.run([*ray, step, "../config.toml", *["../session.sqlite"] * (step == "init")],
                                  cwd=tree, env=environment, capture_output=True, text=True)  # fmt: skip
            if done.returncode:
                print(f"{step} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", file=sys.stderr)
                return 2
        total = draw(session, given.sample, given.seed)
        subprocess.run([*ray, "exec", "../config.toml", "../session.sqlite"], cwd=tree, env=environment, check=True)
        found, tried = report(session)
    print(f"{given.file}: {found} of {tried} planted faults found ({total} possible)")
    return 0 if found == tried else 1


if __name__ == "__main__":
    raise SystemExit(main())
