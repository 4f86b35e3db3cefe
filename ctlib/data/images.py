"""One slice from whatever file a user has, DICOM, PNG, NumPy or NIfTI, in one patient frame and a stated unit.

Row 0 is anterior and column 0 the patient's right, as radiologists look at a slice: DICOM is turned by its orientation,
NIfTI by its affine; PNG and NumPy state none and are taken as they are.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.data.dicom import read_ct_series, read_ct_slice
from ctlib.data.dicom_header import MAX_PIXELS, looks_like_dicom
from ctlib.data.fields import as_path, short
from ctlib.data.nifti import read_nifti
from ctlib.data.stored_units import check_unit, in_unit
from ctlib.errors import ArgumentError, DataError, MissingDependency

AS_STORED = "orientation not stated, taken as stored"


@dataclass(frozen=True)
class CTSlice:
    """A slice and what was understood of it.

    image        (Y, X) float32 in `unit`: "HU", "1/mm", or "1" for gray in [0, 1]
    spacing_mm   pixel size (y, x), position_mm from feet to head: None where the file states none
    source       name of the file or the slice
    understood   unit, orientation and whatever else was read or assumed, in words
    """

    image: Tensor
    unit: str
    spacing_mm: tuple[float, float] | None
    source: str
    position_mm: float | None = None
    understood: tuple[str, ...] = ()

    def describe(self) -> str:
        """What was understood, on one line."""
        y, x = self.image.shape
        size = (
            "pixel size not stated" if self.spacing_mm is None else "pixels of {:g} x {:g} mm".format(*self.spacing_mm)
        )
        place = [] if self.position_mm is None else [f"z = {self.position_mm:g} mm"]
        return f"{self.source}: {y} x {x}, {size}; " + "; ".join([*place, f"in {self.unit}", *self.understood])


def window(hu: Tensor, low: float, high: float) -> Tensor:
    """HU window as gray: (hu - low) / (high - low), clipped to [0, 1]."""
    hu, low, high = contract.tensor("hu", hu), contract.number("low", low), contract.number("high", high)
    if not low < high:
        raise ArgumentError("low", low, f"a number below high = {high}")
    return ((hu - low) / (high - low)).clamp(0, 1)


def turn(image: Tensor, way: int) -> Tensor:
    """One of the eight ways to turn and mirror an image (..., Y, X) of equal sides: quarter turns, then the mirror."""
    image = contract.tensor("image", image, ("Y", "X"))
    turned = torch.rot90(image, contract.count("way", way, 0, 7) % 4, (-2, -1))
    return turned.flip(-1) if way >= 4 else turned


def load_slice(path: str | Path, index: int | None = None, unit: str | None = None) -> CTSlice:
    """Read one slice of a .dcm, .png, .npy, .nii or .nii.gz file, of a DICOM file of any name, or of a folder of them.

    index   slice of a volume (default: the middle one), counted from the feet in NIfTI and DICOM, along axis 0 of a
            three-dimensional .npy
    unit    what the numbers of PNG, NumPy and NIfTI are: "HU", "HU+32768" (stored value of 0 HU: 32768), "1/mm",
            "1/cm" or "gray" (white is 1, or the highest value of an integer type); DICOM states its own

    HU below -1000 (padding, not material) become -1000. Without a unit, values that reach below -200 are HU, and those
    that fill [0, 1] or a PNG's range are gray; where neither is clear, an ArgumentError tells the choices. What was
    understood is in the slice's describe(). DataError names file and field of everything that cannot be read right.
    """
    path, unit = as_path("path", path), check_unit(unit)
    index = None if index is None else contract.count("index", index)
    if os.path.isdir(path):  # unlike pathlib, False and no error for a name no file system takes
        reader = _from_series
    elif not os.path.isfile(path):
        raise DataError(path, "file", "does not exist" if not os.path.exists(path) else "is not a regular file")
    else:
        name = path.name.lower()
        reader = next((r for end, r in READERS.items() if name.endswith(end)), None)
        if reader is None and looks_like_dicom(path):
            reader = _from_dicom
    if reader is None:
        raise DataError(path, "extension", f"is not one of {', '.join(READERS)}, and the file is no DICOM file")
    if unit is not None and reader in (_from_dicom, _from_series):
        raise ArgumentError("unit", unit, "None for DICOM, which states its own")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # readers warn of what is checked here
        return reader(path, index, unit)


def _from_dicom(path: Path, index: int | None, unit) -> CTSlice:
    _pick(path, index, 1)
    s = read_ct_slice(path)
    return CTSlice(s.image, "HU", s.spacing_mm, s.sample_id, s.position_mm, s.understood)


def _from_series(folder: Path, index: int | None, unit) -> CTSlice:
    s = read_ct_series(folder)
    i = _pick(folder, index, len(s.volume))
    said = (*s.understood, f"slice {i} of {len(s.volume)}", *(f"set aside: {n} {kind}" for kind, n in s.set_aside))
    return CTSlice(s.volume[i], "HU", s.spacing_mm[1:], s.sample_ids[i], s.positions_mm[i], said)


def _from_png(path: Path, index: int | None, unit: str | None) -> CTSlice:
    _pick(path, index, 1)
    stored, bits = _png(path)
    if unit not in (None, "gray") and bits != 16:
        raise DataError(path, "bits", f"are {bits}, {unit} needs a 16-bit PNG")
    values, known, said = in_unit(path, _checked(path, stored), unit, 2.0**bits - 1)
    return CTSlice(_image(values), known, None, path.name, None, (said, AS_STORED))


def _png(path: Path) -> tuple[np.ndarray, int]:
    """Gray values as stored and their number of bits (never Pillow's convert: it cuts 16 bits to 8)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependency("Pillow", "PNG files") from error
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            mode, size = picture.mode, picture.size
            _check_png(path, mode, size, getattr(picture, "n_frames", 1))
            stored = np.asarray(picture).astype(np.float64)
    except DataError:
        raise
    except Exception as error:  # Pillow lets zlib, struct and syntax errors through
        raise DataError(path, "PNG", f"cannot be decoded ({short(error)})") from None
    return stored, 8 if mode == "L" else 16


def _check_png(path: Path, mode: str, size: tuple[int, int], frames: int) -> None:
    if frames != 1:
        raise DataError(path, "frames", f"are {frames}, needs one picture")
    if mode not in ("L", "I", "I;16"):
        raise DataError(path, "mode", f"is {mode!r}, needs 8- or 16-bit gray")
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(path, "size", f"is {size[0]} x {size[1]}, at most {MAX_PIXELS} pixels are read")


def _from_numpy(path: Path, index: int | None, unit: str | None) -> CTSlice:
    try:
        array = np.load(path, allow_pickle=False, mmap_mode="r")  # mapped: a header that lies asks for no memory
    except Exception as error:  # NumPy parses the header with the Python parser, which has errors of its own
        raise DataError(path, "array", f"cannot be read ({short(error)})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf":
        raise DataError(path, "array", "needs real numbers")
    shape = array.shape
    while array.ndim > 2 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim not in (2, 3):
        raise DataError(path, "array", f"has shape {shape}, needs two or three axes (and any of length 1 around them)")
    i = _pick(path, index, len(array) if array.ndim == 3 else 1)
    plane = _checked(path, array[i] if array.ndim == 3 else array)
    full = float(np.iinfo(array.dtype).max) if array.dtype.kind in "iu" and unit == "gray" else None
    values, known, said = in_unit(path, plane, unit, full)
    chosen = (f"slice {i} of {len(array)}",) * (array.ndim == 3)
    return CTSlice(_image(values), known, None, path.name, None, (said, *chosen, AS_STORED))


def _from_nifti(path: Path, index: int | None, unit: str | None) -> CTSlice:
    s = read_nifti(path, lambda count: _pick(path, index, count))
    values, known, said = in_unit(path, _checked(path, s.stored), unit, None)
    return CTSlice(_image(values), known, s.spacing_mm, path.name, s.position_mm, (said, *s.understood))


def _pick(path: Path, index: int | None, count: int) -> int:
    if count < 1:
        raise DataError(path, "array", "holds no slice")
    i = count // 2 if index is None else index
    if not 0 <= i < count:
        raise DataError(path, "index", f"{i} is not one of {count} slice(s), counted from 0")
    return i


def _checked(path: Path, array: np.ndarray) -> np.ndarray:
    """Pixels as float64, if they are some and finite."""
    if array.ndim != 2 or array.size == 0 or array.size > MAX_PIXELS:
        raise DataError(path, "pixels", f"have shape {array.shape}, need two axes and at most {MAX_PIXELS} in all")
    plane = np.array(array, dtype=np.float64)
    if not np.isfinite(plane).all():
        raise DataError(path, "pixels", "are not all finite")
    return plane


def _image(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


READERS = {".dcm": _from_dicom, ".ima": _from_dicom, ".png": _from_png, ".npy": _from_numpy}
READERS |= {".nii": _from_nifti, ".nii.gz": _from_nifti}
