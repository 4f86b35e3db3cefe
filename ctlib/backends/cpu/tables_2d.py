"""Tables of the CPU engine in 2-D: the runs of `ctlib.backends.tables.runs` as its two products read them.

The rays of a run meet in one point, or nowhere, so their positions on a plane are those on the middle plane, scaled:
X = zoom T + shift, with T of the ray and zoom, shift of the run and plane. Both products read the same T, zoom and
shift. All is computed in float64 and rounded once.
"""

import numpy as np

from ctlib.backends.tables.runs import LANES, REACH, TILE, Runs


def forward_tables(r: Runs, real) -> tuple:
    """(rays, T, zoom, shift, length, span, close, run): zoom and shift (run, plane), run (n / 16,) that of a block."""
    place, zoom, shift = (t.astype(real) for t in lines(r))
    run = np.repeat(np.arange(len(r.first)), -(-r.count // LANES))
    return r.rays, place, zoom.ravel(), shift.ravel(), r.length.astype(real), r.span, r.close, run


def adjoint_tables(r: Runs, read: Runs, real) -> tuple:
    """(T, spans, maps, scales), flat, and (taps, near, fans) of the runs.

    read    the runs that A reads; T, zoom and shift are theirs, so that X is too, bit by bit
    spans   (tile, 3, run) first ray; blocks of 16 pixels [low, high) that a run can touch on a tile of planes
    maps    (tile, 3, run) along, beside; the last ray that a pixel's candidates may begin with
    scales  (plane, 4, run) zoom, shift, above, below
    fans    whether the division matters: the candidates of pixel c begin at the whole part of
            (above + along c) / (below + beside c), which is what `inverse` gives for c - 1, plus 1 - slack
    """
    place, zoom, shift = _as_read(r, read)
    early, q, p = 1 - r.slack, _planes(r)[:, None], r.inverse
    below = 1 + p[:, 3] * q - p[:, 4]
    above = p[:, 0] + p[:, 1] * q - p[:, 2] + early * below
    last, (low, high) = (r.count[:, None] - r.taps).T, _touched(r)
    spans = np.stack(np.broadcast_arrays(r.first, low, high), 1)
    maps = np.stack(np.broadcast_arrays(p[:, 2] + early * p[:, 4], p[:, 4], last), 1)
    scales = np.stack([zoom.T, shift.T, above, below], 1)
    place = np.pad(place, (0, REACH))  # as far as may be read past the end
    fans = (r.slope[r.first] != r.slope[r.first + r.count - 1]) | ~r.near
    tables = place.astype(real), spans.ravel(), maps.astype(real).ravel(), scales.astype(real).ravel()
    return tables, (np.ascontiguousarray(r.taps.T), r.near, fans)


def lines(r: Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T (n,) of every ray, zoom and shift (run, plane).

    T is counted from the ray of a run that passes nearest to the grid's middle pixel: where rays meet the grid, T and
    shift are then numbers of its size. From the middle of a detector that is much wider than the grid, and not in
    front of it, both were large, of opposite sign, and rounded as such.
    """
    middle, end = _nearest(r), r.first + r.count - 1
    width = np.where(r.count > 1, r.start[end] - r.start[r.first], 1.0)
    zoom = 1 + ((r.slope[end] - r.slope[r.first]) / width)[:, None] * _planes(r)
    shift = r.start[middle][:, None] + r.slope[middle][:, None] * _planes(r)
    return r.start - np.repeat(r.start[middle], -(-r.count // LANES) * LANES), zoom, shift


def _as_read(r: Runs, read: Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T of the rays and zoom, shift of the runs `r`, as `lines` gives them for the runs that these are parts of."""
    if r is read:
        return lines(r)
    place, zoom, shift = lines(read)
    at = np.empty(read.rays.max() + 1, np.int64)  # of a ray in A's order
    held = np.flatnonzero(read.rays >= 0)
    at[read.rays[held]] = held
    part_of = np.searchsorted(read.first, at[r.rays[r.first]], side="right") - 1
    return np.where(r.rays >= 0, place[at[r.rays]], 4.0 * r.size), zoom[part_of], shift[part_of]


def _nearest(r: Runs) -> np.ndarray:
    """The ray (run,) that passes nearest to the middle pixel of the middle plane."""
    run = np.repeat(np.arange(len(r.first)), -(-r.count // LANES) * LANES)
    order = np.lexsort((np.where(r.rays < 0, np.inf, np.abs(r.start)), run))
    return order[r.first]


def _planes(r: Runs) -> np.ndarray:
    """Planes counted from the middle one."""
    return np.arange(r.num) - r.middle[0]


def _touched(r: Runs) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of pixels [low, high) between the first and the last ray of every run, on a tile of planes."""
    edges = np.minimum(np.arange(-(-r.num // TILE) + 1) * TILE, r.num - 1)[:, None] - r.middle[0]
    left, right = (r.start[at] + r.slope[at] * edges + r.middle[1] for at in (r.first, r.first + r.count - 1))
    blocks = -(-r.size // LANES)
    low = np.floor((np.minimum(left[:-1], left[1:]) - 1.5) / LANES)
    high = np.floor((np.maximum(right[:-1], right[1:]) + 1.5) / LANES) + 1
    return low.clip(0, blocks).astype(np.int64), high.clip(0, blocks).astype(np.int64)
