"""The one patient frame of all readers: slices from feet to head, row 0 anterior, column 0 the patient's right.

Seen like this an image looks as radiologists look at it, from the feet. In DICOM's axes x runs to the patient's left,
y to posterior and z to the head, so the frame's array axes (z, y, x) run along their positive directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctlib.errors import DataError

TILT_DEG = 30.0  # between slice normal and the body's axis: what a gantry can do
ROTATION_DEG = 10.0  # within the slice
SMALL_DEG = 0.5  # below it nothing is said
PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Turn:
    """How a stored array with axes (slice, row, column) becomes (z, y, x).

    axes          stored axis that lies along z, y, x; signs: +1, or -1 where it runs against it
    directions    (3, 3) unit vectors of the turned axes z, y, x in DICOM's (x, y, z)
    tilt_deg      between the slice normal and the body's axis; rotation_deg in the slice; neither is corrected
    """

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    directions: np.ndarray
    tilt_deg: float
    rotation_deg: float

    def apply(self, volume: np.ndarray) -> np.ndarray:
        """A stored array of three axes as (z, y, x)."""
        return volume.transpose(self.axes)[tuple(slice(None, None, s) for s in self.signs)]

    def shape(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths, or spacings, of the stored axes in the order (z, y, x)."""
        return tuple(stored[a] for a in self.axes)

    def origin(self, origin_mm, shape: tuple[int, ...], spacing_mm: tuple[float, ...]) -> tuple[float, ...]:
        """Center of the turned array's first voxel, from that of the stored one; shape and spacing are turned."""
        ends = [(n - 1) * d if s < 0 else 0.0 for n, d, s in zip(shape, spacing_mm, self.signs, strict=True)]
        return tuple(float(v) for v in np.asarray(origin_mm) - np.array(ends) @ self.directions)

    def describe(self) -> str:
        """What was turned, in words."""
        (_, row, column), (_, y, x) = self.axes, self.signs
        if row < column:
            words = {(1, 1): "", (-1, -1): "turned by 180 degrees", (1, -1): "mirrored left to right"}
            word = words.get((y, x), "mirrored top to bottom")
        else:
            word = "turned by 90 degrees" if y * x < 0 else "mirrored at a diagonal"
        said = [word] * bool(word)
        for name, angle in (("tilted", self.tilt_deg), ("rotated", self.rotation_deg)):
            if angle > SMALL_DEG:
                said.append(f"{name} by {angle:.1f} degrees, which is left")
        return ", ".join(said) or "as stored"


def find_turn(path: Path, field: str, directions: np.ndarray, slices: int | None = 0) -> Turn:
    """The turn of an array whose axes run along the rows of (3, 3), unit vectors in DICOM's (x, y, z).

    slices  the stored axis along which slices are taken, which must be the body's; None: whichever is

    DataError where they are not orthogonal, where the slices are not axial (sagittal, coronal, tilted by more than
    30 degrees) and where the image lies rotated by more than 10 degrees in its plane.
    """
    if not np.allclose(directions @ directions.T, np.eye(3), atol=5e-3):
        raise DataError(path, field, "its axes are not orthogonal unit vectors")
    nearest = [int(k) for k in np.abs(directions).argmax(0)]  # per x, y, z the stored axis closest to it
    if slices is not None and nearest[2] != slices:
        plane = PLANES[int(np.abs(directions[slices]).argmax())]
        raise DataError(path, field, f"is that of a {plane} slice, needs an axial one")
    if sorted(nearest) != [0, 1, 2]:
        raise DataError(path, field, "is oblique: no axis of the image lies along one of the patient")
    axes = tuple(reversed(nearest))
    signs = tuple(1 if directions[a, 2 - k] > 0 else -1 for k, a in enumerate(axes))
    turned = np.array([s * directions[a] for s, a in zip(signs, axes, strict=True)])
    normal, down, along = turned
    tilt = math.degrees(math.acos(min(1.0, normal[2])))
    rotation = abs(math.degrees(math.atan2(along[1] - down[0], along[0] + down[1])))
    if tilt > TILT_DEG or rotation > ROTATION_DEG:
        raise DataError(
            path,
            field,
            f"tilted by {tilt:.0f} and rotated by {rotation:.0f} degrees against the patient's axes: "
            f"at most {TILT_DEG:g} and {ROTATION_DEG:g} are read",
        )
    return Turn(axes, signs, turned, tilt, rotation)
