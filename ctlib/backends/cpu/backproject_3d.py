"""Compiled back-projection of a cone beam, built from the loops of the plane.

A column of voxels (all z at one pixel) projects to one place along the detector's columns and a line of places along
its rows: interpolate between two detector columns once, then along the rows with the loop that the plane uses. Data
come with the detector rows last, so both loops run over neighbors in memory.

views  as in `backproject_2d`; the row of voxel z is  h0 + (h1 + h2 z) / l
"""

import numpy as np

from ctlib.backends.cpu.backproject_2d import _interpolate, _spread
from ctlib.backends.cpu.simd import LANES
from ctlib.compiled import njit
from ctlib.cpu.threads import claimed

TILE = 16  # side of the square of voxel columns that an item carries through the views


@njit(inline="always")
def _column(view, j, i, num_cols):
    """Detector column under pixel (j, i), kept in the padded row, and 1 / l."""
    inverse = 1.0 / (view[4] + view[5] * i + view[6] * j)
    return min(max(view[0] + (view[1] + view[2] * i + view[3] * j) * inverse, 0.0), float(num_cols)), inverse


@njit(inline="always")
def _heights(heights, inverse, num_rows, lower, fraction):
    """Whole part and fraction of the detector row of every voxel of a column."""
    real = fraction.dtype.type
    start, step = real(heights[0] + heights[1] * inverse), real(heights[2] * inverse)
    for z in range(lower.size):
        row = min(max(start + step * real(np.int32(z)), real(0)), real(num_rows))
        lower[z] = np.int32(row)
        fraction[z] = row - real(lower[z])


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def gather_volume(claims, data, size, views, heights, volume):
    """volume (B, Z, Y, X) from data (B, V, U + 3, R + 2 + MARGIN), zero outside; size = (R + 1, U + 1).

    An item is one of the squares of TILE x TILE voxel columns, row after row of them.
    """
    batch, num_z, num_y, num_x = volume.shape
    across, whole = (num_x + TILE - 1) // TILE, (num_z + LANES - 1) // LANES * LANES
    for tile in claimed(claims):
        top, left = tile // across * TILE, tile % across * TILE
        bottom, right = min(top + TILE, num_y), min(left + TILE, num_x)
        lower, fraction, ones = np.empty(whole, np.int32), np.empty(whole, data.dtype), np.ones(whole, data.dtype)
        line, total = np.zeros(data.shape[3], data.dtype), np.zeros((TILE, TILE, batch, whole), data.dtype)
        for v in range(views.shape[0]):
            for j in range(top, bottom):
                for i in range(left, right):
                    column, inverse = _column(views[v], j, i, size[1])
                    _heights(heights, inverse, size[0], lower, fraction)
                    k, scale = np.uint32(column), views[v, 7] * inverse * inverse
                    b1 = data.dtype.type(scale * (column - k))
                    b0 = data.dtype.type(scale * (1.0 - (column - k)))
                    used = slice(lower[0], lower[-1] + 2)
                    part = line[used]
                    for b in range(batch):
                        near, far = data[b, v, k, used], data[b, v, k + 1, used]
                        for r in range(part.size):
                            part[r] = b0 * near[r] + b1 * far[r]
                        _interpolate(total[j - top, i - left, b], line, lower, fraction, ones)
        for b in range(batch):
            for z in range(num_z):
                for j in range(top, bottom):
                    for i in range(left, right):
                        volume[b, z, j, i] = total[j - top, i - left, b, z]


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def scatter_volume(claims, volume, size, views, heights, data):
    """data += transpose of `gather_volume` applied to volumes that come as (B, Y, X, Z); an item is a view."""
    batch, num_y, num_x, num_z = volume.shape
    lower, fraction, ones = np.empty(num_z, np.int32), np.empty(num_z, data.dtype), np.ones(num_z, data.dtype)
    line = np.empty(data.shape[3], data.dtype)
    for v in claimed(claims):
        for j in range(num_y):
            for i in range(num_x):
                column, inverse = _column(views[v], j, i, size[1])
                _heights(heights, inverse, size[0], lower, fraction)
                k, scale = np.uint32(column), views[v, 7] * inverse * inverse
                b1 = data.dtype.type(scale * (column - k))
                b0 = data.dtype.type(scale * (1.0 - (column - k)))
                for b in range(batch):
                    line[:] = 0
                    _spread(volume[b, j, i], line, lower, fraction, ones)
                    near, far = data[b, v, k], data[b, v, k + 1]
                    for r in range(line.size):
                        near[r] += b0 * line[r]
                        far[r] += b1 * line[r]
