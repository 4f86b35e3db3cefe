"""CT projections in the DICOM-CT-PD format, one file a view, with the geometry of every view, {cite}`chen2015`."""

from __future__ import annotations

import itertools
import math
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.data import fields
from ctlib.data.dicom import _files
from ctlib.data.dicom_slice import MAX_PIXELS, _opened
from ctlib.errors import DataError

# name: (group, element), type, count
TAGS = {
    "num_rows": ((0x7029, 0x1010), "US", 1), "num_cols": ((0x7029, 0x1011), "US", 1),
    "col_width_mm": ((0x7029, 0x1002), "FL", 1), "row_height_mm": ((0x7029, 0x1006), "FL", 1),
    "shape": ((0x7029, 0x100B), "CS", 1),
    "angle_rad": ((0x7031, 0x1001), "FL", 1), "z_mm": ((0x7031, 0x1002), "FL", 1),
    "radius_mm": ((0x7031, 0x1003), "FL", 1), "source_detector_mm": ((0x7031, 0x1031), "FL", 1),
    "central_element": ((0x7031, 0x1033), "FL", 2),
    "shift_angle_rad": ((0x7033, 0x100B), "FL", 1), "shift_z_mm": ((0x7033, 0x100C), "FL", 1),
    "shift_radius_mm": ((0x7033, 0x100D), "FL", 1),
    "views_per_turn": ((0x7033, 0x1013), "US", 1), "is_log": ((0x7039, 0x1009), "CS", 1),
    "quanta": ((0x7033, 0x1065), "FL", None), "mu_water": ((0x7041, 0x1001), "DS", 1),
}  # fmt: skip
OPTIONAL = ("quanta", "mu_water", "shift_angle_rad", "shift_z_mm", "shift_radius_mm")
COMMON = ("num_rows", "num_cols", "col_width_mm", "row_height_mm", "shape", "source_detector_mm", "central_element",
          "views_per_turn", "is_log", "mu_water")  # fmt: skip


@dataclass(frozen=True)
class Projections:
    """Views of one scan in the order of their InstanceNumber.

    line_integrals      (V, R, U) float32 [1]
    angle_rad, z_mm, radius_mm   (V,) float64: of the detector's focal center, as in the files
    source_*            (V,) likewise of the source, flying focal spot included
    central_element     (column, row) of the cell on the central ray, counted from 0
    col_width_mm, row_height_mm  of a cell at the detector, source_detector_mm from the focal center
    shape               CYLINDRICAL, SPHERICAL or FLAT
    quanta              (V, U) noise-equivalent quanta of every column, or None; mu_water [1/mm] or None
    """

    line_integrals: Tensor
    angle_rad: Tensor
    z_mm: Tensor
    radius_mm: Tensor
    source_angle_rad: Tensor
    source_z_mm: Tensor
    source_radius_mm: Tensor
    central_element: tuple[float, float]
    col_width_mm: float
    row_height_mm: float
    source_detector_mm: float
    shape: str
    views_per_turn: int
    quanta: Tensor | None
    mu_water: float | None
    patient_id: str

    def source_xyz_mm(self) -> Tensor:
        """Source of every view (V, 3) in the format's left-handed frame: x = -rho sin(phi), y = rho cos(phi)."""
        rho, phi = self.source_radius_mm, self.source_angle_rad
        return torch.stack([-rho * torch.sin(phi), rho * torch.cos(phi), self.source_z_mm], -1)


