"""Joseph's method as tables: what every engine evaluates.

A ray is followed plane by plane along the axis it crosses fastest; on each plane the image is interpolated linearly:

    (A x)_r = length_r * sum_q  x interpolated at (q, a_r + b_r q)

with q the index along the main axis and a + b q the (fractional) indices along the other axes; outside the grid x is 0.
{cite}`joseph1982`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True, eq=False)
class RayGroup:
    """All rays with the same main axis; float64.

    axis    main axis, an index into the volume's shape
    rays    (n,) position of each ray in the flattened sinogram
    start   (n, d-1) index along the other axes (in their order) at plane 0
    slope   (n, d-1) change of that index from plane to plane
    length  (n,) path between two planes [mm]
    """

    axis: int
    rays: np.ndarray
    start: np.ndarray
    slope: np.ndarray
    length: np.ndarray


PREFERENCE = {2: 1 + 1e-9 * np.array([1, 0]), 3: 1 + 1e-9 * np.array([0, 2, 1])}
"""Factors that decide the main axis of rays exactly between two: y before x before z, whatever the rounding."""


@lru_cache(maxsize=32)
def plan(geometry) -> tuple[RayGroup, ...]:
    """The ray tables of a geometry, one group per main axis that occurs."""
    points, directions = geometry.rays()
    d = points.shape[-1]
    points, directions = points.reshape(-1, d)[:, ::-1], directions.reshape(-1, d)[:, ::-1]  # (x, y[, z]) -> array axes
    volume = geometry.volume
    first = np.array([volume.axis(i)[0] for i in range(d)])  # mm of index 0
    step = np.array([-s if i == d - 2 else s for i, s in enumerate(volume.voxel_mm)])  # mm per index; y descends
    index, speed = (points - first) / step, directions / step  # speed: indices per mm
    main = (np.abs(speed) * PREFERENCE[d]).argmax(axis=1)
    groups = []
    for axis in range(d):
        rays = np.flatnonzero(main == axis)
        if rays.size == 0:
            continue
        others = [i for i in range(d) if i != axis]
        slope = speed[rays][:, others] / speed[rays][:, [axis]]
        start = index[rays][:, others] - slope * index[rays][:, [axis]]
        groups.append(RayGroup(axis, rays, start, slope, 1 / np.abs(speed[rays, axis])))
    return tuple(groups)
