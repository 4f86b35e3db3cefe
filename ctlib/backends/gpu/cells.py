"""Tables of the GPU engine's transposed back-projection: the pixels whose places lie near a detector cell.

The places of the pixels of a plane (a row of them, or a column) rise or fall from end to end, and the pixels whose
place is t lie on a straight line, a ray: so those within one cell of a cell lie between two lines. Of the two kinds of
planes a cell takes the one on which its pixels are fewer. Nothing of this depends on detector rows: a cone beam has
the tables of its middle plane.

Planes and pixels are counted from the middle of the grid, cells from the middle of the detector.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ctlib.backends.gpu.tables import BLOCK
from ctlib.backends.tables.backprojection import view_table
from ctlib.backends.tables.runs import SLACK, TILE

STEEP = 16.0  # pixels from plane to plane: beyond, all pixels of a plane are candidates


def centered(geometry) -> np.ndarray:
    """v0 to v6 of `view_table`, counted from the middles: (V, 7) float64."""
    v = view_table(geometry, np.ones(geometry.num_views))[:, :7]
    i, j = geometry.volume.shape[-1] // 2, geometry.volume.shape[-2] // 2
    v[:, 0] -= geometry.num_cols // 2
    v[:, 1] += v[:, 2] * i + v[:, 3] * j
    v[:, 4] += v[:, 5] * i + v[:, 6] * j
    return v


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells that take one kind of planes; n of them, in whole blocks of BLOCK.

    axis         the planes are 0 rows, 1 columns of pixels
    num, size    planes, pixels of a plane
    cells        (n,) view * U + column, -1 where no cell is
    begin, rise  (n,) candidates begin at the whole number nearest to begin + rise q on plane q
    span         (n / BLOCK, 2) planes [low, high) on which a cell of the block has candidates
    taps         (n / BLOCK, tiles) candidates of a cell in a tile of planes
    """

    axis: int
    num: int
    size: int
    cells: np.ndarray
    begin: np.ndarray
    rise: np.ndarray
    span: np.ndarray
    taps: np.ndarray


def cells(geometry) -> tuple[Cells, ...]:
    """The cells of a geometry, one entry per kind of planes that occurs."""
    views = centered(geometry)[:, None, :]
    t = np.arange(geometry.num_cols) - geometry.num_cols // 2
    before, after = (_border(views, t + end) for end in (-1, 1))  # (V, U, 3)
    alike = before * after > 0
    least = np.where(alike, np.minimum(np.abs(before), np.abs(after)), 0)[..., 1:]
    axis = (least[..., 1] > least[..., 0]).ravel()
    found = (_cells(geometry, a, np.flatnonzero(axis == a), before, after) for a in (0, 1))
    return tuple(c for c in found if len(c.cells))


def _border(v: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(a, b, c) of every cell: the place of pixel i of row j is more than t where a + b i + c j > 0."""
    t = t - v[..., 0]
    return np.stack([v[..., k] - t * v[..., k + 3] for k in (1, 2, 3)], -1)


def _cells(geometry, axis: int, which: np.ndarray, before: np.ndarray, after: np.ndarray) -> Cells:
    shape = geometry.volume.shape[-2:]
    num, size = shape[axis], shape[1 - axis]
    source = np.full(-(-len(which) // BLOCK) * BLOCK, -1)
    source[: len(which)] = which
    low, high = _lines(before.reshape(-1, 3)[source], after.reshape(-1, 3)[source], axis, size)
    missing = (np.array([4.0 * size, 0.0]), np.array([-4.0 * size, 0.0]))
    low, high = (np.where(source[:, None] >= 0, line, far) for line, far in zip((low, high), missing, strict=True))
    slack = max(SLACK, (size + np.abs(low[:, 1]).max(initial=0) * num) * 2.0**-21)
    span = _span(low, high, num, size)
    return Cells(
        axis, num, size, source, low[:, 0] + 0.5 - slack, low[:, 1], span, _taps(low, high, span, num, size, slack)
    )


def _lines(before: np.ndarray, after: np.ndarray, axis: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) start and slope of the lines between which the pixels lie; around all pixels where they are no such."""
    one, other = (np.stack([-p[:, 0], -p[:, 2 - axis]], 1) for p in (before, after))
    by = [p[:, 1 + axis, None] for p in (before, after)]
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = one / by[0], other / by[1]
        usable = (by[0] * by[1] > 0) & (np.abs(one[:, 1:]) < STEEP) & (np.abs(other[:, 1:]) < STEEP)
    ends = np.array([-1.0 - size // 2, 0.0]), np.array([float(size - size // 2), 0.0])
    low, high = np.where(by[0] > 0, one, other), np.where(by[0] > 0, other, one)
    return np.where(usable, low, ends[0]), np.where(usable, high, ends[1])


def _span(low: np.ndarray, high: np.ndarray, num: int, size: int) -> np.ndarray:
    """(blocks, 2) planes on which a cell of a block has pixels of the grid between its lines."""
    parts = _where_positive(-low + [size - size // 2, 0]), _where_positive(high + [1 + size // 2, 0])
    enter, leave = np.maximum(parts[0][0], parts[1][0]), np.minimum(parts[0][1], parts[1][1])
    middle = num // 2
    enter = np.floor(enter.clip(-middle - 1, num)).astype(np.int64) + middle
    leave = np.ceil(leave.clip(-middle - 1, num)).astype(np.int64) + middle + 1
    over = (enter < leave) & (enter < num) & (leave > 0)
    enter, leave = np.where(over, enter, num), np.where(over, leave, 0)
    first = enter.reshape(-1, BLOCK).min(1).clip(0, num)
    return np.stack([first, leave.reshape(-1, BLOCK).max(1).clip(first, num)], 1)


def _where_positive(line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of q on which start + slope q > 0, of lines (n, 2)."""
    start, slope = line.T
    with np.errstate(divide="ignore", invalid="ignore"):
        edge = -start / slope
    flat = np.where(start > 0, np.inf, -np.inf)
    low = np.where(slope > 0, edge, np.where(slope < 0, -np.inf, -flat))
    return low, np.where(slope < 0, edge, np.where(slope > 0, np.inf, flat))


def _taps(low: np.ndarray, high: np.ndarray, span: np.ndarray, num: int, size: int, slack: float) -> np.ndarray:
    """(blocks, tiles) most whole numbers between the lines of a cell, whose distance is linear in the plane."""
    edges = np.minimum(np.arange(-(-num // TILE) + 1) * TILE, num - 1)
    width = high - low
    at = [(width[:, 0] + width[:, 1] * (q - num // 2)).reshape(-1, BLOCK).max(1) for q in edges]
    needed = np.stack([np.ceil(np.maximum(a, b) + 2 * slack) for a, b in pairwise(at)], 1)
    used = (edges[:-1] < span[:, 1:]) & (edges[1:] >= span[:, :1])
    return np.where(used, needed.clip(0, size + 1), 0).astype(np.int64)
