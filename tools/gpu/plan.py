"""The steps: tests, benchmark, and the `paper` runs of the chapters; in a rehearsal the same at tiny sizes."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import stamp
from steps import Step

ROOT = Path(__file__).resolve().parents[2]
TESTS, BENCH, PAPER = STAGES = ("tests", "benchmark", "paper")
TEST_MODULES = ("pytest", "hypothesis")
CHAPTER_MODULES = {
    "02-deep-image-prior": ("skimage", "pydicom"),
    "02a-why-it-works": ("pydicom",),
    "02b-settings": ("skimage", "pydicom"),
    "04a-hqinet-tested": ("skimage",),
}
COLLECTED = (0, 5)  # exit codes of pytest: all passed; nothing to run on this machine

# Expected minutes. Tests and benchmark: from the numbers of cases, about half a second each on a device and ten seconds
# to import and compile; not measured. `paper`: the seconds of the recorded `laptop` run, times how much more there is
# to compute, over how much faster the device is taken to be. What steps took corrects all of them, as soon as some did.
FILE_MINUTES, CASE_MINUTES = 1.0, 1.5
WORK = {  # chapter: (more work than `laptop`, how many times faster, seconds of `laptop` at least)
    "01-forward-model": (4, 4, 300),  # on the processor: views x 1.4, cone x 4.6
    "01a-iterative-reconstruction": (25, 4, 1000),  # on the processor: 512 x 512 pixels, views x 2.8, slower to settle
    "01b-projector-tested": (5, 4, 120),  # on the processor: grids up to 2048
    "05-differentiable-pcct": (8, 4, 600),  # on the processor: steps x 7.5, rates x 1.5
    "05a-likelihood-and-fold": (1, 4, 60),  # on the processor
    "05b-scatter": (4000, 300, 10000),  # pixels x 64, images x 28, epochs x 2, photons x 60; bfloat16
    "05c-beyond-the-paper": (20, 4, 1200),  # on the processor: pixels x 4, views x 2, scans x 3
    "05d-derived": (15, 4, 1200),  # on the processor: steps x 7.5, draws x 5
    "02-deep-image-prior": (2700, 300, 5000),  # pixels x 28, channels^2 x 16, steps x 6; float32
    "02a-why-it-works": (32, 100, 2500),  # pixels x 16, steps x 2; float32
    "02b-settings": (90, 100, 10000),  # pixels x 16, steps x 5; float32
    "04-hqinet": (2000, 300, 7000),  # at the paper's width: pixels a step x 176, steps x 4, seeds x 3; bfloat16
    "04a-hqinet-tested": (2000, 300, 7000),  # widths x 4, pixels a step x 192, steps x 4; bfloat16
    "03-spectral2spectral": (64, 100, 9000),  # pixels x 16, steps x 4; estimated from measured steps; bfloat16
    "06-generative-tomography": (1100, 1000, 17000),  # pixels x 4, channels^2 x 7, steps x 10, batch x 4; bfloat16
    "06a-generator": (20000, 1000, 5000),  # pixels x 16, channels^2 x 7, steps x 50, batch x 2; bfloat16
    "06b-side-matters": (30000, 1000, 200),  # pixels x 16, channels^2 x 16, steps x 20, batch x 4; bfloat16
}


def steps(state: Path, results: Path, rehearse: bool) -> list[Step]:
    """All steps in their order; what they keep lies in `state`, what they find in `results`."""
    return [*test_steps(rehearse), *bench_steps(state, results, rehearse), *paper_steps(state, results, rehearse)]


def test_steps(rehearse: bool) -> list[Step]:
    """A step a file: the kernels' tests, then the tests marked `gpu` of the others."""
    kernels = sorted([*ROOT.glob("tests/*/test_triton*.py"), *ROOT.glob("tests/*/test_cells.py")])
    marked = sorted(p for p in ROOT.glob("tests/**/test_*.py") if "@pytest.mark.gpu" in p.read_text(encoding="utf-8"))
    chosen = [(p, ()) for p in kernels] + [(p, ("-m", "gpu")) for p in marked if p not in kernels]
    if rehearse:
        chosen = [(ROOT / "tests/backends/test_triton.py", ()), (ROOT / "tests/devices/test_outside.py", ())]
    needs = TEST_MODULES if rehearse else (*TEST_MODULES, "triton")  # without it they would skip, and pass
    return [_of_file(path.relative_to(ROOT).as_posix(), options, needs) for path, options in chosen]


