"""What a DICOM file says of its one CT slice: kind, place in the patient, and names; no pixel is decoded."""

from __future__ import annotations

import os
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctlib.data import fields
from ctlib.data.frame import Turn, find_turn
from ctlib.errors import DataError, MissingDependency

MAX_PIXELS = 4096 * 4096  # a size no scanner writes: refused before memory is asked for
MAX_BYTES = 2**29  # of a file: likewise
SPACING_MM = (1e-4, 100.0)
DEFLATED = "1.2.840.10008.1.2.1.99"
MULTIFRAME = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")  # enhanced CT and its legacy conversion
CAPTURES = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class SliceHeader:
    """One CT slice as its file's header states it, in the patient frame of `ctlib.data.frame`.

    shape, spacing_mm  (y, x) of the turned image
    origin_mm          center of its pixel (0, 0) in DICOM's patient axes
    turn               how the stored pixels are turned; like origin_mm None where the file states no place
    position_mm        place along the slice normal, from feet to head; thickness_mm; None where not stated
    kernel, rescale    convolution kernel; RescaleType ("" or "US": not stated, HU by the standard for CT)
    """

    path: Path
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    origin_mm: tuple[float, float, float] | None
    turn: Turn | None
    position_mm: float | None
    thickness_mm: float | None
    patient_id: str
    series: str
    sample_id: str
    kernel: str
    rescale: str
    gantry_deg: float = 0.0

    @property
    def orientation(self) -> tuple[float, ...] | None:
        """Unit vectors along a row and down a column of the turned image; None where not stated."""
        return None if self.turn is None else tuple(float(v) for v in self.turn.directions[[2, 1]].ravel())


def looks_like_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, by "DICM" behind its preamble or by a first element without one."""
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError as error:
        raise DataError(path, "file", f"cannot be read ({error.strerror})") from None
    return head[128:] == b"DICM" or without_preamble(head)


def without_preamble(head: bytes) -> bool:
    """Whether the bytes begin with an element of group 0002 or 0008, as files did before DICOM had a preamble."""
    element, length = head[2:4], int.from_bytes(head[4:8], "little")
    if len(head) < 132 or head[:2] not in (b"\x02\0", b"\x08\0") or element[1] > 0x11:
        return False
    return (head[4:6].isalpha() and head[4:6].isupper()) or length <= 64


def open_dicom(path: Path, pixels: bool = True):
    """The data set of a file; `pixels` False stops before them. Files without preamble are read too."""
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependency("pydicom", "DICOM files") from error
    if not os.path.isfile(path):
        raise DataError(path, "file", "does not exist")
    try:
        if (size := os.path.getsize(path)) > MAX_BYTES:
            raise DataError(path, "file", f"has {size} bytes, more than any CT slice")
        with path.open("rb") as stream:
            head = stream.read(132)
            bare = head[128:] != b"DICM" and without_preamble(head)
            _check_deflated(path, stream, pydicom)
            data = pydicom.dcmread(stream, force=bare, stop_before_pixels=not pixels)
        if bare and not getattr(data, "file_meta", {}).get("TransferSyntaxUID"):
            implicit, little = data.original_encoding
            syntax = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
            data.file_meta = pydicom.dataset.FileMetaDataset()
            data.file_meta.TransferSyntaxUID = syntax if little else pydicom.uid.ExplicitVRBigEndian
    except DataError:
        raise
    except Exception as error:  # a damaged file makes pydicom raise a dozen types; all mean the same to a user
        raise DataError(path, "DICOM", f"cannot be read ({fields.short(error)})") from None
    return data


def _check_deflated(path: Path, stream, pydicom) -> None:
    """A deflated file is unpacked whole by pydicom: refuse one that would fill the memory."""
    stream.seek(0)
    if DEFLATED.encode() in stream.read(4096):
        meta = pydicom.filereader.read_file_meta_info(path)
        if meta.TransferSyntaxUID == DEFLATED:
            stream.seek(144 + meta.FileMetaInformationGroupLength)
            if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(), MAX_BYTES)) >= MAX_BYTES:
                raise DataError(path, "TransferSyntaxUID", f"deflated, more than {MAX_BYTES} bytes")
    stream.seek(0)


def read_header(path: Path, data) -> SliceHeader:
    """The header of an opened file.

    DataError for whatever is not one axial gray CT slice in HU: another modality, a localizer, a screen capture,
    several frames, a sagittal or coronal reformat, and for each field that is missing or impossible.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of values that break the standard; those in use are checked
        check_kind(path, data)
        stored = tuple(fields.count(path, data, name) for name in ("Rows", "Columns"))
        if stored[0] * stored[1] > MAX_PIXELS:
            raise DataError(path, "Rows, Columns", f"{stored[0]} x {stored[1]} is larger than any CT slice")
        spacing = fields.numbers(path, data, "PixelSpacing", 2)
        if not all(SPACING_MM[0] <= s <= SPACING_MM[1] for s in spacing):
            raise DataError(path, "PixelSpacing", f"is {spacing}, needs two numbers > 0 [mm]")
        origin, turn = _place(path, data)
        unknown = fields.value(path, data, "SliceThickness") is None
        thickness = None if unknown else fields.number(path, data, "SliceThickness")
        names = [fields.text(path, data, f) for f in ("PatientID", "SeriesInstanceUID", "SOPInstanceUID")]
        names += [fields.text(path, data, f) for f in ("ConvolutionKernel", "RescaleType")]
        gantry = fields.value(path, data, "GantryDetectorTilt")
        gantry = 0.0 if gantry is None else fields.number(path, data, "GantryDetectorTilt")
    position = None
    if turn is not None:
        _, *shape = turn.shape((1, *stored))
        _, *spacing = turn.shape((1.0, *spacing))
        origin = turn.origin(origin, (1, *shape), (1.0, *spacing))
        position = float(turn.directions[0] @ np.array(origin))
    else:
        shape = stored
    names[2] = names[2] or path.name
    return SliceHeader(path, tuple(shape), tuple(spacing), origin, turn, position, thickness, *names, gantry)


