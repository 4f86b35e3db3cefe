"""Whose slices are used: measured ones, exams of a folder, synthetic bodies; always divided by patient."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ctlib.data.anatomy import real_slices
from ctlib.data.pairs import DosePair
from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.cases import (
    NOISE_HU,
    Case,
    dose_for,
    inside_body,
    noise_or,
    real_case,
    runs_of,
    synthetic_case,
)
from ctlib.papers.hqinet.ldct import Cohort, find_cohort, read_cohort
from ctlib.papers.hqinet.ldct_split import describe_cohort, divide
from ctlib.papers.hqinet.scan import Scanner

PARTS = ("train", "val", "test")
SHARES = {"train": 0.6, "val": 0.15, "test": 0.25}  # of the synthetic bodies
FIRST_SEED = {"train": 0, "val": 100_000, "test": 200_000}  # of the synthetic bodies: no two are the same
WIDE_HU = (-1000.0, 1000.0)
MAX_NOISE_HU = 30.0  # of measured slices: bone and lung kernels are above it, nobody would call them full dose


def scanner_of(p: Mapping) -> Scanner:
    """The scanner of the chapter's parameters."""
    return Scanner(p["n"], p["pixel_mm"], p["views"], p["kernel"])


def cases_of(p: Mapping) -> tuple[dict[str, list[Case]], str]:
    """({part: cases}, what was found) for the chapter's parameters: measured or exams first, then synthetic ones."""
    folder = p["data"]
    if folder and not Path(folder, "slices.csv").is_file():
        found, told = exam_cases(folder, p["n"], p["exam_slices"])
    else:
        found, told = measured_cases(folder or None, scanner_of(p), p["doses"])
    noise = sorted(c.noise_hu for c in found["train"] if not math.isnan(c.noise_hu))
    level = noise[len(noise) // 2] if noise else NOISE_HU
    for part, cases in synthetic_cases(p, level).items():
        found[part] += cases
    lines = [told, *(f"{part}: {counted(found[part])}" for part in PARTS)]
    return found, "\n".join(lines)


def counted(cases: Sequence[Case]) -> str:
    """How many people, synthetic bodies and samples there are."""
    people, made = ({c.patient for c in cases if (c.truth is None) is real} for real in (True, False))
    doses = Counter(f"{c.dose:.0%}" for c in cases if not math.isnan(c.dose))
    samples = sum(max(0, len(c.full) - 2) for c in cases)
    low = ", ".join(f"{n} at {d}" for d, n in sorted(doses.items()))
    return f"{len(people)} patients, {len(made)} synthetic bodies, {samples} slices" + (
        f" ({low} of the dose, in stretches)" * bool(low)
    )


def measured_cases(folder: str | None, scanner: Scanner, doses: Sequence[float]) -> tuple[dict[str, list[Case]], str]:
    """Stretches of adjacent measured slices, with a low dose put into them: {part: cases}, and how many there are."""
    found, left_out = {}, 0
    for part in PARTS:
        runs = runs_of(real_slices(folder, split=part))
        if not runs:
            raise ArgumentError("data", folder or "the sample", f"three adjacent slices of somebody in part {part}")
        cases = [real_case(run, scanner, doses) for run in runs]
        found[part] = [c for c in cases if c.noise_hu <= MAX_NOISE_HU] or cases
        left_out += len(cases) - len(found[part])
    total = sum(len(c.full) for cases in found.values() for c in cases)
    told = f"measured slices: {total} in {sum(map(len, found.values()))} stretches of adjacent ones"
    return found, told + f"; {left_out} left out, noisier than {MAX_NOISE_HU:g} HU" * bool(left_out)


def synthetic_cases(p: Mapping, noise_hu: float) -> dict[str, list[Case]]:
    """Torsos, shared out by `SHARES`, at the chapter's low doses in turn."""
    scanner, num = scanner_of(p), p["num_synthetic"]
    count = {part: max(1, round(SHARES[part] * num)) if num else 0 for part in PARTS}
    return {
        part: [
            synthetic_case(FIRST_SEED[part] + k, scanner, p["doses"][k % len(p["doses"])], noise_hu, p["slices"])
            for k in range(count[part])
        ]
        for part in PARTS
    }


def exam_cases(folder: str | Path | Cohort, n: int, num_slices: int) -> tuple[dict[str, list[Case]], str]:
    """Exams at both doses below a folder, the middle n x n pixels of each slice: {part: cases}, and what was found.

    num_slices  at most so many of one patient, from the middle of the longest stretches
    """
    cohort = folder if isinstance(folder, Cohort) else find_cohort(folder)
    first = {e.patient: e for e in reversed(cohort.pairs)}
    options = {"window_hu": WIDE_HU, "num_slices": num_slices, "least": 3}
    found = {}
    for part, names in divide(cohort)[0].items():
        size = min(n, *(side for p in names for side in first[p].full.grid[0]))
        pairs = read_cohort(cohort, names, size=size, **options)
        about = ((first[p.patient].region, float(first[p.patient].full.grid[1][0])) for p in pairs)
        found[part] = [exam_case(pair, *known, n) for pair, known in zip(pairs, about, strict=True)]
    return found, describe_cohort(cohort)


def exam_case(pair: DosePair, region: str, pixel_mm: float, n: int) -> Case:
    """A stretch of slices at both doses, gray values of a wide window, as a case of n x n pixels, air around it."""
    border = n - pair.full.shape[-1]
    before = border // 2
    wide = torch.nn.functional.pad
    around = (before, border - before, before, border - before)
    span = WIDE_HU[1] - WIDE_HU[0]
    low, full = (span * wide(x, around) + WIDE_HU[0] for x in (pair.low, pair.full))
    noise = noise_or(full, pixel_mm, math.nan)
    dose = dose_for(region, (0.25, 0.1)) if len(region) == 1 else math.nan  # as the public collection says
    inside = inside_body(full, pixel_mm)
    return Case(pair.patient, region, dose, low, full, None, inside, pixel_mm, math.nan, noise, "exam of the folder")
