"""Compiled: a block of pixels in float32, and what the model says about it, 16 pixels at a time.

The formulas are those of the torch functions named, the reference that tests compare with, function by function.
"""

from collections import namedtuple

import numpy as np
from numba import float32

from ctlib.backends.cpu.simd import LANES, add, fma, high, low, mul, splat, sub, zeros
from ctlib.backends.cpu.simd_memory import load, store
from ctlib.compiled import njit
from ctlib.decompose.cpu.lanes import divide, exp2, log

BLOCK = 2 * LANES
LINE = 64  # bytes of a cache line
LEAST, DARKEST, FINITE = np.float32(1e-30), np.float32(1e-6), np.float32(3e38)

# materials: 0, ... M - 1, of which compiled code knows the length;  y (P, E) counts per photon, where `readings` is 0,
# or those that were read;  photons (P, 1), or of all (1, 1);  low, high, scale: of three;  coefficients (F, M) of the
# start, or F = 0, and open_beam (E,);  least, most: of three, between which few energies stand for all
Task = namedtuple(
    "Task",
    "materials y photons readings low high scale coefficients open_beam tolerance limit near ridge least most num_far",
)
# Of BLOCK pixels, last axis: y (E,) counts;  acc (C E,) moments;
# (3,) each: a path lengths, g gradient, step, and free, 0 where the box holds a component;  h, fisher (6,) pairs 11,
# 12, 13, 22, 23, 33 of three materials;  (1,) each: photons;  sure, 1 where a solution is beyond doubt;  still, 1
# until a pixel converges, and taken, its steps
Block = namedtuple("Block", "materials y acc a g step free h fisher photons sure still taken")

plain = njit(error_model="numpy")
lanes = njit(error_model="numpy", forceinline=True)