def check_kind(path: Path, data) -> None:
    """A single gray CT frame in HU."""
    kind = fields.text(path, data, "SOPClassUID")
    modality = fields.text(path, data, "Modality")
    if modality != "CT":
        raise DataError(path, "Modality", f"is {repr(modality) if modality else 'missing'}, needs 'CT'")
    if kind in MULTIFRAME or fields.count(path, data, "NumberOfFrames", 1) != 1:
        raise DataError(
            path, "NumberOfFrames", "many slices in one file (enhanced CT): split it into one file a slice first"
        )
    words = {w.strip().upper() for w in fields.text(path, data, "ImageType").strip("[]").replace("'", "").split(",")}
    if "LOCALIZER" in words:
        raise DataError(path, "ImageType", "is a localizer (scout), not a slice")
    if kind == CAPTURES or kind.startswith(CAPTURES + "."):
        raise DataError(path, "SOPClassUID", "is a secondary capture, a picture of a screen")
    for name, allowed in (
        ("PhotometricInterpretation", ("MONOCHROME2", "MONOCHROME1")),  # 1: shown inverted; the values are the same
        ("RescaleType", ("", "HU", "US")),  # US: unspecified, in practice HU; spectral scanners store others
    ):
        given = fields.text(path, data, name)
        if given not in allowed:
            raise DataError(path, name, f"is {repr(given) if given else 'missing'}, needs {allowed[0] or 'HU'!r}")
    if fields.count(path, data, "SamplesPerPixel", 1) != 1:
        raise DataError(path, "SamplesPerPixel", "is above 1: needs gray pixels")


def _place(path: Path, data) -> tuple[tuple[float, ...] | None, Turn | None]:
    """Origin of the stored image and its turn, or (None, None) where the file states neither."""
    names = ("ImagePositionPatient", "ImageOrientationPatient")
    if any(fields.value(path, data, name) is None for name in names):
        return None, None
    origin, axes = fields.numbers(path, data, names[0], 3), fields.numbers(path, data, names[1], 6)
    along, down = np.reshape(axes, (2, 3))
    if not np.allclose([along @ along, down @ down, along @ down], [1, 1, 0], atol=1e-3):
        raise DataError(path, names[1], f"is {axes}, needs two orthogonal unit vectors")
    return origin, find_turn(path, names[1], np.array([np.cross(along, down), down, along]))
