"""One slice from whatever file a user has: DICOM, PNG, NumPy or NIfTI.

Row 0 is anterior and column 0 the patient's right, as radiologists look at a slice: so DICOM stores an axial image,
and so NIfTI volumes are turned by their affine.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.data.dicom import read_ct_series, read_ct_slice
from ctlib.data.dicom_slice import HU_RANGE, MAX_PIXELS, PADDING_HU
from ctlib.data.fields import short
from ctlib.errors import ArgumentError, DataError, MissingDependency


@dataclass(frozen=True)
class CTSlice:
    """A slice: image (Y, X) float32 in `unit` ("HU", or "1" for gray in [0, 1]), pixel size (y, x) [mm] if known."""

    image: Tensor
    unit: str
    spacing_mm: tuple[float, float] | None
    source: str


def window(hu: Tensor, low: float, high: float) -> Tensor:
    """HU window as gray: (hu - low) / (high - low), clipped to [0, 1]."""
    if not low < high:
        raise ArgumentError("low", low, f"a number below high = {high}")
    return ((hu - low) / (high - low)).clamp(0, 1)


def load_slice(path: str | Path, index: int | None = None, hu_offset: float | None = None) -> CTSlice:
    """Read one slice by the file's extension: .dcm, .png, .npy, .nii, .nii.gz, or a folder with one DICOM series.

    index      slice of a volume (default: the middle one), counted from the feet in NIfTI, by position along the
               slice normal in DICOM, along axis 0 of a three-dimensional .npy
    hu_offset  of a 16-bit PNG: stored - hu_offset is HU (32768 in DeepLesion); without it PNGs are gray in [0, 1]

    HU below -1000 (padding, not material) become -1000. A .npy within [0, 1] is gray, any other is taken as HU.
    """
    path = Path(path)
    name = path.name.lower()
    is_folder = os.path.isdir(path)  # unlike pathlib, False and no error for a name no file system takes
    reader = _from_series if is_folder else next((r for end, r in READERS.items() if name.endswith(end)), None)
    if not is_folder and not os.path.isfile(path):
        raise DataError(path, "file", "does not exist" if not os.path.exists(path) else "is not a regular file")
    if reader is None:
        raise DataError(path, "extension", f"is not one of {', '.join(READERS)}")
    if hu_offset is not None and reader is not _from_png:
        raise ArgumentError("hu_offset", hu_offset, "a PNG file: the other formats say what their values are")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # readers warn of what is checked here
        return reader(path, index, hu_offset)


def _from_dicom(path: Path, index: int | None, hu_offset) -> CTSlice:
    _pick(path, index, 1)
    s = read_ct_slice(path)
    return CTSlice(s.image, "HU", s.spacing_mm, s.sample_id)


def _from_series(folder: Path, index: int | None, hu_offset) -> CTSlice:
    s = read_ct_series(folder)
    i = _pick(folder, index, len(s.volume))
    return CTSlice(s.volume[i], "HU", s.spacing_mm[1:], s.sample_ids[i])


def _from_png(path: Path, index: int | None, hu_offset: float | None) -> CTSlice:
    _pick(path, index, 1)
    stored, bits = _png(path)
    if hu_offset is None:
        return CTSlice(_image(path, stored / (2**bits - 1)), "1", None, path.name)  # exact: times 65535 gives it back
    if bits != 16:
        raise DataError(path, "bits", f"are {bits}, HU need a 16-bit PNG")
    return CTSlice(_hounsfield(path, stored - hu_offset), "HU", None, path.name)


def _png(path: Path) -> tuple[np.ndarray, int]:
    """Gray values as stored and their number of bits (never Pillow's convert: it cuts 16 bits to 8)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependency("Pillow", "PNG files") from error
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            mode, size = picture.mode, picture.size
            _check_png(path, mode, size)
            stored = np.asarray(picture).astype(np.float64)
    except DataError:
        raise
    except Exception as error:  # Pillow lets zlib, struct and syntax errors through
        raise DataError(path, "PNG", f"cannot be decoded ({short(error)})") from None
    return stored, 8 if mode == "L" else 16


def _check_png(path: Path, mode: str, size: tuple[int, int]) -> None:
    if mode not in ("L", "I", "I;16"):
        raise DataError(path, "mode", f"is {mode!r}, needs 8- or 16-bit gray")
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(path, "size", f"is {size[0]} x {size[1]}, at most {MAX_PIXELS} pixels are read")


def _from_numpy(path: Path, index: int | None, hu_offset) -> CTSlice:
    try:
        array = np.load(
            path, allow_pickle=False, mmap_mode="r"
        )  # mapped: a wrong shape in the header asks for no memory
    except Exception as error:  # NumPy parses the header with the Python parser, which has errors of its own
        raise DataError(path, "array", f"cannot be read ({short(error)})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iuf" or array.ndim not in (2, 3):
        raise DataError(path, "array", "needs two or three axes of real numbers")
    i = _pick(path, index, len(array) if array.ndim == 3 else 1)
    image = _image(path, array[i] if array.ndim == 3 else array)
    if image.min() >= 0 and image.max() <= 1:
        return CTSlice(image, "1", None, path.name)
    return CTSlice(_hounsfield(path, image.numpy()), "HU", None, path.name)


def _from_nifti(path: Path, index: int | None, hu_offset) -> CTSlice:
    """Axial slice of a NIfTI volume; its affine says which axis runs from foot to head and which way is anterior."""
    try:
        import nibabel
    except ImportError as error:
        raise MissingDependency("nibabel", "NIfTI files") from error
    try:
        volume = nibabel.load(path)
        shape, data = volume.shape, volume.dataobj
    except Exception as error:  # nibabel, gzip and zlib raise their own types for a damaged file
        raise DataError(path, "NIfTI", f"cannot be read ({short(error)})") from None
    if len(shape) != 3 or 0 in shape or max(shape) ** 2 > MAX_PIXELS:
        raise DataError(path, "dim", f"is {shape}, needs three axes of sane length")
    (right, front, up), sign, spacing = _patient_axes(path, volume.affine)
    i = _pick(path, index, shape[up])
    place = [slice(None)] * 3
    place[up] = i if sign[up] > 0 else shape[up] - 1 - i
    try:
        plane = np.asarray(data[tuple(place)], dtype=np.float64)  # only this slice is unpacked
    except Exception as error:
        raise DataError(path, "data", f"cannot be read ({short(error)})") from None
    plane = plane if front < right else plane.T  # (y, x)
    plane = plane[:: -sign[front], :: -sign[right]]  # from anterior down, from the patient's right
    return CTSlice(_hounsfield(path, plane), "HU", (spacing[front], spacing[right]), path.name)


def _patient_axes(path: Path, affine: np.ndarray) -> tuple[list[int], list[int], list[float]]:
    """The array axes closest to (right, anterior, head); per axis its sign along them and its spacing [mm]."""
    from nibabel import io_orientation

    try:
        turns = io_orientation(affine)
        spacing = [float(s) for s in np.linalg.norm(affine[:3, :3], axis=0)]
        axes = [int(np.flatnonzero(turns[:, 0] == k)[0]) for k in range(3)]
        signs = [int(s) for s in turns[:, 1]]
    except Exception as error:  # not finite, or not invertible
        raise DataError(path, "affine", f"does not map the voxels into space ({short(error)})") from None
    return axes, signs, spacing


def _pick(path: Path, index: int | None, count: int) -> int:
    i = count // 2 if index is None else index
    if not 0 <= i < count:
        raise DataError(path, "index", f"{i} is not one of {count} slice(s), counted from 0")
    return i


def _image(path: Path, array: np.ndarray) -> Tensor:
    if array.ndim != 2 or array.size == 0 or array.size > MAX_PIXELS:
        raise DataError(path, "pixels", f"have shape {array.shape}, need two axes and at most {MAX_PIXELS} in all")
    image = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    if not bool(torch.isfinite(image).all()):
        raise DataError(path, "pixels", "are not all finite")
    return image


def _hounsfield(path: Path, array: np.ndarray) -> Tensor:
    image = _image(path, array)
    if image.min() < HU_RANGE[0] or image.max() > HU_RANGE[1]:
        raise DataError(path, "pixels", f"{float(image.min()):g} ... {float(image.max()):g} are not a CT's HU")
    return image.clamp_min(PADDING_HU)


READERS = {".dcm": _from_dicom, ".ima": _from_dicom, ".png": _from_png, ".npy": _from_numpy}
READERS |= {".nii": _from_nifti, ".nii.gz": _from_nifti}
