"""Patients at two doses from folders of DICOM, as LDCT-and-Projection-data, {cite}`moen2021`, and others hold them.

Series are found by their headers, wherever they lie: the whole collection or the folder above it, one patient, folders
named by UIDs. Slices of the two doses are matched by ImagePositionPatient; a missing slice ends a run of adjacent ones.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctlib.errors import ArgumentError, DataError
from ctlib.papers.hqinet.ldct_headers import Found, Series, find_series

DOSES = ("full", "low")
NAMES = {
    "full": re.compile(r"\b(full|routine|regular|normal|standard|high) ?dose"),
    "low": re.compile(r"\b(low|reduced|quarter|half|tenth) ?dose"),
}
POSITION_MM = 0.05  # by which slices of the two doses may be apart
STEP = 0.05  # by which steps of one run may differ, as a share: positions in files are rounded


@dataclass(frozen=True)
class SlicePair:
    """Files of one slice at both doses, and where it lies along z."""

    full: Path
    low: Path
    z_mm: float


@dataclass(frozen=True)
class Exam:
    """One patient's series at both doses, and `runs` of adjacent slices that both have.

    problem  why there are no runs; "" where there are. Half of the collection has no low-dose images.
    """

    patient: str
    region: str
    full: Series | None = None
    low: Series | None = None
    runs: tuple[tuple[SlicePair, ...], ...] = ()
    full_projections: Path | None = None
    low_projections: Path | None = None
    problem: str = ""


@dataclass(frozen=True)
class Cohort:
    """What a folder holds: exams sorted by patient, and all that was found below it."""

    root: Path
    exams: tuple[Exam, ...]
    found: Found

    @property
    def pairs(self) -> tuple[Exam, ...]:
        """The exams that have both doses."""
        return tuple(e for e in self.exams if e.runs)

    def describe(self) -> str:
        """Counts of patients, series, pairs and slices, and what is incomplete, set aside or skipped, line by line."""
        runs, series = [r for e in self.pairs for r in e.runs], self.found.series
        incomplete = [e for e in self.exams if not e.runs]
        lines = [
            f"{self.root}: {len({s.patient for s in series})} patients, {len(series)} series, "
            f"{sum(len(s.files) for s in series)} files",
            f"{len(self.pairs)} pairs, {len(incomplete)} incomplete; {sum(map(len, runs))} slices at both doses in "
            f"{len(runs)} runs; {self.found.set_aside} localizers or reformats set aside, "
            f"{len(self.found.skipped)} files skipped",
        ]
        lines += [f"  incomplete {e.patient}: {e.problem}" for e in incomplete[:5]]
        causes = Counter(e.field for e in self.found.skipped)
        for field, count in causes.most_common(5):
            lines.append(f"  skipped {count}: {next(e for e in self.found.skipped if e.field == field)}")
        return "\n".join(lines)


def find_cohort(root: str | Path, doses: Mapping[str, str] | None = None) -> Cohort:
    """Index the folder by the headers of its files; pixels are read later, by those who need them.

    doses  {"full": pattern, "low": pattern}, as "*3mm FD*", where the descriptions do not name the dose: matched with
           the series' description, its UID and its folder below root, upper and lower case alike
    """
    root, doses = Path(root), _patterns(doses)
    found, exams = find_series(root), []
    members = defaultdict(list)
    for s in found.series:
        members[s.patient].append((_dose(s, root, doses), s))
    for patient, its in sorted(members.items()):
        raw = {f"{dose}_projections": s.folder for dose, s in its if s.is_projection and dose}
        exams += _exams(patient, [(dose, s) for dose, s in its if not s.is_projection], raw)
    if not found.series:
        reason = f"; skipped: {found.skipped[0]}" if found.skipped else ""
        packed = " (archives are not opened: unzip them)" if next(root.rglob("*.zip"), None) else ""
        raise DataError(root, "folder", f"holds no exam, no CT series in DICOM files{packed}{reason}")
    return Cohort(root, tuple(exams), found)


def find_exams(root: str | Path, doses: Mapping[str, str] | None = None) -> tuple[Exam, ...]:
    """The exams of `find_cohort`."""
    return find_cohort(root, doses).exams


def _patterns(doses: Mapping[str, str] | None) -> dict[str, str] | None:
    if doses is None:
        return None
    if (
        not isinstance(doses, Mapping)
        or set(doses) != set(DOSES)
        or not all(isinstance(p, str) for p in doses.values())
    ):
        raise ArgumentError("doses", repr(doses), "{'full': pattern, 'low': pattern}")
    return {dose: pattern.lower() for dose, pattern in doses.items()}


def _dose(s: Series, root: Path, patterns: dict[str, str] | None) -> str | None:
    """ "full", "low", or None where neither or both fit."""
    if patterns is None:
        text = " ".join(re.sub(r"[_\-.]+", " ", s.description.lower()).split())
        fits = [dose for dose in DOSES if NAMES[dose].search(text)]
    else:
        names = [s.description.lower(), s.uid, s.folder.relative_to(root).as_posix().lower()]
        fits = [dose for dose in DOSES if any(fnmatch.fnmatchcase(n, patterns[dose]) for n in names)]
    return fits[0] if len(fits) == 1 else None


def _exams(patient: str, series: list[tuple[str | None, Series]], raw: dict[str, Path]) -> list[Exam]:
    """Pairs of series of one patient, best match first; what is left over becomes one incomplete exam."""
    of = {dose: [s for d, s in series if d == dose] for dose in DOSES}
    region = next((s.region for _, s in series), "")
    fits = []
    for full, low in itertools.product(of["full"], of["low"]):
        if pairs := matched(full, low):
            fits.append(((full.kernel == low.kernel, full.study == low.study, len(pairs)), full, low, pairs))
    exams, problem = [], ""
    while fits:
        best = max(f[0] for f in fits)
        first, *others = [f for f in fits if f[0] == best]
        if any(f[1] is first[1] or f[2] is first[2] for f in others):
            problem = "several series fit each other equally: name two by `doses`"
            break
        _, full, low, pairs = first
        exams.append(Exam(patient, region, full, low, _runs(full, pairs), **raw))
        fits = [f for f in fits if f[1] is not full and f[2] is not low]
    if not exams:
        exams = [Exam(patient, region, *((of[d] or [None])[0] for d in DOSES), (), **raw,
                      problem=problem or _problem(of, series))]  # fmt: skip
    return exams


def _problem(of: dict[str, list[Series]], series: list[tuple[str | None, Series]]) -> str:
    """Why no two series make a pair."""
    missing = [d for d in DOSES if not of[d]]
    if not missing:
        return _mismatch(of["full"][0], of["low"][0]) or "no slice of the two doses lies at the same place"
    text = " and ".join(f"no {d} dose images" for d in missing)
    names = sorted({s.description for d, s in series if d is None})
    return text + (f"; {', '.join(map(repr, names[:3]))} name no dose (argument doses)" if names else "")


def _mismatch(full: Series, low: Series) -> str:
    for k, name in enumerate(("Rows, Columns", "PixelSpacing", "ImageOrientationPatient")):
        if not np.allclose(full.grid[k], low.grid[k], rtol=1e-3, atol=1e-3):
            return f"{name} of the two doses are {full.grid[k]} and {low.grid[k]}"
    return ""


def matched(full: Series, low: Series) -> tuple[SlicePair, ...]:
    """Slices of both series that lie at one place, all three coordinates within 0.05 mm, in ascending z."""
    if _mismatch(full, low):
        return ()
    a, b = np.array(full.places_mm), np.array(low.places_mm)
    after = np.searchsorted(a[:, 2], b[:, 2]).clip(0, len(a) - 1)
    before = (after - 1).clip(0)
    near = np.where(np.abs(a[before, 2] - b[:, 2]) < np.abs(a[after, 2] - b[:, 2]), before, after)
    fits = np.abs(a[near] - b).max(1) <= POSITION_MM
    taken = {int(i): int(j) for j, i in enumerate(near) if fits[j]}
    return tuple(SlicePair(full.files[i], low.files[j], float(a[i, 2])) for i, j in sorted(taken.items()))


def _runs(full: Series, pairs: Sequence[SlicePair]) -> tuple[tuple[SlicePair, ...], ...]:
    """Pairs cut where the step is not the series' own."""
    steps = np.sort(np.diff([p[2] for p in full.places_mm]))
    common = float(steps[(len(steps) - 1) // 2]) if len(steps) else 0.0  # the lower median: a gap makes a step longer
    runs = [[pairs[0]]]
    for last, pair in itertools.pairwise(pairs):
        if abs(pair.z_mm - last.z_mm - common) > STEP * common:
            runs.append([])
        runs[-1].append(pair)
    return tuple(map(tuple, runs))
