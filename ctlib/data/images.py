"""One slice from whatever file a user has: DICOM, PNG, NumPy or NIfTI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.data.dicom import PADDING_HU, read_ct_series, read_ct_slice
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

    index      slice of a volume (default: the middle one)
    hu_offset  of a 16-bit PNG: stored - hu_offset is HU (32768 in DeepLesion); without it PNGs are gray in [0, 1]
    """
    path = Path(path)
    if path.is_dir():
        return _from_series(path, index)
    if not path.is_file():
        raise DataError(path, "file", "does not exist")
    name = path.name.lower()
    for endings, reader in READERS.items():
        if name.endswith(endings):
            return reader(path, index, hu_offset)
    known = ", ".join(e for endings in READERS for e in endings)
    raise DataError(path, "extension", f"is not one of {known}")


def _from_dicom(path: Path, index, hu_offset) -> CTSlice:
    s = read_ct_slice(path)
    return CTSlice(s.image, "HU", s.spacing_mm, s.sample_id)


def _from_series(folder: Path, index: int | None) -> CTSlice:
    s = read_ct_series(folder)
    i = _pick(folder, index, len(s.volume))
    return CTSlice(s.volume[i], "HU", s.spacing_mm[1:], s.sample_ids[i])


def _from_png(path: Path, index, hu_offset: float | None) -> CTSlice:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingDependency("Pillow", "PNG files") from error
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("L", "I", "I;16"):
                raise DataError(path, "mode", f"is {picture.mode!r}, needs 8- or 16-bit gray")
            bits = 8 if picture.mode == "L" else 16
            stored = np.asarray(picture).astype(np.float64)
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(path, "PNG", f"cannot be decoded ({error})") from None
    if hu_offset is None:
        return CTSlice(_image(path, stored / (2**bits - 1)), "1", None, path.name)
    if bits != 16:
        raise DataError(path, "bits", "HU need a 16-bit PNG")
    return CTSlice(_image(path, np.maximum(stored - hu_offset, PADDING_HU)), "HU", None, path.name)


def _from_numpy(path: Path, index: int | None, hu_offset) -> CTSlice:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(path, "array", f"cannot be read ({error})") from None
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or not np.issubdtype(array.dtype, np.number):
        raise DataError(path, "array", "needs two or three axes of numbers")
    array = array[_pick(path, index, len(array))] if array.ndim == 3 else array
    if np.iscomplexobj(array):
        raise DataError(path, "array", "is complex")
    image = _image(path, array.astype(np.float64))
    gray = float(image.min()) >= 0 and float(image.max()) <= 1
    return CTSlice(image if gray else image.clamp_min(PADDING_HU), "1" if gray else "HU", None, path.name)


def _from_nifti(path: Path, index: int | None, hu_offset) -> CTSlice:
    """Axial slice of a NIfTI volume: the affine says which axis runs from foot to head and which way is anterior."""
    try:
        import nibabel
    except ImportError as error:
        raise MissingDependency("nibabel", "NIfTI files") from error
    try:
        volume = nibabel.as_closest_canonical(nibabel.load(path))  # axes: to the right, to anterior, to superior
        array = np.asarray(volume.dataobj, dtype=np.float64)
        spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    except Exception as error:  # nibabel, gzip and zlib raise their own types for a damaged file
        raise DataError(path, "NIfTI", f"cannot be read ({type(error).__name__}: {error})") from None
    if array.ndim != 3 or not np.isfinite(spacing).all() or not (spacing > 0).all():
        raise DataError(path, "shape", f"is {array.shape}, needs three axes with a finite affine")
    plane = array[:, :, _pick(path, index, array.shape[2])]
    image = _image(path, plane.T[::-1, ::-1])  # rows from anterior down, columns from the patient's right
    return CTSlice(image.clamp_min(PADDING_HU), "HU", (float(spacing[1]), float(spacing[0])), path.name)


def _pick(path: Path, index: int | None, count: int) -> int:
    i = count // 2 if index is None else index
    if count == 0 or not 0 <= i < count:
        raise DataError(path, "index", f"{i} is not a slice of {count}")
    return i


def _image(path: Path, array: np.ndarray) -> Tensor:
    if array.ndim != 2 or 0 in array.shape or not np.isfinite(array).all():
        raise DataError(path, "pixels", f"shape {array.shape}: needs two axes of finite numbers")
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


READERS = {
    (".dcm", ".ima"): _from_dicom,
    (".png",): _from_png,
    (".npy",): _from_numpy,
    (".nii", ".nii.gz"): _from_nifti,
}
