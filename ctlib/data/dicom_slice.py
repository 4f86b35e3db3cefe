"""One CT slice from a DICOM file, in HU and in the patient frame."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.data.dicom_header import MAX_PIXELS, SliceHeader, open_dicom, read_header
from ctlib.data.dicom_pixels import HU_RANGE, PADDING_HU, read_hu
from ctlib.data.fields import as_path
from ctlib.data.frame import SMALL_DEG

__all__ = ["HU_RANGE", "MAX_PIXELS", "PADDING_HU", "DicomSlice", "read_ct_slice"]

_opened = open_dicom


@dataclass(frozen=True)
class DicomSlice:
    """One CT slice and where it lies; row 0 is anterior, column 0 the patient's right, position_mm grows to the head.

    image        (Y, X) float32 [HU]; spacing_mm (y, x)
    origin_mm    center of pixel (0, 0) in DICOM's patient axes (to the left, to posterior, to the head), orientation
                 unit vectors along a row and down a column: both None where the file does not say
    position_mm  place along the slice normal; thickness_mm; None likewise
    understood   how the stored pixels were turned, and what else is worth knowing
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
    understood: tuple[str, ...] = ()


def read_ct_slice(path: str | Path, clip_padding: bool = True) -> DicomSlice:
    """Read one axial CT slice; HU = RescaleSlope * stored + RescaleIntercept.

    clip_padding  raise PixelPaddingValue and everything below -1000 HU to -1000: no material is there, only the
                  padding around the round field of view (-2048 and the like) and noise in air. False keeps the values
                  of the file.

    The image is turned by ImageOrientationPatient; tilts of at most 30 degrees, and rotations of at most 10, are said
    in `understood` and left. MONOCHROME1 changes the display only, not the values. DataError names the file and the
    field for whatever is missing, of another modality or plane, not finite or not decodable.
    """
    path = as_path("path", path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of values that break the standard; those in use are checked
        data = open_dicom(path)
        return slice_of(read_header(path, data), data, clip_padding)


def slice_of(header: SliceHeader, data, clip_padding: bool = True) -> DicomSlice:
    """The slice of an opened file and its header."""
    turn = header.turn
    stored = header.shape if turn is None or turn.axes[1] == 1 else header.shape[::-1]
    hu, remarks = read_hu(header.path, data, stored, clip_padding)
    hu = hu if turn is None else turn.apply(hu[None])[0]
    said = "orientation not stated, taken as stored" if turn is None else turn.describe()
    unit = {"US": "HU (RescaleType US, unspecified)", "": "HU (no RescaleType)"}.get(header.rescale, "HU")
    tilt = abs(header.gantry_deg)
    leans = tilt > SMALL_DEG and turn is not None and abs(tilt - turn.tilt_deg) > SMALL_DEG
    gantry = [f"GantryDetectorTilt of {header.gantry_deg:g} degrees is not in the orientation"] * leans
    return DicomSlice(
        torch.from_numpy(np.ascontiguousarray(hu, np.float32)),
        header.spacing_mm,
        header.origin_mm,
        header.orientation,
        header.position_mm,
        header.thickness_mm,
        header.patient_id,
        header.series,
        header.sample_id,
        (unit, said, *gantry, *remarks),
    )
