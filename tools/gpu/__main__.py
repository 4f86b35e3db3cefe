"""All that a GPU is needed for, in one command for a bare machine: `make gpu`, or `python3 tools/gpu`.

Tests of the kernels on the device, the benchmark, the `paper` runs of the chapters, in this order. A call runs what is
left for --minutes and ends with a table; the next one goes on, and repeats what was done with other code, device or
versions. Results land in book/results/bench/gpu.json and book/results/paper, ready to commit. Needs Linux, Python 3.11
or newer, torch with CUDA, Triton, NumPy, SciPy, numba, matplotlib; what else steps need comes from the folder that
`make gpu-pack` fills on a machine with a network (for Python 3.12 on x86-64, or another), or they are skipped.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

import pack
import plan
import stamp
from steps import DONE, FAILED, LEFT, SKIPPED, Book, run

SOME_FAILED, NO_DEVICE, SOME_LEFT = 1, 3, 4  # exit codes
CODES = "exit codes: 0 nothing is left, 1 nothing is left and steps failed, 3 no device, 4 steps are left: call again"


FOREIGN = {"TRITON_INTERPRET", "CTLIB_BOOK", "CTLIB_PRESET"}  # of the process that calls, not of the steps


def main() -> int:
    options = _options()
    state = options.state or plan.ROOT / "_build" / ("gpu-rehearsal" if options.rehearse else "gpu")
    results = state / "book" / "results" if options.rehearse else plan.ROOT / "book" / "results"
    steps = [s for s in plan.steps(state, results, options.rehearse) if options.stage in (None, s.stage)]
    if options.pack.is_dir():
        sys.path.insert(0, str(options.pack.absolute()))  # its versions count
    name = "rehearsal, without a device" if options.rehearse else _device()
    book = Book(state, {**stamp.machine(name), "commit": stamp.commit()} if name else None)
    if not (options.status or name):
        print("no CUDA device: torch sees none here; --rehearse runs all stages at tiny sizes without one")
        return NO_DEVICE
    if options.again:
        for step in steps:
            if (known := book.of(step)).state == FAILED:
                known.state = LEFT
    if not options.status:
        print(name, flush=True)
        for number in (signal.SIGTERM, signal.SIGHUP):  # a step has a session of its own: it is ended from here
            signal.signal(number, signal.default_int_handler)
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if options.rehearse else {}
        try:
            run(steps, book, 60 * options.minutes, _environment(options.pack) | hidden, plan.ROOT)
        except KeyboardInterrupt:
            print("interrupted; what was done is kept")
    print("\n".join(table(steps, book)))
    return exit_code([book.of(s).state for s in steps])


def exit_code(states: list[str]) -> int:
    """What a loop around calls needs to know; while steps are left, also in a line, above what `make` says of it."""
    if num := states.count(LEFT):
        print(f"{num} of {len(states)} steps left: call again to go on (exit code {SOME_LEFT})")
        return SOME_LEFT
    return SOME_FAILED if FAILED in states else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__.splitlines()[0], epilog=CODES)
    parser.add_argument("--minutes", type=float, default=8.0, help="of this call (default: 8)")
    parser.add_argument("--stage", choices=plan.STAGES, help="one alone (default: all, in their order)")
    parser.add_argument("--state", type=Path, help="folder of what is known and kept (default: _build/gpu)")
    parser.add_argument("--pack", type=Path, default=pack.FOLDER, help="what `make gpu-pack` made")
    parser.add_argument("--status", action="store_true", help="the table alone")
    parser.add_argument("--again", action="store_true", help="run failed steps again")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, without a device, into the state's folder")
    options = parser.parse_args()
    options.state = options.state and options.state.absolute()
    return options


def _device() -> str:
    """Name of the CUDA device; "" without one."""
    try:
        import torch
    except ImportError:
        return ""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def _environment(packed: Path) -> dict[str, str]:
    """What steps run in: the library and the pack on the path, no display, no interpreter."""
    folders = [str(plan.ROOT), *([str(packed.absolute())] if packed.is_dir() else []), os.environ.get("PYTHONPATH", "")]
    added = {"PYTHONPATH": os.pathsep.join(filter(None, folders)), "MPLBACKEND": "agg", "PYTHONHASHSEED": "0"}
    return {**{k: v for k, v in os.environ.items() if k not in FOREIGN}, **added}


def table(steps: list, book: Book) -> list[str]:
    """A line a stage and a step: what came of it, or how long it is expected to take and from what that is said."""
    lines = [
        f"{'stage':12s}{'done':>6s}{'failed':>8s}{'skipped':>9s}{'left':>6s}{'min expected':>14s}{'min taken':>11s}"
    ]
    for stage in dict.fromkeys(s.stage for s in steps):
        mine = [(s, book.of(s)) for s in steps if s.stage == stage]
        count = {state: sum(k.state == state for _, k in mine) for state in (DONE, FAILED, SKIPPED, LEFT)}
        expected, taken = expected_minutes(mine), sum(k.seconds for _, k in mine) / 60
        counts = f"{count[DONE]:>6d}{count[FAILED]:>8d}{count[SKIPPED]:>9d}{count[LEFT]:>6d}"
        lines.append(f"{stage:12s}{counts}{expected:>14.1f}{taken:>11.1f}")
    for step in steps:
        known = book.of(step)
        about = known.why or f"expected {step.minutes:.0f} min: {step.source}"
        lines.append(f"  {known.state:8s}{step.key}: {about}")
    return lines


def expected_minutes(mine: list) -> float:
    """Minutes of what is left of a stage: as planned, times how much longer than planned those took that are done."""
    done = [(s.minutes, k.seconds / 60) for s, k in mine if k.state == DONE]
    factor = sum(t for _, t in done) / sum(m for m, _ in done) if done else 1.0
    return sum(max(0.0, factor * s.minutes - k.seconds / 60) for s, k in mine if k.state == LEFT)


if __name__ == "__main__":
    sys.exit(main())
