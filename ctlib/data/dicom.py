"""CT from DICOM: one slice, or a folder of them as a volume, with every way of not being one named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.data.dicom_slice import DicomSlice, read_ct_slice
from ctlib.errors import DataError

__all__ = ["DicomSeries", "DicomSlice", "read_ct_series", "read_ct_slice"]


@dataclass(frozen=True)
class DicomSeries:
    """Slices of one series in ascending position: volume (Z, Y, X) float32 [HU], voxel size (z, y, x) [mm]."""

    volume: Tensor
    spacing_mm: tuple[float, float, float]
    positions_mm: tuple[float, ...]
    patient_id: str
    sample_ids: tuple[str, ...]


def read_ct_series(folder: str | Path, gap_tolerance: float = 0.01, clip_padding: bool = True) -> DicomSeries:
    """Read the one CT series in a folder, sorted by position along the slice normal (file names mean nothing).

    gap_tolerance  allowed deviation of a step from the common spacing, as a fraction of it
    clip_padding   as in read_ct_slice

    DataError for an empty folder, several series, other sizes or orientations, equal positions, a missing slice, and
    slices shifted against each other (tilted gantry). A single slice takes SliceThickness for its z spacing.
    """
    folder = Path(folder)
    items = [(read_ct_slice(p, clip_padding), p) for p in _files(folder)]
    for item in items:
        _check_same(items[0][0], *item)
    items.sort(key=lambda item: item[0].position_mm)
    _check_ids(items)
    spacing = _common_step(items, gap_tolerance)
    slices = [s for s, _ in items]
    return DicomSeries(
        torch.stack([s.image for s in slices]),
        (spacing, *slices[0].spacing_mm),
        tuple(s.position_mm for s in slices),
        slices[0].patient_id,
        tuple(s.sample_id for s in slices),
    )


def _files(folder: Path) -> list[Path]:
    """The DICOM files of a folder by extension, or by their magic bytes where a file has none."""
    if not os.path.isdir(folder):
        raise DataError(folder, "folder", "does not exist")
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and (p.suffix.lower() in (".dcm", ".ima") or _magic(p))]
    if not files:
        raise DataError(folder, "folder", "holds no DICOM file (.dcm, .ima, or without extension)")
    return files


def _magic(path: Path) -> bool:
    if path.suffix or path.name.upper() == "DICOMDIR":  # DICOMDIR is a table of contents
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError as error:
        raise DataError(path, "file", f"cannot be read ({error.strerror})") from None


def _check_same(first: DicomSlice, s: DicomSlice, path: Path) -> None:
    """Same patient, series, grid and orientation as the first slice."""
    if s.series != first.series:
        raise DataError(path, "SeriesInstanceUID", "is of another series: one folder, one series")
    if s.patient_id != first.patient_id:
        raise DataError(path, "PatientID", "is of another patient")
    if s.image.shape != first.image.shape:
        raise DataError(path, "Rows, Columns", f"{tuple(s.image.shape)}, {tuple(first.image.shape)} elsewhere")
    if not np.allclose(s.spacing_mm, first.spacing_mm, rtol=1e-4):
        raise DataError(path, "PixelSpacing", f"is {s.spacing_mm}, {first.spacing_mm} elsewhere")
    if s.origin_mm is None:
        raise DataError(path, "ImagePositionPatient, ImageOrientationPatient", "missing: the slice has no place")
    if not np.allclose(s.orientation, first.orientation, atol=1e-3):
        raise DataError(path, "ImageOrientationPatient", "differs from the other slices of the series")
    shift = np.reshape(s.orientation, (2, 3)) @ (np.array(s.origin_mm) - np.array(first.origin_mm))
    if (np.abs(shift) > 0.5 * min(s.spacing_mm)).any():
        raise DataError(path, "ImagePositionPatient", "shifted in the plane (tilted gantry?): no rectangular volume")


def _check_ids(items: list[tuple[DicomSlice, Path]]) -> None:
    seen: set[str] = set()
    for s, path in items:
        if s.sample_id in seen:
            raise DataError(path, "SOPInstanceUID", "is that of another slice")
        seen.add(s.sample_id)


def _common_step(items: list[tuple[DicomSlice, Path]], tolerance: float) -> float:
    """The distance between neighboring slices [mm], the same everywhere."""
    if len(items) == 1:
        s, path = items[0]
        if not s.thickness_mm or s.thickness_mm < 0:
            raise DataError(
                path, "SliceThickness", "is needed where a series has one slice: nothing else gives z spacing"
            )
        return s.thickness_mm
    steps = np.diff([s.position_mm for s, _ in items])
    for step, (_, path) in zip(steps, items[1:], strict=True):
        if step < 1e-3:
            raise DataError(path, "ImagePositionPatient", f"is that of another slice ({step:.3g} mm apart)")
    common = float(np.sort(steps)[(len(steps) - 1) // 2])  # the lower median: a gap makes a step longer
    for step, (_, path) in zip(steps, items[1:], strict=True):
        if abs(step - common) > tolerance * common:
            raise DataError(path, "ImagePositionPatient", f"{step:.4g} mm above its neighbor, {common:.4g} elsewhere")
    return common
