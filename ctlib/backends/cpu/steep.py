"""Compiled loops over any 3-D rays on a CPU: what steep cone-beam rays need. Plane-major images, the batch last.

Forward: threads share the rays. Adjoint: threads share the planes, and each plane is written by one thread only, so
there are no atomics and every sum has one order. Both evaluate the same index and the same weights: one is the exact
transpose of the other.
"""

import math

import numpy as np
from numba import prange

from ctlib.compiled import njit


@njit(inline="always")
def _span(a, b, size, num):
    """Planes q that may have -1 < a + b q < size, widened by one against rounding: [low, high)."""
    if b == 0.0:
        return (0, num) if -1.0 < a < size else (0, 0)
    low, high = min((-1.0 - a) / b, (size - a) / b), max((-1.0 - a) / b, (size - a) / b)
    if high < 0.0 or low > num:
        return 0, 0
    return int(max(low - 1.0, 0.0)), int(min(high + 2.0, float(num)))


@njit(parallel=True, cache=True)
def forward_3d(image, rays, start, slope, length, sino):
    """As `forward_2d` with bilinear interpolation; image (Q, N + 2, M + 2, B)."""
    num, rows, cols, batch = image.shape[0], image.shape[1] - 2, image.shape[2] - 2, image.shape[3]
    for r in prange(rays.size):
        total = np.zeros(batch, image.dtype)
        weight = np.empty(4, image.dtype)
        low, high = _span(start[r, 0], slope[r, 0], rows, num)
        low2, high2 = _span(start[r, 1], slope[r, 1], cols, num)
        for q in range(max(low, low2), min(high, high2)):
            c, d = start[r, 0] + slope[r, 0] * q, start[r, 1] + slope[r, 1] * q
            if -1.0 < c < rows and -1.0 < d < cols:
                i, j = math.floor(c), math.floor(d)
                _bilinear(weight, c - i, d - j, length[r])
                w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
                for k in range(batch):
                    total[k] += w0 * image[q, i + 1, j + 1, k] + w1 * image[q, i + 1, j + 2, k]
                    total[k] += w2 * image[q, i + 2, j + 1, k] + w3 * image[q, i + 2, j + 2, k]
        for k in range(batch):
            sino[rays[r], k] = total[k]


@njit(parallel=True, cache=True)
def adjoint_3d(sino, rays, start, slope, length, image):
    """image += transpose of `forward_3d` applied to sino."""
    num, rows, cols, batch = image.shape[0], image.shape[1] - 2, image.shape[2] - 2, image.shape[3]
    for q in prange(num):
        weight = np.empty(4, image.dtype)
        for r in range(rays.size):
            c, d = start[r, 0] + slope[r, 0] * q, start[r, 1] + slope[r, 1] * q
            if -1.0 < c < rows and -1.0 < d < cols:
                i, j = math.floor(c), math.floor(d)
                _bilinear(weight, c - i, d - j, length[r])
                w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
                for k in range(batch):
                    image[q, i + 1, j + 1, k] += w0 * sino[rays[r], k]
                    image[q, i + 1, j + 2, k] += w1 * sino[rays[r], k]
                    image[q, i + 2, j + 1, k] += w2 * sino[rays[r], k]
                    image[q, i + 2, j + 2, k] += w3 * sino[rays[r], k]


@njit(inline="always")
def _bilinear(weight, s, t, length):
    """Four weights of a point at fractions s, t of its cell, times the path length, in the image's precision."""
    weight[0], weight[1] = (1.0 - s) * (1.0 - t) * length, (1.0 - s) * t * length
    weight[2], weight[3] = s * (1.0 - t) * length, s * t * length
