"""Compiled polynomial start of a block of pixels; the formulas are those of `start`."""

import numpy as np
from numba import float32, int32

from ctlib.compiled import njit
from ctlib.decompose.cpu.newton import BLOCK, FAST

DARKEST = np.float32(1e-6)


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


@njit(fastmath=FAST, error_model="numpy", cache=True)
def polynomial_block(y, coefficients, open_beam, low, high, l, a):
    """a <- polynomial start, see `start.PolynomialStart`; l (at least E rows) is scratch."""
    bins, num = y.shape[0], coefficients.shape[1]
    for i in range(bins):
        for p in range(BLOCK):
            l[i, p] = -_log(max(y[i, p] / open_beam[i], DARKEST))
    for k in range(num):
        a[k] = coefficients[0, k]
        row = 1 + bins
        for i in range(bins):
            linear = coefficients[1 + i, k]
            for j in range(i, bins):
                for p in range(BLOCK):
                    a[k, p] += coefficients[row, k] * l[i, p] * l[j, p]
                row += 1
            for p in range(BLOCK):
                a[k, p] += linear * l[i, p]
        least = min(max(low[k], float32(0)), high[k])
        for p in range(BLOCK):
            a[k, p] = min(max(a[k, p], least), high[k])
