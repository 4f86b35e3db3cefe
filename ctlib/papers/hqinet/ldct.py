"""LDCT-and-Projection-data: patients at two doses from a folder in the collection's layout, {cite}`moen2021`."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctlib.data.dicom import DicomSeries, read_ct_series
from ctlib.data.images import window
from ctlib.data.pairs import DosePair
from ctlib.errors import ArgumentError, DataError

PATIENT = re.compile(r"[CLN]\d{3}")  # chest, abdomen (liver), head (neuro)
SERIES = {
    "full dose images": "full",
    "low dose images": "low",
    "full dose projections": "full_projections",
    "low dose projections": "low_projections",
}
POSITION_MM = 0.05  # by which slices of the two doses may be apart


@dataclass(frozen=True)
class Exam:
    """One patient's folders; None for what is not there. Half of the collection has no low-dose images."""

    patient: str
    full: Path | None = None
    low: Path | None = None
    full_projections: Path | None = None
    low_projections: Path | None = None


def find_exams(root: str | Path) -> tuple[Exam, ...]:
    """Exams below the collection's folder, or below the folder that holds it, sorted by patient.

    <root>/<patient>/<study>/<n.000000-Low Dose Images-xxxxx>/*.dcm, upper and lower case alike; or whatever folders
    <root>/metadata.csv names. DataError where a patient has two series of one kind, or nothing is found.
    """
    root = Path(root)
    if not os.path.isdir(root):
        raise DataError(root, "folder", "does not exist")
    inner = root / "LDCT-and-Projection-data"
    root = inner if inner.is_dir() else root
    found: dict[str, dict[str, Path]] = {}
    for patient, kind, folder in _listed(root) if (root / "metadata.csv").is_file() else _walked(root):
        exam = found.setdefault(patient, {})
        if kind in exam:
            raise DataError(folder, "series", f"patient {patient} has two of this kind: {exam[kind].name} is another")
        exam[kind] = folder
    if not found:
        raise DataError(root, "folder", "holds no exam: needs <C, L or N and three digits>/<study>/<series>/*.dcm")
    return tuple(Exam(patient, **found[patient]) for patient in sorted(found))


def _kind(description: str) -> str | None:
    """Which series a description or a folder `1.000000-Low Dose Images-12345` means."""
    text = " ".join(description.lower().replace("_", " ").split())
    return next((kind for name, kind in SERIES.items() if name in text), None)


def _walked(root: Path):
    for patient in sorted(p for p in root.iterdir() if p.is_dir() and PATIENT.fullmatch(p.name)):
        for folder in sorted(f for f in patient.glob("*/*") if f.is_dir()):
            if kind := _kind(folder.name):
                yield patient.name, kind, folder


def _listed(root: Path):
    path = root / "metadata.csv"
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, "CSV", f"cannot be read ({error})") from None
    for row in rows:
        for field in ("Subject ID", "Series Description", "File Location"):
            if not row.get(field):
                raise DataError(path, field, "missing in a row")
        kind, folder = _kind(row["Series Description"]), _below(path, root, row["File Location"])
        if kind and PATIENT.fullmatch(row["Subject ID"]) and folder is not None:
            yield row["Subject ID"], kind, folder


def _below(path: Path, root: Path, location: str) -> Path | None:
    """The folder a row names, relative to the collection or to the folder above it; None if it was not downloaded."""
    parts = Path(location.replace("\\", "/")).parts
    if ".." in parts or Path(*parts).is_absolute():
        raise DataError(path, "File Location", f"{location!r} leads out of the collection")
    return next((base.joinpath(*parts) for base in (root, root.parent) if base.joinpath(*parts).is_dir()), None)


def read_dose_pair(
    exam: Exam,
    window_hu: tuple[float, float] = (-1000.0, 1000.0),
    size: int | None = None,
    num_slices: int | None = None,
) -> DosePair:
    """Both image series of an exam, matched slice by slice by position, as gray values of an HU window.

    size        side of the square cut from the middle of every slice; None: whole slices
    num_slices  adjacent slices from the middle; None: all

    DataError for a missing series or slice, unequal counts, sizes or positions, another modality or patient.
    """
    for name in ("full", "low"):
        if getattr(exam, name) is None:
            raise DataError(exam.patient, f"{name} dose images", "are not there (half of the collection has none)")
    full, low = read_ct_series(exam.full), read_ct_series(exam.low)
    _require_match(exam, full, low)
    middle = _middle(exam, full, size, num_slices)
    low_gray, full_gray = (window(s.volume[middle], *window_hu).contiguous() for s in (low, full))
    return DosePair(exam.patient, low_gray, full_gray)


def _require_match(exam: Exam, full: DicomSeries, low: DicomSeries) -> None:
    if low.patient_id != full.patient_id:
        raise DataError(exam.low, "PatientID", f"is {low.patient_id!r}, {full.patient_id!r} at full dose")
    if low.volume.shape != full.volume.shape:
        raise DataError(exam.low, "slices", f"{tuple(low.volume.shape)}, {tuple(full.volume.shape)} at full dose")
    if not np.allclose(low.spacing_mm, full.spacing_mm, rtol=1e-3):
        raise DataError(exam.low, "spacing", f"is {low.spacing_mm} mm, {full.spacing_mm} mm at full dose")
    apart = np.abs(np.subtract(low.positions_mm, full.positions_mm))
    if apart.max() > POSITION_MM:
        k = int(apart.argmax())
        raise DataError(exam.low, "ImagePositionPatient", f"slice {k} is {apart[k]:.3g} mm from that at full dose")


def _middle(exam: Exam, series: DicomSeries, size: int | None, num_slices: int | None) -> tuple[slice, slice, slice]:
    wanted = [n if w is None else w for n, w in zip(series.volume.shape, (num_slices, size, size), strict=True)]
    for w, n in zip(wanted, series.volume.shape, strict=True):
        if not 1 <= w <= n:
            raise ArgumentError("size, num_slices", (size, num_slices), f"at most {tuple(series.volume.shape)}")
    return tuple(slice((n - w) // 2, (n - w) // 2 + w) for w, n in zip(wanted, series.volume.shape, strict=True))


def read_cohort(root: str | Path, patients: Sequence[str] | None = None, **options) -> tuple[DosePair, ...]:
    """`read_dose_pair` of every exam that has both image series, or of those named; options as there."""
    exams = {e.patient: e for e in find_exams(root)}
    if patients is None:
        patients = [p for p, e in exams.items() if e.full and e.low]
    if unknown := [p for p in patients if p not in exams]:
        raise DataError(root, "patients", f"{', '.join(unknown)} not found")
    if not patients:
        raise DataError(root, "patients", "none has images at both doses")
    return tuple(read_dose_pair(exams[p], **options) for p in patients)
