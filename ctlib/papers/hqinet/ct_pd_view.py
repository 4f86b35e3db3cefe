"""Views of one file in the DICOM-CT-PD format: first all that its header says, later the pixels."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.data import fields
from ctlib.errors import DataError, MissingDependency
from ctlib.papers.hqinet.ct_pd_fields import PER_VIEW, TAGS, private

MAX_CELLS = 4096 * 4096


def views_of(path: Path) -> list[dict]:
    """All that the header says of the views of one file."""
    data, left = opened(path, pixels=False)
    frames = fields.count(path, data, "NumberOfFrames", 1)
    v = {name: private(path, data, name, frames) for name in TAGS}
    v |= {"path": path, "number": fields.count(path, data, "InstanceNumber"), "frames": frames}
    v |= {"series": fields.text(path, data, "SeriesInstanceUID"), "patient": fields.text(path, data, "PatientID")}
    if v["shape"] not in ("CYLINDRICAL", "SPHERICAL", "FLAT"):
        raise DataError(path, "shape", f"of the detector is {v['shape']!r}, needs CYLINDRICAL, SPHERICAL or FLAT")
    if v["is_log"] != "YES":
        raise DataError(path, "is_log", f"is {v['is_log']!r}: no logarithm was taken, and its reference is not stored")
    for name in ("num_rows", "num_cols", "views_per_turn", "col_width_mm", "row_height_mm", "source_detector_mm"):
        if not v[name] > 0:
            raise DataError(path, name, f"is {v[name]}, needs a number > 0")
    _require_pixels(path, data, v, left)
    views = [_frame(path, v, k) for k in range(frames)]
    if len({view["angle_rad"] for view in views}) < min(frames, 2):
        raise DataError(path, "angle_rad", f"is one for all {frames} frames")
    return views


def _frame(path: Path, v: dict, k: int) -> dict:
    """One view of a file: its share of the fields that hold one value a view."""
    own = {n: v[n][k] for n in PER_VIEW if isinstance(v[n], tuple)}
    quanta, num = v["quanta"], v["num_cols"]
    if quanta is not None and len(quanta) not in (num, v["frames"] * num):
        raise DataError(path, "quanta", f"are {len(quanta)}, needs one for each of {num} columns")
    if quanta is not None and len(quanta) > num:
        quanta = quanta[k * num : (k + 1) * num]
    view = {**v, **own, "quanta": quanta, "frame": k}
    if not view["radius_mm"] > 0:
        raise DataError(path, "radius_mm", f"is {view['radius_mm']}, needs a number > 0")
    return view


def _require_pixels(path: Path, data, v: dict, left: int) -> None:
    """Rows, Columns and the bytes that are left in the file fit the detector."""
    shape = tuple(fields.count(path, data, name) for name in ("Rows", "Columns"))
    rows, cols = v["num_rows"], v["num_cols"]
    if sorted(shape) != sorted((rows, cols)) or rows * cols > MAX_CELLS:
        raise DataError(path, "Rows, Columns", f"are {shape}, the detector has {rows} rows, {cols} columns")
    if fields.count(path, data, "BitsAllocated") != 16 or left < 8 + 2 * v["frames"] * rows * cols:
        raise DataError(path, "PixelData", f"needs {v['frames']} x {rows * cols} values of 16 bits")
    v["slope"], v["intercept"] = (fields.number(path, data, name) for name in ("RescaleSlope", "RescaleIntercept"))
    v["stored"] = shape


def line_integrals(v: dict, transposed: bool | None = None) -> Tensor:
    """Pixels of one view (R, U) float32; `transposed` as in `read_projections`."""
    path, (rows, cols) = v["path"], (v["num_rows"], v["num_cols"])
    data, _ = opened(path, pixels=True)
    raw = fields.value(path, data, "PixelData")
    if raw is None or len(raw) != 2 * v["frames"] * rows * cols:
        raise DataError(path, "PixelData", f"needs {v['frames']} x {rows * cols} values of 16 bits, uncompressed")
    if rows == cols and transposed is None:
        raise DataError(path, "Rows, Columns", f"are both {rows}: whether views are transposed is for you to say")
    order = "<" if data.file_meta.TransferSyntaxUID.is_little_endian else ">"
    kind = "i2" if fields.value(path, data, "PixelRepresentation") == 1 else "u2"
    stored = np.frombuffer(raw, order + kind).reshape(v["frames"], *v["stored"])[v["frame"]]
    stored = stored.T if (v["stored"] != (rows, cols) if transposed is None else transposed) else stored
    if stored.shape != (rows, cols):
        raise DataError(path, "Rows, Columns", f"give {stored.shape} where transposed is {transposed}")
    return torch.from_numpy((stored.astype(np.float64) * v["slope"] + v["intercept"]).astype(np.float32))


def opened(path: Path, pixels: bool):
    """The file, and how many bytes are left behind what was read of it."""
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependency("pydicom", "DICOM files") from error
    try:
        with path.open("rb") as stream:
            data = pydicom.dcmread(stream, stop_before_pixels=not pixels)
            deflated = data.file_meta.TransferSyntaxUID.is_deflated  # then nothing is known of what is left
            return data, math.inf if deflated else os.fstat(stream.fileno()).st_size - stream.tell()
    except Exception as error:  # a damaged file makes pydicom raise a dozen types
        raise DataError(path, "DICOM", f"cannot be read ({fields.short(error)})") from None
