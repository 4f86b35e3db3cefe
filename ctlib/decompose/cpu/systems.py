"""Compiled: systems of two or three unknowns for 16 pixels at a time, and which components the box holds.

A system is a tuple of its pairs 11, 12, 13, 22, 23, 33, a step one of three; those of a third material that is not
there are the identity's, and 0. The formulas are those of `ctlib.decompose.small`.
"""

import numpy as np

from ctlib.backends.cpu.simd import add, fma, high, mul, splat, sub
from ctlib.decompose.cpu.block import lanes
from ctlib.decompose.cpu.lanes import any_less, divide, size, where_less

DEFINITE, FLAT = np.float32(1e-3), np.float32(0.5)  # as in `small` and `restart`


@lanes
def still_free(task, k, a, g, free):
    """free, 0 where `Problem.active`: material k is on a bound, and a step against g would leave."""
    zero = sub(free, free)
    outward = where_less(splat(a, task.low[k]), a, where_less(a, splat(a, task.high[k]), zero, sub(zero, g)), g)
    return where_less(zero, outward, zero, free)


@lanes
def hold(task, num, a, g, free):
    """`still_free` for all materials."""
    f0, f1 = still_free(task, 0, a[0], g[0], free[0]), still_free(task, 1, a[1], g[1], free[1])
    f2 = still_free(task, 2, a[2], g[2], free[2]) if num == 3 else free[2]
    return f0, f1, f2


@lanes
def pinned(pairs, free):
    """Rows and columns of components that are not free replaced by those of the identity, `small.pinned`."""
    f0, f1, f2 = free
    m0, m1, m2, m3, m4, m5 = pairs
    one = splat(f0, 1)
    m0, m3, m5 = fma(f0, m0, sub(one, f0)), fma(f1, m3, sub(one, f1)), fma(f2, m5, sub(one, f2))
    return m0, mul(m1, mul(f0, f1)), mul(m2, mul(f0, f2)), m3, mul(m4, mul(f1, f2)), m5


@lanes
def minor(m):
    return sub(mul(m[0], m[3]), mul(m[1], m[1]))


@lanes
def cofactors(m):
    """First column of the adjugate, and the determinant."""
    c0, c1 = sub(mul(m[3], m[5]), mul(m[4], m[4])), sub(mul(m[2], m[4]), mul(m[1], m[5]))
    c2 = sub(mul(m[1], m[4]), mul(m[2], m[3]))
    return c0, c1, c2, fma(m[0], c0, fma(m[1], c1, mul(m[2], c2)))


@lanes
def definite(num, h, fisher):
    """1 where h is safely positive definite, `small.positive_definite`, else 0."""
    zero = sub(h[0], h[0])
    share, one = splat(h[0], DEFINITE), splat(h[0], 1)
    sure = where_less(mul(share, fisher[0]), h[0], one, splat(h[0], 0))
    zero = splat(h[0], 0)
    sure = where_less(mul(share, high(minor(fisher), zero)), minor(h), sure, zero)
    if num == 3:
        sure = where_less(mul(share, high(cofactors(fisher)[3], zero)), cofactors(h)[3], sure, zero)
    return sure


@lanes
def solve(num, h, fisher, safe, ridge, g):
    """B^-1 g, B = h where it is safe, else fisher, plus the ridge."""
    half, ridge = splat(safe, 0.5), splat(safe, ridge)
    m0, m1 = where_less(half, safe, h[0], fisher[0]), where_less(half, safe, h[1], fisher[1])
    m3 = where_less(half, safe, h[3], fisher[3])
    m0, m3 = fma(ridge, fisher[0], m0), fma(ridge, fisher[3], m3)
    if num == 2:
        inverse = divide(splat(safe, 1), sub(mul(m0, m3), mul(m1, m1)))
        s0, s1 = sub(mul(m3, g[0]), mul(m1, g[1])), sub(mul(m0, g[1]), mul(m1, g[0]))
        return mul(s0, inverse), mul(s1, inverse), splat(safe, 0)
    m2, m4 = where_less(half, safe, h[2], fisher[2]), where_less(half, safe, h[4], fisher[4])
    m5 = fma(ridge, fisher[5], where_less(half, safe, h[5], fisher[5]))
    c0, c1, c2, det = cofactors((m0, m1, m2, m3, m4, m5))
    inverse, mixed = divide(splat(safe, 1), det), sub(mul(m1, m2), mul(m0, m4))
    s0 = fma(c0, g[0], fma(c1, g[1], mul(c2, g[2])))
    s1 = fma(c1, g[0], fma(sub(mul(m0, m5), mul(m2, m2)), g[1], mul(mixed, g[2])))
    s2 = fma(c2, g[0], fma(mixed, g[1], mul(sub(mul(m0, m3), mul(m1, m1)), g[2])))
    return mul(s0, inverse), mul(s1, inverse), mul(s2, inverse)


@lanes
def any_held(fewer, free):
    return any_less(fewer[0], free[0]) or any_less(fewer[1], free[1]) or any_less(fewer[2], free[2])


@lanes
def held_step(task, num, h, fisher, g, free):
    h, fisher = pinned(h, free), pinned(fisher, free)
    g = mul(g[0], free[0]), mul(g[1], free[1]), mul(g[2], free[2])
    return solve(num, h, fisher, definite(num, h, fisher), task.ridge, g)


@lanes
def depth_of(task, num, step):
    """Largest change of a material's optical depth, `Problem.depth`."""
    depth = mul(size(step[0]), splat(step[0], task.scale[0]))
    depth = high(depth, mul(size(step[1]), splat(step[0], task.scale[1])))
    if num == 3:
        depth = high(depth, mul(size(step[2]), splat(step[0], task.scale[2])))
    return depth


@lanes
def sum_of_sizes(step):
    return add(add(size(step[0]), size(step[1])), size(step[2]))


@lanes
def told(task, num, fisher, photons):
    """1 where the counts tell every path length to better than a spread of 1 / FLAT optical depths."""
    det = mul(cofactors(fisher)[3] if num == 3 else minor(fisher), photons)
    zero, limit = splat(det, 0), mul(splat(det, FLAT * FLAT), det)
    s = task.scale
    f0, _, f2, f3, f4, f5 = fisher
    sure = where_less(zero, det, splat(det, 1), zero)
    if num == 2:
        sure = where_less(limit, mul(f3, splat(det, s[0] * s[0])), zero, sure)
        return where_less(limit, mul(f0, splat(det, s[1] * s[1])), zero, sure)
    sure = where_less(limit, mul(sub(mul(f3, f5), mul(f4, f4)), splat(det, s[0] * s[0])), zero, sure)
    sure = where_less(limit, mul(sub(mul(f0, f5), mul(f2, f2)), splat(det, s[1] * s[1])), zero, sure)
    return where_less(limit, mul(minor(fisher), splat(det, s[2] * s[2])), zero, sure)
