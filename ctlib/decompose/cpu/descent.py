"""Compiled: `restart.descend` from every start of a pixel, pixel by pixel in double precision.

The formulas are those of the torch functions named, the reference that tests compare with.
"""

import math
from collections import namedtuple

import numpy as np

from ctlib.compiled import njit
from ctlib.cpu.threads import claimed

NATS, GAIN, ROUNDING, SAME, LIMIT, DEFINITE = 1e-4, 1e-9, 1e-13, 1e-2, 4.0, 1e-3  # as in `restart`, `newton`, `small`

# attenuation (N, M), tables (N, C E) of `moment_tables`;  low, high, scale (M,)
Shared = namedtuple("Shared", "attenuation tables low high scale tolerance")
# depth (N,), acc (C E,);  r, g, step, rhs (M,);  h, fisher, b, ref (M, M);  free (M,)
Scratch = namedtuple("Scratch", "depth acc r g step rhs h fisher b ref free")

plain = njit(error_model="numpy", cache=True)


@plain
def new_scratch(num_energies, num_moments, num):
    v, m = np.zeros((4, num)), np.zeros((4, num, num))
    free = np.ones(num, np.bool_)
    return Scratch(np.empty(num_energies), np.empty(num_moments), v[0], v[1], v[2], v[3], m[0], m[1], m[2], m[3], free)


@njit(error_model="numpy", cache=True, fastmath={"contract", "reassoc"})
def accumulate(task, a, s):
    """acc <- moments without the largest transmission, whose logarithm is returned."""
    f, most = task.attenuation, -np.inf
    for n in range(f.shape[0]):
        d = 0.0
        for k in range(f.shape[1]):
            d -= f[n, k] * a[k]
        s.depth[n] = d
        most = max(most, d)
    s.acc[:] = 0
    for n in range(f.shape[0]):
        t = math.exp(max(s.depth[n] - most, -600.0))
        for c in range(s.acc.size):
            s.acc[c] += t * task.tables[n, c]
    return most


@plain
def local(task, y, a, s):
    """g, h, fisher <- those of `restart.local`; returns the likelihood of one photon and the size of its terms."""
    bins, num, value, size = y.size, a.size, 0.0, 0.0
    most = accumulate(task, a, s)
    s.g[:], s.h[:], s.fisher[:] = 0, 0, 0
    for i in range(bins):
        share = max(s.acc[i], 1e-300)
        log = most + math.log(share)
        mean = math.exp(min(log, 300.0))
        value += mean - y[i] * log
        size += mean + y[i] * abs(log)
        second = (1 + num) * bins + i
        for k in range(num):
            s.r[k] = s.acc[(1 + k) * bins + i] / share
            s.g[k] += (mean - y[i]) * s.r[k]
        for k in range(num):
            for m in range(k, num):
                both = s.r[k] * s.r[m]
                s.h[k, m] += y[i] * both + (mean - y[i]) * s.acc[second] / share
                s.fisher[k, m] += mean * both
                s.h[m, k], s.fisher[m, k] = s.h[k, m], s.fisher[k, m]
                second += bins
    return value, size


@plain
def hold(task, a, g, free):
    """free <- False where `Problem.active`."""
    for k in range(a.size):
        if (a[k] <= task.low[k] and g[k] > 0) or (a[k] >= task.high[k] and g[k] < 0):
            free[k] = False


@plain
def pinned(matrix, free, out):
    for k in range(free.size):
        for m in range(free.size):
            out[k, m] = matrix[k, m] if free[k] and free[m] else (1.0 if k == m else 0.0)


@plain
def eliminate(b, x):
    """Gauss's elimination of a definite matrix in place, x <- solution."""
    num = x.size
    for k in range(num):
        for m in range(k + 1, num):
            ratio = b[m, k] / b[k, k]
            for l in range(k, num):
                b[m, l] -= ratio * b[k, l]
            x[m] -= ratio * x[k]
    for k in range(num - 1, -1, -1):
        for l in range(k + 1, num):
            x[k] -= b[k, l] * x[l]
        x[k] /= b[k, k]


