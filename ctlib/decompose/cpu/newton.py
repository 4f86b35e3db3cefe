"""Compiled parts of a Newton step in float32: a block of pixels in the innermost loops, which become SIMD.

Arrays of a block have the pixel last: a, g, step (3, BLOCK), y (E, BLOCK), acc (C E, BLOCK) moments in the order of
`moment_tables`, h and fisher (M (M + 1) / 2, BLOCK). Tables are padded: attenuation to three materials, energies to a
multiple of `STRIP` with weight zero. The formulas are those of `likelihood`, `small` and `newton`, which test them.
"""

import math

import numpy as np
from numba import float32, int32

from ctlib.compiled import njit

BLOCK = 32
STRIP = 8  # energies whose transmissions are kept before they are summed
LEAST = np.float32(1e-30)
DEFINITE = np.float32(1e-3)
FAST = {"contract", "nsz", "arcp", "reassoc"}


@njit(inline="always")
def _exp(x):
    """exp(x) to 2e-7, |x| < 87: 2^n times a polynomial of the remainder."""
    x = min(max(x, float32(-87.0)), float32(87.0))
    n = np.floor(x * float32(1.44269504) + float32(0.5))
    r = x - n * float32(0.693359375) + n * float32(2.12194440e-4)
    p = float32(1.9875691500e-4) * r + float32(1.3981999507e-3)
    p = (p * r + float32(8.3334519073e-3)) * r + float32(4.1665795894e-2)
    p = (p * r + float32(1.6666665459e-1)) * r + float32(5.0000001201e-1)
    p = p * r * r + r + float32(1.0)
    return p * np.int32((int32(n) + int32(127)) << int32(23)).view(np.float32)


@njit(fastmath=FAST, error_model="numpy", cache=True)
def moments_block(f, tables, a, z, acc):
    """acc <- sum over energies of tables (N, C E) times exp(-f a)."""
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


@njit(fastmath=FAST, error_model="numpy", cache=True)
def curvature_block(y, acc, num, relative, g, h, fisher):
    """g, h, fisher <- gradient, Hessian and Fisher information; relative (3, BLOCK) is scratch."""
    bins = y.shape[0]
    g[:], h[:], fisher[:] = 0, 0, 0
    for i in range(bins):
        for k in range(num):
            for l in range(BLOCK):
                relative[k, l] = acc[(1 + k) * bins + i, l] / max(acc[i, l], LEAST)
                g[k, l] += (acc[i, l] - y[i, l]) * relative[k, l]
        q = 0
        for k in range(num):
            for m in range(k, num):
                second = (1 + num + q) * bins + i
                for l in range(BLOCK):
                    pair, lam = relative[k, l] * relative[m, l], max(acc[i, l], LEAST)
                    fisher[q, l] += lam * pair
                    h[q, l] += y[i, l] * pair + (1 - y[i, l] / lam) * acc[second, l]
                q += 1


@njit(error_model="numpy", cache=True)
def log_block(y, acc, num, relative, g, h, fisher):
    """g <- gradient, h and fisher <- matrix of the log misfit, see `log_step`."""
    bins = y.shape[0]
    g[:], h[:] = 0, 0
    for i in range(bins):
        for l in range(BLOCK):
            lam = max(acc[i, l], LEAST)
            misfit = y[i, l] * math.log(lam / y[i, l]) if y[i, l] > 0 else float32(0)
            for k in range(num):
                relative[k, l] = acc[(1 + k) * bins + i, l] / lam
                g[k, l] += misfit * relative[k, l]
            q = 0
            for k in range(num):
                for m in range(k, num):
                    h[q, l] += y[i, l] * relative[k, l] * relative[m, l]
                    q += 1
    fisher[:] = h


@njit(cache=True)
def free_block(a, g, low, high, num, free):
    """free <- 0 where a component is on a bound and a step against g would take it out. Returns how many are new."""
    new = 0
    for k in range(num):
        for l in range(BLOCK):
            if free[k, l] > 0 and ((a[k, l] <= low[k] and g[k, l] > 0) or (a[k, l] >= high[k] and g[k, l] < 0)):
                free[k, l] = 0
                new += 1
    return new