def _of_file(file: str, options: tuple[str, ...], needs: tuple[str, ...]) -> Step:
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, file)
    patterns = ("conftest.py", "helpers/*.py", "devices/*.py", f"{Path(file).parent.name}/conftest.py")
    helpers = {path for pattern in patterns for path in (ROOT / "tests").glob(pattern)}
    code = stamp.digest({ROOT / file, *helpers}, stamp.library())
    return Step(TESTS, file, command, FILE_MINUTES, "about 50 cases a file", needs, good=COLLECTED, code=code)


def bench_steps(state: Path, results: Path, rehearse: bool) -> list[Step]:
    """A step a scan, and the decomposition; each renews the benchmark's file of what there is so far."""
    cases = ["parallel 32", "decomposition"] if rehearse else ["parallel 256", "fan 512", "cone 128", "decomposition"]
    options = ["--device", "cpu", "--quick"] if rehearse else []
    code, made = stamp.digest(ROOT.glob("tests/bench/*.py"), stamp.library()), []
    program, result = (sys.executable, "tests/bench/gpu.py", "--code", code), str(results / "bench/gpu.json")
    for case in cases:
        part = state / "bench" / f"{case.replace(' ', '-')}.json"
        first = (*program, "--case", case, "--out", str(part), *options)
        then = (*program, "--merge", str(part.parent), "--out", result)
        needs = ("xraylib",) if case == "decomposition" else ()
        command = (sys.executable, str(ROOT / "tools/gpu/chain.py"), json.dumps([first, then]))
        made.append(Step(BENCH, case, command, CASE_MINUTES, "15 rounds of about 20 calls", needs, code=code))
    return made


def paper_steps(state: Path, results: Path, rehearse: bool) -> list[Step]:
    """A step a chapter with a preset `paper`, the shortest first, those that leave the device idle last.

    Each goes on after its last slow cell.
    """
    store = state / "store"
    if rehearse:
        command = (sys.executable, "tools/gpu/rehearsal.py", str(store), str(results))
        needs, paths = ("xraylib", "yaml"), ("tests/devices", "tests/helpers")
        found = {"PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in paths)}
        slug = "lab-real-mouse"
        about = {"environment": found, "code": stamp.chapter(slug)}
        return [Step(PAPER, slug, command, 1.0, "its tests", needs, True, str(store), **about)]
    made = []
    for path in sorted((ROOT / "book/presets").glob("*.yml")):
        found = re.search(r"^paper:.*?(?=^\w|\Z)", path.read_text(encoding="utf-8"), re.M | re.S)
        if found:
            slug = path.stem
            words = ("record", slug, "--preset", "paper", "--in-process", "--store", str(store))
            needs = ("yaml", "xraylib", *CHAPTER_MODULES.get(slug, ()))
            command = (sys.executable, "-m", "ctlib.book", *words)
            step = Step(
                PAPER, slug, command, *_expected(slug), needs, True, str(store / slug), code=stamp.chapter(slug)
            )
            made.append(("device: cuda" not in found[0], step.minutes, step))
    return [step for *_, step in sorted(made, key=lambda m: m[:2])]


def _expected(slug: str) -> tuple[float, str]:
    """(minutes, from what) of a chapter at `paper`."""
    more, faster, seconds = WORK.get(slug, (1000, 300, 0))
    record = ROOT / "book/results/laptop" / f"{slug}.json"
    if record.exists():
        recorded = json.loads(record.read_text(encoding="utf-8"))["seconds"]
        seconds = max(seconds, recorded)  # trainings that were kept from before are not in what was recorded
    seconds = seconds or 3600
    return seconds * more / faster / 60, f"`laptop` took {seconds:.0f} s; {more} x the work, {faster} x the speed"
