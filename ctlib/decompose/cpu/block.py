"""Compiled: a block of pixels in float32, and what the model says about it; the pixel is innermost and becomes SIMD.

The formulas are those of the torch functions named, the reference that tests compare with, function by function.
"""

import math
from collections import namedtuple

import numpy as np
from numba import float32, int32

from ctlib.compiled import njit

BLOCK = 32
STRIP = 8  # energies whose transmissions are kept before they are summed
LEAST, DARKEST = np.float32(1e-30), np.float32(1e-6)
FAST = {"contract", "nsz", "arcp", "reassoc"}

# y (P, E) counts;  attenuation (N, 3), tables (N, C E) of `moment_tables`, padded with zeros: energies to a multiple of
# STRIP, materials to three;  low, high, scale (M,);  coefficients (F, M) of the start, or F = 0, and open_beam (E,)
Task = namedtuple(
    "Task", "y attenuation tables low high scale coefficients open_beam tolerance limit near ridge num_far"
)
# Of BLOCK pixels, last axis: y (E,) counts;  acc (C E,) moments, z (STRIP,);  (3,) each: a path lengths, g gradient,
# step, other, relative, and free, 0 where the box holds a component;  h, fisher (6,) pairs of three materials;  safe, 1
# where h is definite;  whole (6,), fisher with no component held;  still, 1 until a pixel converges, taken, its steps
Block = namedtuple("Block", "y acc z a g step other relative free h fisher whole safe still taken")

exact = njit(error_model="numpy", forceinline=True, cache=True)
fast = njit(fastmath=FAST, error_model="numpy", forceinline=True, cache=True)


@exact
def new_block(bins, moments):
    """An empty block for E bins and C E moments; what a third material lacks stays 0."""
    y, acc = np.empty((bins, BLOCK), np.float32), np.empty((moments, BLOCK), np.float32)
    r, pairs = np.zeros((6, 3, BLOCK), np.float32), np.zeros((3, 6, BLOCK), np.float32)
    z, safe = np.empty((STRIP, BLOCK), np.float32), np.empty(BLOCK, np.float32)
    count = np.empty((2, BLOCK), np.int32)
    sums = pairs[0], pairs[1], pairs[2]
    return Block(y, acc, z, r[0], r[1], r[2], r[3], r[4], r[5], *sums, safe, count[0], count[1])


@njit(inline="always")
def pair(k, m):
    """Row of materials k <= m among the pairs 11, 12, 13, 22, 23, 33."""
    return k * (5 - k) // 2 + m


@exact
def load(rows, first, block):
    """block (., BLOCK) <- rows first to first + BLOCK; past the end the last row again."""
    for l in range(BLOCK):
        for k in range(rows.shape[1]):
            block[k, l] = rows[min(first + l, rows.shape[0] - 1), k]


@exact
def store(block, first, rows):
    """The reverse."""
    for l in range(min(BLOCK, rows.shape[0] - first)):
        for k in range(rows.shape[1]):
            rows[first + l, k] = block[k, l]


@njit(inline="always")
def _exp(x):
    """exp(x) to 2e-7, |x| < 87, in a form that becomes SIMD: 2^n times a polynomial of the remainder."""
    x = min(max(x, float32(-87.0)), float32(87.0))
    n = np.floor(x * float32(1.44269504) + float32(0.5))
    r = x - n * float32(0.693359375) + n * float32(2.12194440e-4)
    p = float32(1.9875691500e-4) * r + float32(1.3981999507e-3)
    p = (p * r + float32(8.3334519073e-3)) * r + float32(4.1665795894e-2)
    p = (p * r + float32(1.6666665459e-1)) * r + float32(5.0000001201e-1)
    p = p * r * r + r + float32(1.0)
    return p * np.int32((int32(n) + int32(127)) << int32(23)).view(np.float32)


@njit(inline="always")
def _log(x):
    """log(x) to 3e-7, x positive and normal: exponent, and a series of (m - 1) / (m + 1) for the mantissa m."""
    bits = np.float32(x).view(np.int32)
    n = (bits - int32(0x3F3504F3)) >> int32(23)  # so that the mantissa lies in [sqrt(1/2), sqrt(2))
    m = np.int32(bits - (n << int32(23))).view(np.float32)
    t = (m - float32(1)) / (m + float32(1))
    s = t * t
    series = ((float32(2 / 9) * s + float32(2 / 7)) * s + float32(2 / 5)) * s + float32(2 / 3)
    return float32(n) * float32(0.69314718) + t * (series * s + float32(2))


