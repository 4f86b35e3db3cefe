"""What one DICOM file of CT images or projections says of itself, without its pixels."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctlib.data import fields
from ctlib.errors import DataError, MissingDependency

PROJECTION_ROWS = (0x7029, 0x1010)  # number of detector rows: only DICOM-CT-PD has it
FIELDS = ("SeriesDescription", "PatientID", "SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "Modality",
          "ImageType", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
          "BitsAllocated", "ConvolutionKernel", "BodyPartExamined", PROJECTION_ROWS)  # fmt: skip
LETTERED = re.compile(r"[CLN]\d{3}")  # patients of LDCT-and-Projection-data: chest, abdomen (liver), head (neuro)


@dataclass(frozen=True)
class Header:
    """What one file says of itself; `grid` is (Rows, Columns), pixel spacing [mm] and orientation."""

    path: Path
    patient: str
    uid: str
    study: str
    instance: str
    description: str
    region: str
    kernel: str
    is_projection: bool
    grid: tuple = ()
    place_mm: tuple[float, ...] = ()  # center of pixel (0, 0) in the patient: x, y, z


def read_header(path: Path) -> Header | None:
    """What a file says of itself; None for a localizer or a reformat, DataError for what cannot be used."""
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependency("pydicom", "DICOM files") from error
    try:
        with path.open("rb") as stream:
            data = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(FIELDS))
            left = os.fstat(stream.fileno()).st_size - stream.tell()
    except Exception as error:  # a damaged file makes pydicom raise a dozen types
        raise DataError(path, "DICOM", f"cannot be read ({fields.short(error)})") from None
    names = ("PatientID", "SeriesInstanceUID", "StudyInstanceUID", "SOPInstanceUID", "SeriesDescription",
             "BodyPartExamined", "ConvolutionKernel")  # fmt: skip
    patient, uid, study, instance, description, part, kernel = (fields.text(path, data, n) for n in names)
    if not patient:  # nobody could then keep one person's slices in one part of a split
        raise DataError(path, "PatientID", "is missing")
    region = patient[0] if LETTERED.fullmatch(patient) else part.upper()
    is_projection = PROJECTION_ROWS in data
    if not is_projection and fields.text(path, data, "Modality") != "CT":
        raise DataError(path, "Modality", f"is {fields.text(path, data, 'Modality') or 'missing'!r}, needs 'CT'")
    about = (path, patient, uid, study, instance or str(path), description, region, kernel, is_projection)
    if is_projection:
        return Header(*about)
    if "LOCALIZER" in fields.text(path, data, "ImageType").upper():
        return None
    shape = tuple(fields.count(path, data, n) for n in ("Rows", "Columns"))
    axes = fields.numbers(path, data, "ImageOrientationPatient", 6)
    if not _is_axial(axes):
        return None
    _require_whole(path, data, shape, left)
    grid = (shape, fields.numbers(path, data, "PixelSpacing", 2), tuple(round(v, 3) + 0.0 for v in axes))
    return Header(*about, grid, fields.numbers(path, data, "ImagePositionPatient", 3))


def _is_axial(axes: Sequence[float]) -> bool:
    """Whether the slice's normal is within 60 degrees of the body's axis: a tilted gantry, and no reformat."""
    return abs(axes[0] * axes[4] - axes[1] * axes[3]) > 0.5


def _require_whole(path: Path, data, shape: tuple[int, ...], left: int) -> None:
    """Files cut off in transfer have fewer bytes left than tag and length (8 bytes) and pixels need."""
    needed = shape[0] * shape[1] * fields.count(path, data, "BitsAllocated") // 8
    try:
        syntax = data.file_meta.TransferSyntaxUID
        known = not (syntax.is_compressed or syntax.is_deflated)
    except Exception as error:
        raise DataError(path, "TransferSyntaxUID", f"cannot be read ({fields.short(error)})") from None
    if known and left < 8 + needed:
        raise DataError(path, "PixelData", f"is cut off: {max(0, left - 8)} bytes, needs {needed}")