@plain
def new_block(bins, materials):
    """An empty block for E bins, whose rows are cache lines; what a third material lacks stays 0."""
    num = len(materials)
    moments = (1 + num + num * (num + 1) // 2) * bins
    size = bins + moments + 4 * 3 + 2 * 6 + 4
    whole = np.zeros((size + 1) * BLOCK, np.float32)
    skip = (-whole.ctypes.data % LINE) // 4
    rows = whole[skip : skip + size * BLOCK].reshape(size, BLOCK)
    y, acc, r = rows[:bins], rows[bins : bins + moments], rows[bins + moments :]
    vectors, ones = (r[0:3], r[3:6], r[6:9], r[9:12]), (r[24:25], r[25:26], r[26:27], r[27:28])
    return Block(materials, y, acc, *vectors, r[12:18], r[18:24], *ones)


@lanes
def row(like, block, k, at):
    """Sixteen pixels of row k."""
    return load(like, block, k * BLOCK + at, LANES)


@plain
def start(task, b):
    """a <- `PolynomialStart`; acc is scratch."""
    one, l, bins, num = zeros(b.acc, 1), b.acc, task.y.shape[1], len(b.materials)
    for at in range(0, BLOCK, LANES):
        for i in range(bins):
            share = divide(row(one, b.y, i, at), splat(one, task.open_beam[i]))
            store(sub(splat(one, 0), log(high(share, splat(one, DARKEST)))), l, i * BLOCK + at, 0)
        for k in range(num):
            total, place = splat(one, task.coefficients[0, k]), 1 + bins
            for i in range(bins):
                inner = splat(one, task.coefficients[1 + i, k])
                for j in range(i, bins):
                    inner = fma(splat(one, task.coefficients[place, k]), row(one, l, j, at), inner)
                    place += 1
                total = fma(inner, row(one, l, i, at), total)
            least = min(max(task.low[k], float32(0)), task.high[k])
            store(low(high(total, splat(one, least)), splat(one, task.high[k])), b.a, k * BLOCK + at, 0)


@lanes
def _through(f, strip, energy, num, a0, a1, a2):
    """Transmissions exp(-f a) of one energy of a strip."""
    depth = fma(splat(a0, f[strip, 0, energy]), a0, mul(splat(a0, f[strip, 1, energy]), a1))
    if num == 3:
        depth = fma(splat(a0, f[strip, 2, energy]), a2, depth)
    return exp2(depth)


@plain
def moments(rule, b, second):
    """acc <- `moments`: sums over energies of weights times transmissions; second derivatives where asked for."""
    two, acc, bins, num = zeros(b.acc, 2), b.acc, b.y.shape[0], len(b.materials)
    a0, a1, a2 = row(two, b.a, 0, 0), row(two, b.a, 1, 0), row(two, b.a, 2, 0)
    for c in range(acc.shape[0] if second else (1 + num) * bins):
        store(two, acc, c * BLOCK, LANES)
    f, w, rows = rule.depth, rule.weight, rule.row
    ends = rule.first[1:] if second else rule.middle
    for s in range(rule.middle.size):
        z0, z1 = _through(f, s, 0, num, a0, a1, a2), _through(f, s, 1, num, a0, a1, a2)
        z2, z3 = _through(f, s, 2, num, a0, a1, a2), _through(f, s, 3, num, a0, a1, a2)
        z4, z5 = _through(f, s, 4, num, a0, a1, a2), _through(f, s, 5, num, a0, a1, a2)
        z6, z7 = _through(f, s, 6, num, a0, a1, a2), _through(f, s, 7, num, a0, a1, a2)
        for e in range(rule.first[s], ends[s]):
            place = rows[e] * BLOCK
            total = fma(splat(z0, w[e, 0]), z0, load(two, acc, place, LANES))
            total = fma(splat(z0, w[e, 2]), z2, fma(splat(z0, w[e, 1]), z1, total))
            total = fma(splat(z0, w[e, 4]), z4, fma(splat(z0, w[e, 3]), z3, total))
            total = fma(splat(z0, w[e, 6]), z6, fma(splat(z0, w[e, 5]), z5, total))
            store(fma(splat(z0, w[e, 7]), z7, total), acc, place, LANES)


@plain
def curvature(b):
    """g <- `score`; h, fisher <- `curvature`; those of a third material that is not there are the identity's."""
    one, acc, bins, num = zeros(b.acc, 1), b.acc, b.y.shape[0], len(b.materials)
    unit = splat(one, 1)
    for at in range(0, BLOCK, LANES):
        g0 = g1 = g2 = h0 = h1 = h2 = h3 = h4 = f0 = f1 = f2 = f3 = f4 = one
        h5 = f5 = splat(one, float32(num == 2))
        for i in range(bins):
            expected, y = high(row(one, acc, i, at), splat(one, LEAST)), row(one, b.y, i, at)
            inverse = divide(unit, expected)
            excess, share, second = sub(expected, y), mul(y, inverse), (1 + num) * bins + i
            rest = sub(unit, share)
            j0, j1 = row(one, acc, bins + i, at), row(one, acc, 2 * bins + i, at)
            r0, r1 = mul(j0, inverse), mul(j1, inverse)
            g0, g1 = fma(excess, r0, g0), fma(excess, r1, g1)
            p0, p1, p3 = mul(j0, r0), mul(j0, r1), mul(j1, r1)
            f0, f1, f3 = add(f0, p0), add(f1, p1), add(f3, p3)
            h0 = fma(share, p0, fma(rest, row(one, acc, second, at), h0))
            h1 = fma(share, p1, fma(rest, row(one, acc, second + bins, at), h1))
            if num == 2:
                h3 = fma(share, p3, fma(rest, row(one, acc, second + 2 * bins, at), h3))
            else:
                j2 = row(one, acc, 3 * bins + i, at)
                r2 = mul(j2, inverse)
                g2, p2, p4, p5 = fma(excess, r2, g2), mul(j0, r2), mul(j1, r2), mul(j2, r2)
                f2, f4, f5 = add(f2, p2), add(f4, p4), add(f5, p5)
                h2 = fma(share, p2, fma(rest, row(one, acc, second + 2 * bins, at), h2))
                h3 = fma(share, p3, fma(rest, row(one, acc, second + 3 * bins, at), h3))
                h4 = fma(share, p4, fma(rest, row(one, acc, second + 4 * bins, at), h4))
                h5 = fma(share, p5, fma(rest, row(one, acc, second + 5 * bins, at), h5))
        keep((g0, g1, g2), b.g, at)
        keep((h0, h1, h2, h3, h4, h5), b.h, at)
        keep((f0, f1, f2, f3, f4, f5), b.fisher, at)


@lanes
def keep(values, block, at):
    """Rows 0, 1, ... of sixteen pixels <- values."""
    for k in range(len(values)):
        store(values[k], block, k * BLOCK + at, 0)


@lanes
def three(like, block, at):
    return row(like, block, 0, at), row(like, block, 1, at), row(like, block, 2, at)


@lanes
def six(like, block, at):
    first, more = row(like, block, 0, at), (row(like, block, 1, at), row(like, block, 2, at))
    return first, *more, row(like, block, 3, at), row(like, block, 4, at), row(like, block, 5, at)


@plain
def log_misfit(b, at):
    """Gradient and matrix of the log misfit of sixteen pixels, `log_step`."""
    one, acc, bins, num = zeros(b.acc, 1), b.acc, b.y.shape[0], len(b.materials)
    least = splat(one, LEAST)
    g0 = g1 = g2 = h0 = h1 = h2 = h3 = h4 = one
    h5 = splat(one, float32(num == 2))
    for i in range(bins):
        expected, y = high(row(one, acc, i, at), least), row(one, b.y, i, at)
        misfit = mul(y, sub(log(expected), log(high(y, least))))
        inverse = divide(splat(one, 1), expected)
        r0, r1 = mul(row(one, acc, bins + i, at), inverse), mul(row(one, acc, 2 * bins + i, at), inverse)
        g0, g1, y0, y1 = fma(misfit, r0, g0), fma(misfit, r1, g1), mul(y, r0), mul(y, r1)
        h0, h1, h3 = fma(y0, r0, h0), fma(y0, r1, h1), fma(y1, r1, h3)
        if num == 3:
            r2 = mul(row(one, acc, 3 * bins + i, at), inverse)
            g2, h2, h4, h5 = fma(misfit, r2, g2), fma(y0, r2, h2), fma(y1, r2, h4), fma(mul(y, r2), r2, h5)
    return (g0, g1, g2), (h0, h1, h2, h3, h4, h5)
