"""Reconstructed images of energy bins, one floating-point TIFF a bin: what a spectral scanner hands over."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.data.dicom_slice import MAX_PIXELS
from ctlib.data.fields import short
from ctlib.errors import ArgumentError, DataError, MissingDependency

NAME = re.compile(r"bin(\d+)_slice(\d+)\.tiff?", re.IGNORECASE)


def load_bin_images(folder: str | Path, per_mm: float, slice_number: int | None = None) -> Tensor:
    """Attenuation (E, Y, X) float32 [1/mm] from bin1_slice0194.tif, bin2_slice0194.tif, ... of a folder.

    per_mm        stored value that stands for 1/mm
    slice_number  where the folder holds more than one slice

    DataError names the file and what is wrong: a bin missing, sizes that differ, NaN, a broken TIFF.
    """
    if not per_mm > 0:
        raise ArgumentError("per_mm", per_mm, "a number > 0, the stored value of 1/mm")
    files = _files(Path(folder), slice_number)
    bins = [_read(path) for path in files]
    for path, image in zip(files, bins, strict=True):
        if image.shape != bins[0].shape:
            raise DataError(path, "shape", f"is {image.shape}, that of {files[0].name} is {bins[0].shape}")
    return torch.from_numpy(np.stack(bins) / np.float32(per_mm))


def _files(folder: Path, slice_number: int | None) -> list[Path]:
    if not os.path.isdir(folder):
        raise DataError(folder, "folder", "does not exist")
    named = [(m, path) for path in sorted(folder.iterdir()) if (m := NAME.fullmatch(path.name))]
    slices = sorted({int(m[2]) for m, _ in named})
    if not slices:
        raise DataError(folder, "files", "none is named bin<bin>_slice<slice>.tif, as bin1_slice0194.tif")
    if slice_number is None and len(slices) > 1:
        raise ArgumentError("slice_number", slice_number, f"one of {', '.join(map(str, slices))}")
    wanted = slices[0] if slice_number is None else slice_number
    found = {int(m[1]): path for m, path in named if int(m[2]) == wanted}
    if not found:
        raise ArgumentError("slice_number", slice_number, f"one of {', '.join(map(str, slices))}")
    if missing := sorted(set(range(1, max(found) + 1)) - set(found)):
        raise DataError(folder, f"bin {missing[0]}", f"of slice {wanted} is missing")
    return [found[k] for k in sorted(found) if k > 0]


def _read(path: Path) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependency("Pillow", "TIFF files") from None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(path, "size", f"is {image.size}, at most {MAX_PIXELS} pixels are read")
            if image.mode != "F":
                raise DataError(path, "pixels", f"are of Pillow's mode {image.mode}, needs 32-bit floating point")
            values = np.array(image, dtype=np.float32)
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds on a damaged file
        raise DataError(path, "TIFF", short(error)) from None
    if not np.isfinite(values).all():
        raise DataError(path, "values", "hold NaN or infinite numbers")
    return values
