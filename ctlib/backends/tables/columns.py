"""Cone-beam rays as detector columns: what the rays of one column share.

Source and rotation axis lie in a plane z = const of the detector rows, so all rays of a column cross a plane of their
main axis q at one in-plane place, and there the height of row r is affine in r:

    X(q) = start + slope q,      z_r(q) = z_c + (r - r_c) g(q),      g(q) = gain (q - source)

z_c the height of the orbit and r_c the middle row, both as indices. A column needs six numbers, whatever its rows.
Rays steeper than their in-plane main axis (cone angles above 45 degrees) are left to `plan`'s general tables.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ctlib.backends.tables.plan import PREFERENCE
from ctlib.geometry import ConeBeam


@dataclass(frozen=True, eq=False)
class Columns:
    """Tables of a cone-beam scan, (V, U) float64 unless stated.

    axis           main axis, 1 (y) or 2 (x), int64
    start, slope   index along the other in-plane axis at plane 0, change per plane
    gain, source   g(q) = gain (q - source): rows to slices; source is the source's place along the main axis
    flat, rise     path between two planes [mm]: sqrt(flat + rise (r - r_c)^2)
    rows           (V, U, 2) rows [low, high) that are not too steep, int64
    steep          whether any ray is
    """

    axis: np.ndarray
    start: np.ndarray
    slope: np.ndarray
    gain: np.ndarray
    source: np.ndarray
    flat: np.ndarray
    rise: np.ndarray
    rows: np.ndarray
    steep: bool


@lru_cache(maxsize=32)
def columns(geometry: ConeBeam) -> Columns:
    """The column tables of a cone-beam geometry."""
    volume, middle = geometry.volume, (geometry.num_rows - 1) / 2
    source, direction = geometry.columns_in_plane()  # (V, U, 2) each, in (y, x)
    step = np.array([-volume.voxel_mm[1], volume.voxel_mm[2]])  # mm per index; y descends
    place = (source - np.array([volume.axis(1)[0], volume.axis(2)[0]])) / step
    speed = direction / step
    main = (np.abs(speed) * PREFERENCE[3][1:]).argmax(-1)[..., None]

    def of(values, axis):
        return np.take_along_axis(values, axis, -1)[..., 0]

    along, across = of(speed, main), of(speed, 1 - main)
    slope = across / along
    gain = geometry.row_pitch_mm / volume.voxel_mm[0] / along
    flat, rise = (direction**2).sum(-1) / along**2, (geometry.row_pitch_mm / along) ** 2
    reach = np.abs(along) * of(np.broadcast_to(PREFERENCE[3][1:], speed.shape), main) / PREFERENCE[3][0]
    reach = reach * volume.voxel_mm[0] / geometry.row_pitch_mm  # rows from the middle where z would become main
    row = np.arange(geometry.num_rows) - middle
    inside = np.abs(row) < reach[..., None]
    rows = np.stack([inside.argmax(-1), geometry.num_rows - inside[..., ::-1].argmax(-1)], -1)
    rows[~inside.any(-1)] = 0
    return Columns(
        main[..., 0] + 1, of(place, 1 - main) - slope * of(place, main), slope, gain, of(place, main), flat, rise, rows,
        bool((~inside).any()),
    )  # fmt: skip
