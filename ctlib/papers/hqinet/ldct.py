"""The images of patients at two doses, as gray values of an HU window; only the files that are asked for are read."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ctlib import contract
from ctlib.data.dicom import read_ct_slice
from ctlib.data.images import window
from ctlib.data.pairs import DosePair
from ctlib.errors import ArgumentError, DataError
from ctlib.papers.hqinet.ldct_cohort import Cohort, Exam, SlicePair, find_cohort, find_exams

__all__ = ["Cohort", "Exam", "Patches", "find_cohort", "find_exams", "read_cohort", "read_dose_pair", "read_runs"]


def read_runs(
    exam: Exam, window_hu: tuple[float, float] = (-1000.0, 1000.0), size: int | None = None,
    num_slices: int | None = None, least: int = 1,
) -> tuple[DosePair, ...]:  # fmt: skip
    """Both doses of an exam as gray values of an HU window, a `DosePair` for each run of adjacent slices.

    size        side of the square cut from the middle of every slice; None: whole slices
    num_slices  at most so many slices, from the middle of the longest runs; None: all
    least       shorter runs are left out: three slices make one sample of three

    A file that cannot be read ends the run that it lies in, with a warning. DataError where the exam has no such run.
    """
    low, high = (contract.number("window_hu", v) for v in window_hu)
    least = contract.count("least", least, 1)
    if exam.problem or not exam.runs:
        raise DataError(exam.patient, "doses", exam.problem or "no slices")
    shape = exam.full.grid[0]
    size = None if size is None else contract.count("size", size, 1, min(shape))
    left = sum(map(len, exam.runs)) if num_slices is None else contract.count("num_slices", num_slices, least)
    corner = None if size is None else tuple((n - size) // 2 for n in shape)
    pairs = []
    for run in sorted(exam.runs, key=len, reverse=True):
        take = min(left, len(run))
        if take < least:
            break
        start = (len(run) - take) // 2
        for slices in _readable(run[start : start + take]):
            if len(slices) >= least:
                cut = [torch.stack(v) for v in zip(*slices, strict=True)]
                low_gray, full_gray = (window(_cut(v, corner, size), low, high) for v in cut)
                pairs.append(DosePair(exam.patient, low_gray.contiguous(), full_gray.contiguous()))
                left -= len(slices)
    if not pairs:
        raise DataError(exam.patient, "slices", f"no {least} adjacent ones at both doses can be read")
    return tuple(pairs)


def _readable(run: Sequence[SlicePair]) -> list[list[tuple[Tensor, Tensor]]]:
    """(low, full) in HU of every slice, in a list of its own behind each that cannot be read."""
    parts: list[list[tuple[Tensor, Tensor]]] = [[]]
    for pair in run:
        try:
            parts[-1].append(read_pair(pair))
        except DataError as error:
            warnings.warn(f"slice skipped: {error}", stacklevel=3)
            parts.append([])
    return parts


def read_pair(pair: SlicePair) -> tuple[Tensor, Tensor]:
    """(low, full), each (Y, X) in HU."""
    low, full = (read_ct_slice(p).image for p in (pair.low, pair.full))
    if low.shape != full.shape:
        raise DataError(pair.low, "Rows, Columns", f"{tuple(low.shape)}, {tuple(full.shape)} at full dose")
    return low, full


def _cut(x: Tensor, corner: tuple[int, int] | None, size: int | None) -> Tensor:
    return x if corner is None else x[..., corner[0] : corner[0] + size, corner[1] : corner[1] + size]


def read_dose_pair(exam: Exam, **options) -> DosePair:
    """The first of `read_runs`, from the exam's longest run; options as there."""
    return read_runs(exam, **options)[0]


def read_cohort(source: Cohort | str | Path, patients: Sequence[str] | None = None, **options) -> tuple[DosePair, ...]:
    """`read_runs` of every exam that has both doses, or of the patients named; options as there.

    source  a folder, or what `find_cohort` found in it
    A patient's exams share `num_slices`. An exam that cannot be read is left out, with a warning.
    """
    cohort = source if isinstance(source, Cohort) else find_cohort(source)
    exams = {p: list(of) for p, of in itertools.groupby(cohort.exams, lambda e: e.patient)}
    if patients is None:
        patients = [p for p, of in exams.items() if of[0].runs]
    if unknown := [p for p in patients if p not in exams]:
        raise DataError(cohort.root, "patients", f"{', '.join(unknown)} not found")
    if broken := next((exams[p][0] for p in patients if not exams[p][0].runs), None):
        raise DataError(broken.patient, "doses", broken.problem)
    pairs, num, least = [], options.pop("num_slices", None), contract.count("least", options.get("least", 1), 1)
    for p in patients:
        share = num and max(least, contract.count("num_slices", num, least) // len(exams[p]))
        for exam in exams[p]:
            try:
                pairs += read_runs(exam, num_slices=share, **options)
            except DataError as error:
                warnings.warn(f"exam skipped: {error}", stacklevel=2)
    if not pairs:
        raise DataError(cohort.root, "patients", "none has images at both doses that can be read\n" + cohort.describe())
    return tuple(pairs)


class Patches:
    """Samples of adjacent low-dose slices cut to a patch, read from the files when they are asked for.

    exams       as `find_cohort` gives them; every inner slice of every run is one sample
    size        side of a patch, whose place is drawn anew from each sample's seed
    num_slices  adjacent slices of an input, odd

    patches(indices, seeds) is the `fetch` of `ctlib.train.fit`: inputs (B, num_slices, size, size), full dose
    (B, 1, size, size); len(patches) their number.
    """

    def __init__(
        self, exams: Sequence[Exam], size: int, num_slices: int = 3, window_hu: tuple[float, float] = (-1000.0, 1000.0)
    ):
        self.half = contract.count("num_slices", num_slices, 1) // 2
        if num_slices % 2 == 0:
            raise ArgumentError("num_slices", num_slices, "an odd number")
        runs = [(e, r) for e in exams for r in e.runs]
        self.samples = [(r, k) for _, r in runs for k in range(self.half, len(r) - self.half)]
        if not self.samples:
            raise ArgumentError("exams", f"{len(runs)} runs", f"a run of at least {num_slices} slices at both doses")
        self.size = contract.count("size", size, 1, min(min(e.full.grid[0]) for e, _ in runs))
        self.window = tuple(contract.number("window_hu", v) for v in window_hu)

    def __len__(self) -> int:
        return len(self.samples)

    def __call__(self, indices: Sequence[int], seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        drawn = [self._patch(*self.samples[int(i)], seed) for i, seed in zip(indices, seeds, strict=True)]
        return tuple(torch.stack(v) for v in zip(*drawn, strict=True))

    def _patch(self, run: Sequence[SlicePair], k: int, seed: int) -> tuple[Tensor, Tensor]:
        full = read_ct_slice(run[k].full).image
        lows = [read_ct_slice(p.low).image for p in run[k - self.half : k + self.half + 1]]
        generator = torch.Generator().manual_seed(seed)
        corner = [int(torch.randint(n - self.size + 1, (), generator=generator)) for n in full.shape]
        inputs, target = (window(_cut(x, corner, self.size), *self.window) for x in (torch.stack(lows), full[None]))
        return inputs, target
