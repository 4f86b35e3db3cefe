"""Private fields of the DICOM-CT-PD format, {cite}`chen2015`, from files with and without types of their values."""

from __future__ import annotations

import math
import struct
from pathlib import Path

from ctlib.data import fields
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
    "views_per_turn": ((0x7033, 0x1013), "US", 1), "spectrum": ((0x7033, 0x1063), "US", 1),
    "is_log": ((0x7039, 0x1009), "CS", 1),
    "quanta": ((0x7033, 0x1065), "FL", None), "mu_water": ((0x7041, 0x1001), "DS", 1),
    "pitch": ((0x0018, 0x9311), "FD", 1),
}  # fmt: skip
OPTIONAL = ("quanta", "mu_water", "shift_angle_rad", "shift_z_mm", "shift_radius_mm", "spectrum", "pitch")
PER_VIEW = ("angle_rad", "z_mm", "radius_mm", "shift_angle_rad", "shift_z_mm", "shift_radius_mm", "spectrum")
SIZES = {"FL": (4, "f"), "US": (2, "H"), "FD": (8, "d")}


def private(path: Path, data, name: str, frames: int = 1):
    """A field as number(s) or text, None if it is optional and absent; in files with implicit types it comes as bytes.

    frames  of a file with several views: fields of a view may then hold so many numbers, and come as a tuple
    """
    tag, kind, count = TAGS[name]
    found = fields.value(path, data, tag)
    found = getattr(found, "value", found)
    if found is None or (hasattr(found, "__len__") and len(found) == 0):
        if name in OPTIONAL:
            return None
        raise DataError(path, f"{name} {tag[0]:04X},{tag[1]:04X}", "missing")
    try:
        if isinstance(found, bytes):
            found = unpacked(found, kind)
        if kind == "CS":
            return str(found).strip().upper()
        values = [float(v) for v in (found if hasattr(found, "__len__") and not isinstance(found, str) else [found])]
    except Exception as error:
        raise DataError(path, name, f"cannot be read ({fields.short(error)})") from None
    each = frames > 1 and name in PER_VIEW and len(values) == frames
    if not all(math.isfinite(v) for v in values) or (count is not None and len(values) != count and not each):
        raise DataError(path, name, f"is {values[:4]}, needs {count or 'only'} finite number(s)")
    values = [int(v) for v in values] if kind == "US" else values
    return values[0] if count == 1 and not each else tuple(values)


def unpacked(raw: bytes, kind: str):
    """Little-endian bytes as the value of a type."""
    if kind in ("CS", "DS"):
        return raw.decode("ascii").strip(" \0")
    size, letter = SIZES[kind]
    return struct.unpack(f"<{len(raw) // size}{letter}", raw)