@plain
def definite(b, ref, unused):
    """`small.positive_definite`; destroys both."""
    eliminate(b, unused)
    eliminate(ref, unused)
    minor, least = 1.0, 1.0
    for k in range(unused.size):
        minor, least = minor * b[k, k], least * ref[k, k]
        if not minor > DEFINITE * max(least, 0.0):
            return False
    return True


@plain
def held_step(task, a, damping, s):
    """step <- `restart.held_step`."""
    s.free[:] = True
    hold(task, a, s.g, s.free)
    for _ in range(a.size):
        pinned(s.h, s.free, s.b)
        pinned(s.fisher, s.free, s.ref)
        safe = definite(s.b, s.ref, s.rhs)
        pinned(s.h if safe else s.fisher, s.free, s.b)
        for k in range(a.size):
            s.b[k, k] += (1e-9 + damping) * (s.fisher[k, k] if s.free[k] else 1.0)
            s.step[k] = s.g[k] if s.free[k] else 0.0
        eliminate(s.b, s.step)
        hold(task, a, s.step, s.free)
    for k in range(a.size):
        s.step[k] = s.step[k] if s.free[k] else 0.0


@plain
def gain(task, a, s):
    """What a step could still take off the likelihood of one photon."""
    s.free[:] = True
    hold(task, a, s.g, s.free)
    pinned(s.fisher, s.free, s.b)
    for k in range(a.size):
        s.b[k, k] *= 1 + 1e-9
        s.step[k] = s.g[k] if s.free[k] else 0.0
    eliminate(s.b, s.step)
    total = 0.0
    for k in range(a.size):
        total += 0.5 * s.step[k] * s.g[k] if s.free[k] else 0.0
    return total


@plain
def descend(task, y, photons, a, max_iters, s, spare):
    """a <- local minimum; returns its likelihood, steps, and whether it has settled."""
    value, size = local(task, y, a, s)
    damping, total = 0.0, y.sum() * photons
    moved, at, new = np.empty(a.size), s, spare
    for taken in range(1, max_iters + 1):
        held_step(task, a, damping, at)
        depth, change = 0.0, 0.0
        for k in range(a.size):
            depth = max(depth, abs(at.step[k]) * task.scale[k])
        finite = np.isfinite(depth)
        for k in range(a.size):
            moved[k] = min(max(a[k] - at.step[k] / max(depth / LIMIT, 1.0), task.low[k]), task.high[k])
            finite = finite and np.isfinite(moved[k])
            change = max(change, abs(moved[k] - a[k]) * task.scale[k])
        v, z = local(task, y, moved, new)
        if not (finite and v <= value + ROUNDING * size):
            damping = max(8 * damping, 1e-2)
            continue
        a[:], value, size = moved, v, z
        at, new = new, at
        short = change <= task.tolerance and damping < 0.1
        if short and gain(task, a, at) * photons <= NATS + max(GAIN, task.tolerance**2) * total:
            return value, taken, True
        damping = 0.0 if damping < 1e-4 else damping / 8
    return value, max_iters, False


@njit(nogil=True, error_model="numpy", cache=True)
def lowest(claims, task, counts, photons, candidates, max_iters, paths, steps, done, multiple):
    """`restart.lowest`: paths (P, M), steps, done, multiple (P,) <- from starts (K, P, M), which are changed.

    An item is a pixel: it takes some hundred microseconds.
    """
    starts, _, materials = candidates.shape
    s = new_scratch(task.attenuation.shape[0], task.tables.shape[1], materials)
    spare = new_scratch(task.attenuation.shape[0], task.tables.shape[1], materials)
    settled = np.zeros(starts, np.bool_)
    for p in claimed(claims):
        best, least = 0, np.inf
        for c in range(starts):
            value, taken, settled[c] = descend(task, counts[p], photons[p], candidates[c, p], max_iters, s, spare)
            if value < least:
                best, least, steps[p] = c, value, taken
        paths[p], done[p], multiple[p] = candidates[best, p], settled[best], False
        for c in range(starts):
            for k in range(materials):
                apart = abs(candidates[c, p, k] - paths[p, k]) * task.scale[k] > SAME
                multiple[p] = multiple[p] or (settled[c] and apart)
