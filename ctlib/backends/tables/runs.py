"""2-D rays in the order a SIMD engine wants them: runs of neighbors whose place along a plane increases.

A run is a stretch of detector columns of one view with one main axis, flipped where needed so that on every plane q the
place X_s(q) = start_s + slope_s q increases with the ray s; or every k-th column of it, where columns lie so close that
16 pixels would meet more rays than an engine can hold. The forward product takes 16 neighboring rays at a time,
the adjoint 16 neighboring pixels: for those it needs the way back, from a pixel to the rays that touch it. On one
plane X is a ratio of affine functions of the detector column (a plane seen from the source), and so is its inverse.

q and X are counted from the middle of the grid, which keeps float32 accurate.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from ctlib.backends.tables.plan import RayGroup, plan

LANES = 16
REACH = 2 * LANES
TILE = 8  # planes the adjoint works on at once
APART = 0.6  # [pixels] between rays of which `near` holds: 15 / APART + ceil(2 / APART + 2 SLACK) + 2 < REACH
SLACK = 2.0**-8  # what the float32 inverse map may be off by [rays]; grows beyond 4096 columns


@dataclass(frozen=True, eq=False)
class Runs:
    """All runs of one main axis; their n rays, each run padded to whole blocks of 16 by rays that miss.

    axis           main axis: 0 = rows, 1 = columns
    num, size      planes along it, pixels in a plane
    rays           (n,) position in the flattened sinogram, -1 for padding
    start, slope   (n,) place on the middle plane and its change per plane, counted from the middle pixel, float64
    length         (n,) path between two planes [mm], 0 for padding
    span           (n / 16, 2) planes [low, high) that a block of 16 rays can meet
    close          (n / 16,) whether the rays of a block always lie within the reach of a permutation
    first, count   (m,) first ray of a run, number of its rays
    every          (m,) columns from one of its rays to the next
    inverse        (m, 5) p: the ray at place c of plane q is (p0 + p1 q + p2 c) / (1 + p3 q + p4 c)
    slack          what that may be off by
    taps           (m, tiles) how many consecutive rays can touch one pixel of a tile of planes
    near           (m,) whether the rays of 16 neighboring pixels lie within the reach of a permutation
    """

    axis: int
    num: int
    size: int
    rays: np.ndarray
    start: np.ndarray
    slope: np.ndarray
    length: np.ndarray
    span: np.ndarray
    close: np.ndarray
    first: np.ndarray
    count: np.ndarray
    every: np.ndarray
    inverse: np.ndarray
    slack: float
    taps: np.ndarray
    near: np.ndarray

    @property
    def middle(self) -> tuple[int, int]:
        """Plane and pixel that positions are counted from."""
        return self.num // 2, self.size // 2


@lru_cache(maxsize=32)
def runs(geometry, apart: float = 0.0) -> tuple[Runs, ...]:
    """The runs of a 2-D geometry, one entry per main axis that occurs.

    apart  pixels that neighboring rays of a run shall lie apart on every plane: stretches of closer ones are dealt out
           to several runs, as long as these have more than 16 rays
    """
    return tuple(_runs(group, geometry.volume.shape, geometry.num_cols, apart) for group in plan(geometry))


def _runs(group: RayGroup, shape: tuple[int, int], columns: int, apart: float) -> Runs:
    num, size = shape[group.axis], shape[1 - group.axis]
    slope = group.slope[:, 0]
    start = group.start[:, 0] + slope * (num // 2) - size // 2
    planes = np.array([0.0, num - 1.0]) - num // 2  # X is linear in q: what holds on the outer planes holds between
    order, first, count, every = _ordered(group.rays, start[:, None] + slope[:, None] * planes, columns, apart)

    def padded(values, missing):
        return np.where(order >= 0, values[order], missing)

    start, slope, length = padded(start, 4.0 * size), padded(slope, 0.0), padded(group.length, 0.0)
    span, close = _blocks(start.reshape(-1, LANES), slope.reshape(-1, LANES), order.reshape(-1, LANES) >= 0, num, size)
    slack = max(SLACK, columns * 2.0**-20)
    inverse, taps, near = _inverse(start, slope, first, count, num, size, slack)
    rays = padded(group.rays, -1)
    places = start, slope, length, span, close
    return Runs(group.axis, num, size, rays, *places, first, count, every, inverse, slack, taps, near)


def _ordered(rays: np.ndarray, ends: np.ndarray, columns: int, apart: float) -> tuple[np.ndarray, ...]:
    """Rays of each run in rising order, -1 where padded; of each run first entry, number of rays, columns between."""
    steps = np.diff(ends, axis=0)
    rising, falling = (steps > 0).all(1), (steps < 0).all(1)
    joined = (np.diff(rays) == 1) & (rays[1:] % columns != 0) & (rising | falling)
    joined[1:] &= ~joined[:-1] | (rising[1:] == rising[:-1])
    edges = np.concatenate([[0], np.flatnonzero(~joined) + 1, [len(rays)]])
    order, count, between = [], [], []
    for a, b in pairwise(edges):
        run = np.arange(a, b)
        if b - a > 1 and falling[a]:
            run = run[::-1]
        every = math.ceil(apart / np.abs(steps[a : b - 1]).min()) if b - a > 1 else 1
        every = every if every > 1 and (b - a) // every > LANES else 1
        for part in (run[k::every] for k in range(every)):
            order += [part, np.full(-len(part) % LANES, -1)]
            count.append(len(part))
            between.append(every)
    count = np.array(count)
    first = np.concatenate([[0], np.cumsum(-(-count // LANES) * LANES)[:-1]])
    return np.concatenate(order), first, count, np.array(between)


def _blocks(start, slope, real, num: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Planes on which a block of 16 rays (blocks, 16) is over the grid, and whether it always stays together."""
    low, high = -1.0 - size // 2, float(size - size // 2)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        one, other = (low - start) / slope, (high - start) / slope
    over = np.where((start > low) & (start < high), np.inf, -np.inf)  # a ray along the planes: over all or none
    enter = np.where(slope == 0, -over, np.fmin(one, other))
    leave = np.where(slope == 0, over, np.fmax(one, other))
    enter = np.floor(np.where(real, enter, np.inf).min(1).clip(-num, num)) + num // 2
    leave = np.ceil(np.where(real, leave, -np.inf).max(1).clip(-num, num)) + num // 2 + 1
    span = np.stack([enter.clip(0, num), leave.clip(0, num)], 1).astype(np.int64)
    span[span[:, 0] >= span[:, 1]] = 0
    ends = start[..., None] + slope[..., None] * (np.array([0.0, num - 1.0]) - num // 2)
    width = np.where(real[..., None], ends, -np.inf).max(1) - ends[:, 0]
    return span, (width <= REACH - 3).all(1)


def _inverse(start, slope, first, count, num: int, size: int, slack: float):
    """Inverse maps, taps and nearness of the runs; where no map fits (short runs), every ray is a candidate."""
    edges = np.minimum(np.arange(-(-num // TILE) + 1) * TILE, num - 1) - num // 2
    inverse, near = np.zeros((len(first), 5)), np.zeros(len(first), bool)
    taps = np.repeat(count[:, None], len(edges) - 1, 1)
    for r, (a, n) in enumerate(zip(first, count, strict=True)):
        x = start[a : a + n, None] + slope[a : a + n, None] * edges  # (rays, edges of tiles)
        p = _fit(x[:, [0, len(edges) // 2, -1]], edges[[0, len(edges) // 2, -1]]) if n > LANES else None
        if p is None:
            continue
        gap = np.diff(x, axis=0).min(0)
        needed = np.ceil(2 / np.minimum(gap[:-1], gap[1:]) + 2 * slack)
        inverse[r], taps[r] = p, np.minimum(needed, n)
        near[r] = 15 / gap.min() + taps[r].max() + 2 <= REACH - 1
    return inverse, taps, near


def _fit(x: np.ndarray, planes: np.ndarray) -> np.ndarray | None:
    """p of `Runs.inverse` for rays 0, 1, ... at places x (rays, planes); None if no such map fits exactly."""
    ray, q = np.broadcast_to(np.arange(len(x), dtype=float)[:, None], x.shape), np.broadcast_to(planes, x.shape)
    scale = max(1.0, np.abs(x).max(), np.abs(planes).max())
    some = np.unique(np.linspace(0, len(x) - 1, 9).astype(int))
    columns = [np.ones_like(x), q / scale, x / scale, -ray * q / scale, -ray * x / scale]
    system = np.stack([c[some].ravel() for c in columns], 1)
    p = np.linalg.lstsq(system, ray[some].ravel(), rcond=1e-13)[0] / np.array([1, scale, scale, scale, scale])
    below = 1 + p[3] * q + p[4] * x
    good = (below > 0).all() and np.abs((p[0] + p[1] * q + p[2] * x) / below - ray).max() < SLACK / 8
    return p if good else None
