"""CT slices and series from DICOM files, in HU."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.errors import DataError, MissingDependency

MAX_PIXELS = 64 * 1024 * 1024
PADDING_HU = -1000.0  # nothing in a patient is below air: scanners write -2000 and less outside the round field of view
HU_LIMIT = 1e5


@dataclass(frozen=True)
class DicomSlice:
    """One CT slice: image (Y, X) float32 [HU], pixel size (y, x) [mm], position along its normal [mm], identity."""

    image: Tensor
    spacing_mm: tuple[float, float]
    position_mm: float | None
    patient_id: str
    series: str
    sample_id: str


@dataclass(frozen=True)
class DicomSeries:
    """Slices of one series in ascending position: volume (Z, Y, X) float32 [HU], voxel size (z, y, x) [mm]."""

    volume: Tensor
    spacing_mm: tuple[float, float, float]
    positions_mm: tuple[float, ...]
    patient_id: str
    sample_ids: tuple[str, ...]


def read_ct_slice(path: str | Path) -> DicomSlice:
    """Read one CT slice; HU = RescaleSlope * stored + RescaleIntercept, clipped below at -1000 (padding, not air).

    DataError names the file and the field for whatever is missing, of another modality, not finite or not decodable.
    """
    path = Path(path)
    data = _dataset(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of odd values; those that matter are checked below
        rows, cols = _layout(path, data)
        stored = _pixels(path, data, rows, cols)
        slope, intercept = (_number(path, data, f, d) for f, d in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0)))
        spacing = _numbers(path, data, "PixelSpacing", 2)
        position = _position(path, data)
        identity = {k: str(data.get(k, "") or "") for k in ("PatientID", "SeriesInstanceUID", "SOPInstanceUID")}
    if slope == 0:
        raise DataError(path, "RescaleSlope", "is 0: every pixel would be the same")
    hu = stored.astype(np.float64) * slope + intercept
    if not np.abs(hu).max() <= HU_LIMIT:
        raise DataError(path, "RescaleSlope, RescaleIntercept", f"give values beyond {HU_LIMIT:g} HU")
    if not all(s > 0 for s in spacing):
        raise DataError(path, "PixelSpacing", f"{spacing}: needs two numbers > 0")
    image = torch.from_numpy(np.maximum(hu, PADDING_HU).astype(np.float32))
    name = identity["SOPInstanceUID"] or path.name
    return DicomSlice(image, spacing, position, identity["PatientID"], identity["SeriesInstanceUID"], name)


def _dataset(path: Path):
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependency("pydicom", "DICOM files") from error
    if not path.is_file():
        raise DataError(path, "file", "does not exist")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path)
            modality = str(data.get("Modality", "missing"))
    except Exception as error:  # a damaged file makes pydicom raise a dozen types; all mean the same to a user
        raise DataError(path, "DICOM", f"cannot be read ({type(error).__name__}: {_short(error)})") from None
    if modality != "CT":
        raise DataError(path, "Modality", f"is {modality!r}, needs 'CT'")
    return data


def _layout(path: Path, data) -> tuple[int, int]:
    """(rows, columns) of a single-frame gray image of sane size."""
    values = {}
    for name, default in (("Rows", None), ("Columns", None), ("SamplesPerPixel", 1), ("NumberOfFrames", 1)):
        value = _number(path, data, name, default)
        if value != int(value) or value < 1:
            raise DataError(path, name, f"is {value:g}, needs a whole number >= 1")
        values[name] = int(value)
    if values["SamplesPerPixel"] != 1 or values["NumberOfFrames"] != 1:
        raise DataError(path, "SamplesPerPixel, NumberOfFrames", "need one gray frame a file")
    kind = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind != "MONOCHROME2":
        raise DataError(path, "PhotometricInterpretation", f"is {kind!r}, needs 'MONOCHROME2'")
    if values["Rows"] * values["Columns"] > MAX_PIXELS:
        raise DataError(path, "Rows, Columns", f"{values['Rows']} x {values['Columns']} is larger than any CT slice")
    return values["Rows"], values["Columns"]


def _pixels(path: Path, data, rows: int, cols: int) -> np.ndarray:
    if "PixelData" not in data:
        raise DataError(path, "PixelData", "missing")
    try:
        stored = np.asarray(data.pixel_array)
    except Exception as error:  # as above: decoders raise whatever their codec raises
        raise DataError(path, "PixelData", f"cannot be decoded ({type(error).__name__}: {_short(error)})") from None
    if stored.shape != (rows, cols):
        raise DataError(path, "PixelData", f"has shape {stored.shape}, Rows and Columns say {(rows, cols)}")
    return stored


def _numbers(path: Path, data, name: str, count: int) -> tuple[float, ...]:
    """`count` finite numbers of a field."""
    try:
        value = data.get(name)
        values = tuple(float(v) for v in ([] if value is None else value if count > 1 else [value]))
    except Exception as error:  # values are parsed on access, and broken ones raise anything
        raise DataError(path, name, f"cannot be read ({type(error).__name__}: {_short(error)})") from None
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise DataError(path, name, f"is {values if values else 'missing'}, needs {count} finite number(s)")
    return values


def _number(path: Path, data, name: str, default: float | None) -> float:
    try:
        absent = data.get(name) in (None, "")
    except Exception as error:
        raise DataError(path, name, f"cannot be read ({type(error).__name__}: {_short(error)})") from None
    return float(default) if absent and default is not None else _numbers(path, data, name, 1)[0]


def _position(path: Path, data) -> float | None:
    """Position along the slice normal [mm]; None where the file does not say."""
    try:
        if data.get("ImagePositionPatient") is None or data.get("ImageOrientationPatient") is None:
            return None
    except Exception as error:
        raise DataError(path, "ImagePositionPatient", f"cannot be read ({type(error).__name__})") from None
    place = _numbers(path, data, "ImagePositionPatient", 3)
    axes = np.array(_numbers(path, data, "ImageOrientationPatient", 6)).reshape(2, 3)
    return float(np.cross(*axes) @ np.array(place))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def read_ct_series(folder: str | Path, gap_tolerance: float = 0.01) -> DicomSeries:
    """Read the one CT series in a folder, sorted by position along the slice normal (file names mean nothing).

    gap_tolerance  allowed deviation of a step from the common spacing, as a fraction of it

    DataError for an empty folder, several series, other sizes, equal positions, or a missing slice.
    """
    folder = Path(folder)
    files = sorted(p for p in folder.glob("*") if p.is_file() and p.suffix.lower() in (".dcm", ".ima", ""))
    if not files:
        raise DataError(folder, "folder", "holds no DICOM file")
    slices = [(read_ct_slice(p), p) for p in files]
    first = slices[0][0]
    for s, path in slices:
        if (s.series, s.patient_id) != (first.series, first.patient_id):
            raise DataError(path, "SeriesInstanceUID", "is of another series: one folder, one series")
        if s.image.shape != first.image.shape or s.spacing_mm != first.spacing_mm:
            raise DataError(path, "Rows, Columns, PixelSpacing", "differ from the other slices of the series")
        if s.position_mm is None:
            raise DataError(path, "ImagePositionPatient", "missing: the slices cannot be ordered")
    slices.sort(key=lambda item: item[0].position_mm)
    positions = np.array([s.position_mm for s, _ in slices])
    steps = np.diff(positions)
    common = float(np.median(steps)) if len(steps) else math.nan
    for step, (_, path) in zip(steps, slices[1:], strict=True):
        if step < 1e-3:
            raise DataError(path, "ImagePositionPatient", f"is that of another slice ({step:.3g} mm apart)")
        if abs(step - common) > gap_tolerance * common:
            raise DataError(path, "ImagePositionPatient", f"{step:.4g} mm from its neighbour, {common:.4g} elsewhere")
    return DicomSeries(
        torch.stack([s.image for s, _ in slices]),
        (common, *first.spacing_mm),
        tuple(float(p) for p in positions),
        first.patient_id,
        tuple(s.sample_id for s, _ in slices),
    )