@njit(fastmath=FAST, cache=True)
def pin_block(free, num, g, h, fisher):
    """Rows and columns of held components <- those of the identity, their g <- 0."""
    q = 0
    for k in range(num):
        for m in range(k, num):
            for l in range(BLOCK):
                both, unit = free[k, l] * free[m, l], float32(k == m)
                h[q, l] = both * h[q, l] + (1 - both) * unit
                fisher[q, l] = both * fisher[q, l] + (1 - both) * unit
            q += 1
        for l in range(BLOCK):
            g[k, l] *= free[k, l]


@njit(fastmath=FAST, error_model="numpy", cache=True)
def solve2_block(h, fisher, ridge, g, step, safe):
    """step <- B^-1 g for two materials, B = h where safe, else fisher, plus a ridge; safe <- 1 where h is definite."""
    for l in range(BLOCK):
        least = DEFINITE * (fisher[0, l] * fisher[2, l] - fisher[1, l] ** 2)
        sure = h[0, l] > DEFINITE * fisher[0, l] and h[0, l] * h[2, l] - h[1, l] ** 2 > max(least, float32(0))
        b0 = (h[0, l] if sure else fisher[0, l]) + ridge * fisher[0, l]
        b1 = h[1, l] if sure else fisher[1, l]
        b2 = (h[2, l] if sure else fisher[2, l]) + ridge * fisher[2, l]
        det = b0 * b2 - b1 * b1
        safe[l] = float32(1) if sure else float32(0)
        step[0, l] = (b2 * g[0, l] - b1 * g[1, l]) / det
        step[1, l] = (b0 * g[1, l] - b1 * g[0, l]) / det


@njit(cache=True)
def _det3(m, l):
    return (
        m[0, l] * (m[3, l] * m[5, l] - m[4, l] ** 2)
        - m[1, l] * (m[1, l] * m[5, l] - m[2, l] * m[4, l])
        + m[2, l] * (m[1, l] * m[4, l] - m[2, l] * m[3, l])
    )


@njit(fastmath=FAST, error_model="numpy", cache=True)
def solve3_block(h, fisher, ridge, g, step, safe):
    """The same for three materials; pairs 11, 12, 13, 22, 23, 33."""
    for l in range(BLOCK):
        first, least = h[0, l] * h[3, l] - h[1, l] ** 2, fisher[0, l] * fisher[3, l] - fisher[1, l] ** 2
        sure = h[0, l] > DEFINITE * fisher[0, l] and first > DEFINITE * max(least, float32(0))
        sure = sure and _det3(h, l) > DEFINITE * max(_det3(fisher, l), float32(0))
        safe[l] = float32(1) if sure else float32(0)
        m = h if sure else fisher
        b0, b1, b2 = m[0, l] + ridge * fisher[0, l], m[1, l], m[2, l]
        b3, b4, b5 = m[3, l] + ridge * fisher[3, l], m[4, l], m[5, l] + ridge * fisher[5, l]
        c0, c1, c2 = b3 * b5 - b4 * b4, b2 * b4 - b1 * b5, b1 * b4 - b2 * b3
        det = b0 * c0 + b1 * c1 + b2 * c2
        g0, g1, g2 = g[0, l], g[1, l], g[2, l]
        step[0, l] = (c0 * g0 + c1 * g1 + c2 * g2) / det
        step[1, l] = (c1 * g0 + (b0 * b5 - b2 * b2) * g1 + (b1 * b2 - b0 * b4) * g2) / det
        step[2, l] = (c2 * g0 + (b1 * b2 - b0 * b4) * g1 + (b0 * b3 - b1 * b1) * g2) / det


@njit(cache=True)
def move_block(a, step, low, high, scale, limit, num, tolerance, open_pixels):
    """a <- box(a - limited step) of the open pixels; those that moved little are closed. Returns how many stay open."""
    left = 0
    for l in range(BLOCK):
        depth = float32(0)
        for k in range(num):
            depth = max(depth, abs(step[k, l]) * scale[k])
        if open_pixels[l] == 0 or not depth < np.inf:  # closed, or a singular matrix: the pixel stays where it is
            left += open_pixels[l]
            continue
        cut, moved = max(depth / limit, float32(1)), float32(0)
        for k in range(num):
            new = min(max(a[k, l] - step[k, l] / cut, low[k]), high[k])
            moved = max(moved, abs(new - a[k, l]) * scale[k])
            a[k, l] = new
        open_pixels[l] = 1 if moved > tolerance else 0
        left += open_pixels[l]
    return left
