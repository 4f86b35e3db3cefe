"""Compiled back-projection on a CPU: linear interpolation of a row of samples at many places, added up over views.

The places under neighboring pixels are neighbors in the row: those of sixteen pixels lie in a window of two registers,
and one permutation of the two replaces sixteen loads (`simd_memory.take`). Places and weights are computed once for all
images of a batch. Every work item owns what it writes, rows of pixels or a view, so every sum has one order.

views  (V, 8) float64, the place and weight of pixel (j, i) in a padded row:
       place = v0 + (v1 + v2 i + v3 j) / l,    weight = v7 / l^2,    l = v4 + v5 i + v6 j
"""

import numpy as np

from ctlib.backends.cpu.simd import LANES, fma, shift, sub, zeros
from ctlib.backends.cpu.simd_memory import REACH, load, store, take, take_apart
from ctlib.compiled import njit
from ctlib.cpu.threads import claimed

ROWS = 8  # rows of pixels that an item carries through the views: their sums stay in cache
MARGIN = REACH  # samples beyond the last one used: windows reach that far


@njit(inline="always")
def _interpolate(total, row, lower, fraction, weight):
    """total += weight times the row, linear, at lower + fraction, which rise or fall along whole registers."""
    zero, whole = zeros(row, 1), zeros(lower, 1)
    for i in range(0, lower.size, LANES):
        first = np.int64(min(lower[i], lower[i + LANES - 1]))
        lanes, part = shift(load(whole, lower, i, 0), -first), load(zero, fraction, i, 0)
        if max(lower[i], lower[i + LANES - 1]) < first + REACH - 1:
            a, b = take(zero, row, first, 0, lanes), take(zero, row, first, 0, shift(lanes, 1))
        else:  # a step of more than two samples from pixel to pixel
            a, b = take_apart(zero, row, first, 0, lanes), take_apart(zero, row, first, 0, shift(lanes, 1))
        value = fma(part, sub(b, a), a)
        store(fma(load(zero, weight, i, 0), value, load(zero, total, i, 0)), total, i, 0)


@njit(inline="always")
def _places(view, j, num_cols, size, lower, fraction, weight):
    """Whole part and fraction of the place of every pixel of row j, kept in the padded row, and its weight.

    The last pixel is repeated to the end of the arrays: rows of pixels are filled up to whole registers.
    """
    real = weight.dtype.type
    start, top, step = real(view[0]), real(view[1] + view[3] * j), real(view[2])
    depth, slope, scale = real(view[4] + view[6] * j), real(view[5]), real(view[7])
    for i in range(num_cols):
        x = real(np.int32(i))
        inverse = real(1) / (depth + slope * x)
        place = min(max(start + (top + step * x) * inverse, real(0)), real(size))
        lower[i] = np.int32(place)
        fraction[i], weight[i] = place - real(lower[i]), scale * inverse * inverse
    for i in range(num_cols, lower.size):
        lower[i], fraction[i], weight[i] = lower[num_cols - 1], real(0), real(0)


@njit(inline="always")
def _buffers(num, dtype):
    """Whole parts, fractions and weights of num places."""
    return np.empty(num, np.int32), np.empty(num, dtype), np.empty(num, dtype)


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def gather(claims, rows, size, views, image):
    """image (B, Y, X) = sum over the views of weight times row at the place; an item is ROWS rows of pixels.

    rows  (B, V, size + 1 + MARGIN), zero at the first sample and from sample `size` on
    """
    batch, (num_rows, num_cols) = rows.shape[0], image.shape[1:]
    whole = (num_cols + LANES - 1) // LANES * LANES
    lower, fraction, weight = _buffers(whole, rows.dtype)
    for tile in claimed(claims):
        start, stop = tile * ROWS, min(tile * ROWS + ROWS, num_rows)
        total = np.zeros((stop - start, batch, whole), rows.dtype)
        for v in range(views.shape[0]):
            for j in range(start, stop):
                _places(views[v], j, num_cols, size, lower, fraction, weight)
                for b in range(batch):
                    _interpolate(total[j - start, b], rows[b, v], lower, fraction, weight)
        for b in range(batch):
            image[b, start:stop] = total[:, b, :num_cols]


@njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy")
def scatter(claims, image, size, views, rows):
    """rows += transpose of `gather` applied to the image; an item is a view."""
    batch, (num_rows, num_cols) = image.shape[0], image.shape[1:]
    lower, fraction, weight = _buffers(num_cols, rows.dtype)
    for v in claimed(claims):
        for j in range(num_rows):
            _places(views[v], j, num_cols, size, lower, fraction, weight)
            for b in range(batch):
                _spread(image[b, j], rows[b, v], lower, fraction, weight)


@njit(inline="always")
def _spread(values, row, lower, fraction, weight):
    """Transpose of `_interpolate`: add the values, weighted, to the two samples around each place."""
    for i in range(lower.size):
        k, value = np.uint32(lower[i]), weight[i] * values[i]
        right = fraction[i] * value
        row[k] += value - right
        row[k + 1] += right
