"""Stacks of numbers as laboratories keep them: .npy, HDF5 and multi-page TIFF."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ctlib.data.dicom_slice import MAX_PIXELS
from ctlib.errors import ArgumentError, DataError, MissingDependency

MAX_BYTES = 8 << 30  # refuse to read more
SUFFIXES = {".npy": "NPY", ".h5": "HDF5", ".hdf5": "HDF5", ".tif": "TIFF", ".tiff": "TIFF"}


def read_stack(path: str | Path, dataset: str = "") -> np.ndarray:
    """Real numbers of a file as float64, with the axes that they are stored with; pages of a TIFF are the first axis.

    dataset  which one of an HDF5 file that holds several

    DataError names the file and what is wrong: missing, damaged, no numbers, too large, NaN.
    """
    path = Path(path)
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DataError(path, "suffix", f"is {path.suffix or 'missing'}, needs one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(path, "file", "does not exist")
    read = {"NPY": _npy, "HDF5": lambda p: _hdf5(p, dataset), "TIFF": _tiff}[kind]
    try:
        data = read(path)
    except (DataError, MissingDependency, ArgumentError):
        raise
    except Exception as error:  # readers raise many kinds on a damaged file
        raise DataError(path, kind, " ".join(str(error).split())[:160] or type(error).__name__) from None
    if data.dtype.kind not in "iuf":
        raise DataError(path, "type", f"is {data.dtype}, needs real numbers")
    data = data.astype(np.float64)
    if not data.size or not np.isfinite(data).all():
        raise DataError(path, "values", "hold NaN or infinite numbers" if data.size else "are none")
    return data


def _allowed(path: Path, num_bytes: int) -> None:
    if num_bytes > MAX_BYTES:
        raise DataError(path, "size", f"is {num_bytes} bytes, at most {MAX_BYTES} are read")


def _npy(path: Path) -> np.ndarray:
    data = np.load(path, allow_pickle=False, mmap_mode="r")
    if not isinstance(data, np.ndarray):
        raise DataError(path, "type", f"is {type(data).__name__}, needs real numbers")
    _allowed(path, data.nbytes)
    return np.array(data)


def _hdf5(path: Path, dataset: str) -> np.ndarray:
    try:
        import h5py
    except ImportError:
        raise MissingDependency("h5py", "HDF5 files") from None
    with h5py.File(path, "r") as file:
        found: list[str] = []
        file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        if not dataset and len(found) == 1:
            dataset = found[0]
        if dataset not in found:
            given = f"is {dataset!r}" if dataset else "is not named"
            raise DataError(path, "dataset", f"{given}; the file holds {', '.join(found) or 'none'}")
        _allowed(path, file[dataset].nbytes)
        return np.asarray(file[dataset])


def _tiff(path: Path) -> np.ndarray:
    try:
        from PIL import Image, ImageSequence
    except ImportError:
        raise MissingDependency("Pillow", "TIFF files") from None
    with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
        if image.width * image.height > MAX_PIXELS:
            raise DataError(path, "size", f"is {image.size}, at most {MAX_PIXELS} pixels a page are read")
        _allowed(path, 4 * image.width * image.height * getattr(image, "n_frames", 1))
        return np.stack([np.array(page) for page in ImageSequence.Iterator(image)])