@fast
def start(task, b):
    """a <- `PolynomialStart`; acc is scratch."""
    l, (bins, num) = b.acc, (task.y.shape[1], task.low.size)
    for i in range(bins):
        for p in range(BLOCK):
            l[i, p] = -_log(max(b.y[i, p] / task.open_beam[i], DARKEST))
    for k in range(num):
        b.a[k] = task.coefficients[0, k]
        row = 1 + bins
        for i in range(bins):
            linear = task.coefficients[1 + i, k]
            for j in range(i, bins):
                square = task.coefficients[row, k]
                for p in range(BLOCK):
                    b.a[k, p] += square * l[i, p] * l[j, p]
                row += 1
            for p in range(BLOCK):
                b.a[k, p] += linear * l[i, p]
        least = min(max(task.low[k], float32(0)), task.high[k])
        for p in range(BLOCK):
            b.a[k, p] = min(max(b.a[k, p], least), task.high[k])


@fast
def moments(task, b):
    """acc <- `moments`: sum over energies of tables times exp(-f a)."""
    f, tables, a, z, acc = task.attenuation, task.tables, b.a, b.z, b.acc
    acc[:] = 0
    for n in range(0, f.shape[0], STRIP):
        for j in range(STRIP):
            f0, f1, f2 = f[n + j, 0], f[n + j, 1], f[n + j, 2]
            for l in range(BLOCK):
                z[j, l] = _exp(-(f0 * a[0, l] + f1 * a[1, l] + f2 * a[2, l]))
        for c in range(acc.shape[0]):
            t0, t1, t2, t3 = tables[n, c], tables[n + 1, c], tables[n + 2, c], tables[n + 3, c]
            t4, t5, t6, t7 = tables[n + 4, c], tables[n + 5, c], tables[n + 6, c], tables[n + 7, c]
            for l in range(BLOCK):
                low = t0 * z[0, l] + t1 * z[1, l] + t2 * z[2, l] + t3 * z[3, l]
                acc[c, l] += low + (t4 * z[4, l] + t5 * z[5, l] + t6 * z[6, l] + t7 * z[7, l])


@fast
def curvature(task, b):
    """g <- `score`; h, fisher <- `curvature`."""
    y, acc, relative, g, h, fisher = b.y, b.acc, b.relative, b.g, b.h, b.fisher
    bins, num = task.y.shape[1], task.low.size
    g[:], h[:], fisher[:] = 0, 0, 0
    h[5], fisher[5] = num == 2, num == 2  # the third of two materials is held
    for i in range(bins):
        for k in range(num):
            for l in range(BLOCK):
                relative[k, l] = acc[(1 + k) * bins + i, l] / max(acc[i, l], LEAST)
                g[k, l] += (acc[i, l] - y[i, l]) * relative[k, l]
        second = (1 + num) * bins + i
        for k in range(num):
            for m in range(k, num):
                q = pair(k, m)
                for l in range(BLOCK):
                    both, expected = relative[k, l] * relative[m, l], max(acc[i, l], LEAST)
                    fisher[q, l] += expected * both
                    h[q, l] += y[i, l] * both + (1 - y[i, l] / expected) * acc[second, l]
                second += bins


@exact
def log_misfit(task, b):
    """g, h, fisher <- gradient and matrix of the log misfit, `log_step`."""
    y, acc, relative, g, h = b.y, b.acc, b.relative, b.g, b.h
    bins, num = task.y.shape[1], task.low.size
    g[:], h[:] = 0, 0
    h[5] = num == 2
    for i in range(bins):
        for l in range(BLOCK):
            expected = max(acc[i, l], LEAST)
            misfit = y[i, l] * math.log(expected / y[i, l]) if y[i, l] > 0 else float32(0)
            for k in range(num):
                relative[k, l] = acc[(1 + k) * bins + i, l] / expected
                g[k, l] += misfit * relative[k, l]
            for k in range(num):
                for m in range(k, num):
                    h[pair(k, m), l] += y[i, l] * relative[k, l] * relative[m, l]
    b.fisher[:] = h
