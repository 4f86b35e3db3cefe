"""One CT slice from a DICOM file, in HU."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.data import fields
from ctlib.errors import DataError, MissingDependency

MAX_PIXELS = 4096 * 4096  # a size no scanner writes: refused before memory is asked for
PADDING_HU = -1000.0  # nothing is below vacuum: scanners write -2000 and less outside the round field of view
HU_RANGE = (-65536.0, 32768.0)  # beyond 16 bits: signed values declared unsigned, or a wrong slope


@dataclass(frozen=True)
class DicomSlice:
    """One CT slice and where it lies.

    image        (Y, X) float32 [HU]; spacing_mm (y, x)
    origin_mm    center of pixel (0, 0) in the patient, orientation unit vectors along a row and down a column:
                 both None where the file does not say
    position_mm  place along the slice normal; thickness_mm; None likewise
    """

    image: Tensor
    spacing_mm: tuple[float, float]
    origin_mm: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None
    position_mm: float | None
    thickness_mm: float | None
    patient_id: str
    series: str
    sample_id: str


def read_ct_slice(path: str | Path, clip_padding: bool = True) -> DicomSlice:
    """Read one CT slice; HU = RescaleSlope * stored + RescaleIntercept.

    clip_padding  raise everything below -1000 HU to -1000: no material is there, only the padding around the round
                  field of view (-2048 and the like) and noise in air. False keeps the values of the file.

    DataError names the file and the field for whatever is missing, of another modality, not finite or not decodable.
    """
    path = Path(path)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # pydicom warns of values that break the standard; those in use are checked here
        data = _opened(path)
        _check_kind(path, data)
        hu = _hounsfield(path, data)
        spacing = fields.numbers(path, data, "PixelSpacing", 2)
        origin, orientation = _place(path, data)
        unknown = fields.value(path, data, "SliceThickness") is None
        thickness = None if unknown else fields.number(path, data, "SliceThickness")
        names = [fields.text(path, data, f) for f in ("PatientID", "SeriesInstanceUID", "SOPInstanceUID")]
    if not all(s > 0 for s in spacing):
        raise DataError(path, "PixelSpacing", f"is {spacing}, needs two numbers > 0")
    image = torch.from_numpy((np.maximum(hu, PADDING_HU) if clip_padding else hu).astype(np.float32))
    position = None if origin is None else float(_normal(orientation) @ np.array(origin))
    return DicomSlice(image, spacing, origin, orientation, position, thickness, *names[:2], names[2] or path.name)


def _opened(path: Path):
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependency("pydicom", "DICOM files") from error
    if not os.path.isfile(path):
        raise DataError(path, "file", "does not exist")
    try:
        return pydicom.dcmread(path)
    except Exception as error:  # a damaged file makes pydicom raise a dozen types; all mean the same to a user
        raise DataError(path, "DICOM", f"cannot be read ({fields.short(error)})") from None


def _check_kind(path: Path, data) -> None:
    """A single gray CT frame in HU."""
    for name, allowed in (
        ("Modality", ("CT",)),
        ("PhotometricInterpretation", ("MONOCHROME2",)),
        ("RescaleType", ("", "HU", "US")),  # US: unspecified, in practice HU; spectral scanners store others
    ):
        given = fields.text(path, data, name)
        if given not in allowed:
            raise DataError(path, name, f"is {repr(given) if given else 'missing'}, needs {allowed[0] or 'HU'!r}")
    for name in ("SamplesPerPixel", "NumberOfFrames"):
        if fields.count(path, data, name, 1) != 1:
            raise DataError(path, name, "is above 1: needs one gray frame a file")


def _hounsfield(path: Path, data) -> np.ndarray:
    """(Y, X) float64 in HU, as stored."""
    stored = _stored(path, data)
    slope, intercept = (fields.number(path, data, name) for name in ("RescaleSlope", "RescaleIntercept"))
    if slope <= 0:
        raise DataError(path, "RescaleSlope", f"is {slope:g}, needs a number > 0")
    hu = stored.astype(np.float64) * slope + intercept
    low, high = hu.min(), hu.max()
    if not HU_RANGE[0] <= low <= high <= HU_RANGE[1]:
        raise DataError(path, "RescaleSlope, RescaleIntercept", f"give {low:g} ... {high:g}, not a CT's HU")
    return hu


def _stored(path: Path, data) -> np.ndarray:
    """(Y, X) integers of the file."""
    shape = tuple(fields.count(path, data, name) for name in ("Rows", "Columns"))
    if shape[0] * shape[1] > MAX_PIXELS:
        raise DataError(path, "Rows, Columns", f"{shape[0]} x {shape[1]} is larger than any CT slice")
    if fields.value(path, data, "PixelData") is None:
        raise DataError(path, "PixelData", "missing")
    _check_length(path, data, shape)
    try:
        stored = np.asarray(data.pixel_array)
    except Exception as error:  # decoders raise whatever their codec raises
        raise DataError(path, "PixelData", f"cannot be decoded ({fields.short(error)})") from None
    if stored.shape != shape:
        raise DataError(path, "PixelData", f"has shape {stored.shape}, Rows and Columns say {shape}")
    return stored


def _check_length(path: Path, data, shape: tuple[int, int]) -> None:
    """Without compression the length is known; DICOM pads it to an even number of bytes."""
    try:
        compressed = data.file_meta.TransferSyntaxUID.is_encapsulated
        given = len(data.PixelData)
    except Exception as error:
        raise DataError(path, "TransferSyntaxUID", f"cannot be read ({fields.short(error)})") from None
    needed = shape[0] * shape[1] * fields.count(path, data, "BitsAllocated") // 8
    if not compressed and given != needed + needed % 2:
        raise DataError(path, "PixelData", f"has {given} bytes, Rows, Columns and BitsAllocated need {needed}")


def _place(path: Path, data) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Origin and the two in-plane unit vectors, or (None, None)."""
    names = ("ImagePositionPatient", "ImageOrientationPatient")
    if any(fields.value(path, data, name) is None for name in names):
        return None, None
    origin, axes = fields.numbers(path, data, names[0], 3), fields.numbers(path, data, names[1], 6)
    gram = np.reshape(axes, (2, 3)) @ np.reshape(axes, (2, 3)).T
    if not np.allclose(gram, np.eye(2), atol=1e-3):
        raise DataError(path, names[1], f"is {axes}, needs two orthogonal unit vectors")
    return origin, axes


def _normal(orientation: tuple[float, ...]) -> np.ndarray:
    return np.cross(orientation[:3], orientation[3:])
