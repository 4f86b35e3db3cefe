"""Tables of the GPU engine: the runs of `ctlib.backends.tables.runs`, each followed by lanes that hold no ray.

A pixel's candidates are `taps` neighboring lanes; the empty lanes behind a run keep them clear of the next one.
All tables are per ray of a fan, or per run: a cone beam has those of its middle plane, and how its rays rise.
"""

from dataclasses import dataclass

import numpy as np

from ctlib.backends.tables.columns import columns
from ctlib.backends.tables.runs import LANES, SLACK, TILE, Runs
from ctlib.geometry import ConeBeam, FanBeam, Volume

BLOCK = 128  # lanes of a program
UNROLLED = 4  # candidates per pixel at most that are worth unrolling


@dataclass(frozen=True, eq=False)
class Lanes:
    """One main axis: n lanes, whole blocks of BLOCK, and m runs.

    axis, num, size       as in `Runs`
    rays                  (n,) position in the flattened sinogram, -1 where no ray is
    start, slope, length  (n,) as in `Runs`; far from every pixel, 0 and 0 where no ray is
    span                  (n / BLOCK, 2) planes [low, high) that a block can meet
    first, count          (m,) first lane of a run, number of its rays
    taps                  (m, tiles) candidate rays of a pixel in a tile of planes
    maps                  (m, 6) p: candidates begin at nearest((p0 + p1 q + p2 c) / (p3 + p4 q + p5 c))
    unrolled, more        candidates every pixel takes; whether some pixels take more
    curved                whether the division matters
    """

    axis: int
    num: int
    size: int
    rays: np.ndarray
    start: np.ndarray
    slope: np.ndarray
    length: np.ndarray
    span: np.ndarray
    first: np.ndarray
    count: np.ndarray
    taps: np.ndarray
    maps: np.ndarray
    unrolled: int
    more: bool
    curved: bool


def lanes(r: Runs) -> Lanes:
    """The lanes of one main axis."""
    unrolled = int(r.taps.max() if r.taps.max() <= UNROLLED else min(np.median(r.taps), UNROLLED))
    width = r.count + np.maximum(r.taps.max(1), unrolled)
    first = np.concatenate([[0], np.cumsum(width)[:-1]])
    source = np.full(-(-width.sum() // BLOCK) * BLOCK, -1)
    for begin, to, n in zip(r.first, first, r.count, strict=True):
        source[to : to + n] = np.arange(begin, begin + n)
    rays, start, slope, length = (
        np.where(source >= 0, t[source], missing)
        for t, missing in ((r.rays, -1), (r.start, 4.0 * r.size), (r.slope, 0.0), (r.length, 0.0))
    )
    p3, p4 = np.abs(r.inverse[:, 3]) * r.num, np.abs(r.inverse[:, 4]) * r.size
    curved = bool(((p3 + p4) * r.count > r.slack / 8).any())  # else the division moves no ray by more than the slack
    return Lanes(
        r.axis, r.num, r.size, rays, start, slope, length, _span(r, source), first, r.count, r.taps, _maps(r),
        unrolled, bool(r.taps.max() > unrolled), curved,
    )  # fmt: skip


def _span(r: Runs, source: np.ndarray) -> np.ndarray:
    """Planes of each block: from the first to the last that one of its rays can meet."""
    low, high = r.span[source // LANES].T
    over = (source >= 0) & (low < high)
    low, high = np.where(over, low, r.num).reshape(-1, BLOCK).min(1), np.where(over, high, 0).reshape(-1, BLOCK).max(1)
    return np.stack([np.minimum(low, high), high], 1)


def _maps(r: Runs) -> np.ndarray:
    """`Runs.inverse` s, moved so that the whole number nearest to it is where the candidates of pixel c begin.

    They begin at the first ray beyond s(q, c - 1) - slack: at the whole number nearest to that plus 1/2.
    """
    p0, p1, p2, p3, p4 = r.inverse.T
    shift = 0.5 - r.slack
    return np.stack([p0 - p2 + shift * (1 - p4), p1 + shift * p3, p2 + shift * p4, 1 - p4, p3, p4], 1)


def middle_fan(cone: ConeBeam) -> FanBeam:
    """The rays of a cone beam in the plane z = 0."""
    volume = Volume(cone.volume.shape[1:], cone.volume.voxel_mm[1:])
    return FanBeam(
        volume, cone.num_views, cone.num_cols, cone.pitch_mm, cone.source_origin_mm, cone.source_detector_mm,
        cone.angles, cone.detector_offset_mm,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Rise:
    """How the rays of a cone beam leave the plane z = 0, per lane of its middle fan: `Columns` in that order.

    place         (n,) position of row 0 in the flattened sinogram, 0 where no ray is
    level, steep  (n,) slices per row on the middle plane, and its change per plane
    flat, climb   (n,) path between two planes [mm]: sqrt(flat + climb (row - middle row)^2)
    limits        (n, 2) rows [low, high) with this main axis; none where no ray is
    taps          (m, tiles) candidate rows of a voxel in a tile of planes
    slack         what the float32 row of a voxel may be off by [rows]
    """

    place: np.ndarray
    level: np.ndarray
    steep: np.ndarray
    flat: np.ndarray
    climb: np.ndarray
    limits: np.ndarray
    taps: np.ndarray
    slack: float


def rise(cone: ConeBeam, fan: Lanes) -> Rise:
    """The rise of the rays of one main axis."""
    c, real = columns(cone), fan.rays >= 0
    view, column = fan.rays // cone.num_cols, fan.rays % cone.num_cols

    def of(table, missing=0.0):
        return np.where(real, table[view, column], missing)

    slack = max(SLACK, cone.num_rows * 2.0**-20)
    needed = np.ceil(2 / np.maximum(_least(cone, fan), 1e-9) + 2 * slack)
    return Rise(
        np.where(real, view * cone.num_rows * cone.num_cols + column, 0),
        of(c.gain * (fan.num // 2 - c.source), 1.0), of(c.gain), of(c.flat), of(c.rise),
        np.where(real[:, None], c.rows[view, column], 0),
        np.minimum(needed, cone.num_rows).astype(np.int64), slack,
    )  # fmt: skip


def _least(cone: ConeBeam, fan: Lanes) -> np.ndarray:
    """(m, tiles): the least number of slices per row at a place of a tile, one pixel outside the grid included.

    A flat detector magnifies by depth alone: at depth d from the source a row of height h is at h d / SDD.
    """
    t, volume = np.asarray(cone.angles)[fan.rays[fan.first] // cone.num_cols], cone.volume
    along, across = (np.cos(t), -np.sin(t))[:: -1 if fan.axis else 1]  # the central ray, along and across the planes
    planes = volume.axis(1 + fan.axis)[np.minimum(np.arange(fan.taps.shape[1] + 1) * TILE, fan.num - 1)]
    width = (fan.size + 1) * volume.voxel_mm[2 - fan.axis]
    depth = cone.source_origin_mm + along[:, None] * planes - np.abs(across)[:, None] * width / 2
    least = np.minimum(depth[:, :-1], depth[:, 1:])
    return least / cone.source_detector_mm * cone.row_pitch_mm / volume.voxel_mm[0]