def read_projections(folder: str | Path) -> Projections:
    """Read one scan; line integral = stored * RescaleSlope + RescaleIntercept, turned to (rows, columns).

    Scanners store a view as Rows x Columns = detector columns x rows, transposed: it is turned back. DataError for a
    missing or impossible field, views that do not belong together, and readings whose logarithm was not taken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        views = sorted((_view(path) for path in _files(Path(folder))), key=lambda v: v["number"])
    first = views[0]
    for before, v in itertools.pairwise(views):
        if v["number"] == before["number"]:
            raise DataError(v["path"], "InstanceNumber", f"is that of {before['path'].name}")
        for name in (*COMMON, "series", "patient"):
            if v[name] != first[name]:
                raise DataError(v["path"], name, f"is {v[name]}, {first[name]} in {first['path'].name}")
    column = {n: torch.tensor([v[n] for v in views], dtype=torch.float64) for n in ("angle_rad", "z_mm", "radius_mm")}
    moved = {
        f"source_{n}": column[n] + torch.tensor([v[f"shift_{n}"] or 0.0 for v in views], dtype=torch.float64)
        for n in column
    }
    known = all(v["quanta"] is not None for v in views)
    u, r = (c - 1 for c in first["central_element"])
    return Projections(
        torch.stack([v["line_integrals"] for v in views]), **column, **moved, central_element=(u, r),
        **{n: first[n] for n in ("col_width_mm", "row_height_mm", "source_detector_mm", "shape", "views_per_turn")},
        quanta=torch.tensor([v["quanta"] for v in views]) if known else None,
        mu_water=None if first["mu_water"] is None else first["mu_water"] / 10, patient_id=first["patient"],
    )  # fmt: skip


def _view(path: Path) -> dict:
    data = _opened(path)
    v = {name: _private(path, data, name) for name in TAGS}
    v |= {"path": path, "number": fields.number(path, data, "InstanceNumber")}
    v |= {"series": fields.text(path, data, "SeriesInstanceUID"), "patient": fields.text(path, data, "PatientID")}
    if v["shape"] not in ("CYLINDRICAL", "SPHERICAL", "FLAT"):
        raise DataError(path, "shape", f"of the detector is {v['shape']!r}, needs CYLINDRICAL, SPHERICAL or FLAT")
    if v["is_log"] != "YES":
        raise DataError(path, "is_log", f"is {v['is_log']!r}: no logarithm was taken, and its reference is not stored")
    for name in ("num_rows", "num_cols", "col_width_mm", "row_height_mm", "radius_mm", "source_detector_mm"):
        if not v[name] > 0:
            raise DataError(path, name, f"is {v[name]}, needs a number > 0")
    v["line_integrals"] = _line_integrals(path, data, v["num_rows"], v["num_cols"])
    if v["quanta"] is not None and len(v["quanta"]) != v["num_cols"]:
        raise DataError(path, "quanta", f"are {len(v['quanta'])}, needs one for each of {v['num_cols']} columns")
    return v


def _line_integrals(path: Path, data, num_rows: int, num_cols: int) -> Tensor:
    shape = tuple(fields.count(path, data, name) for name in ("Rows", "Columns"))
    if fields.count(path, data, "NumberOfFrames", 1) != 1:
        raise DataError(path, "NumberOfFrames", "is above 1: needs one view a file")
    if sorted(shape) != sorted((num_rows, num_cols)) or num_rows * num_cols > MAX_PIXELS:
        raise DataError(path, "Rows, Columns", f"are {shape}, the detector has {num_rows} rows, {num_cols} columns")
    raw = fields.value(path, data, "PixelData")
    if raw is None or fields.count(path, data, "BitsAllocated") != 16 or len(raw) != 2 * num_rows * num_cols:
        raise DataError(path, "PixelData", f"needs {num_rows * num_cols} values of 16 bits")
    stored = np.frombuffer(raw, "<u2").reshape(shape)
    stored = stored if shape == (num_rows, num_cols) else stored.T
    slope, intercept = (fields.number(path, data, name) for name in ("RescaleSlope", "RescaleIntercept"))
    return torch.from_numpy((stored.astype(np.float64) * slope + intercept).astype(np.float32))


def _private(path: Path, data, name: str):
    """A private field as number(s) or text; in files with implicit types it arrives as bytes."""
    tag, kind, count = TAGS[name]
    found = fields.value(path, data, tag)
    found = getattr(found, "value", found)
    if found is None or (hasattr(found, "__len__") and len(found) == 0):
        if name in OPTIONAL:
            return None
        raise DataError(path, f"{name} {tag[0]:04X},{tag[1]:04X}", "missing")
    try:
        if isinstance(found, bytes):
            found = _unpacked(found, kind)
        if kind == "CS":
            return str(found).strip().upper()
        values = [float(v) for v in (found if hasattr(found, "__len__") and not isinstance(found, str) else [found])]
    except Exception as error:
        raise DataError(path, name, f"cannot be read ({fields.short(error)})") from None
    if not all(math.isfinite(v) for v in values) or (count is not None and len(values) != count):
        raise DataError(path, name, f"is {values[:4]}, needs {count or 'only'} finite number(s)")
    values = [int(v) for v in values] if kind == "US" else values
    return values[0] if count == 1 else tuple(values)


def _unpacked(raw: bytes, kind: str):
    if kind in ("CS", "DS"):
        return raw.decode("ascii").strip(" \0")
    size, letter = {"FL": (4, "f"), "US": (2, "H")}[kind]
    return struct.unpack(f"<{len(raw) // size}{letter}", raw)
