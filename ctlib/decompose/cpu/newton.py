"""Compiled: Newton's method and its transposed system, block by block, in float32."""

import numpy as np
from numba import float32, prange

from ctlib.compiled import njit
from ctlib.decompose.cpu import block
from ctlib.decompose.cpu.block import BLOCK, LEAST, exact, fast, pair

DEFINITE = np.float32(1e-3)
NATS, GAIN, FLAT, MISFIT = np.float32(1e-4), np.float32(1e-9), np.float32(0.5), np.float32(0.01)  # as in `restart`
PARTS = 64  # pieces that threads share


@exact
def hold(task, b, g):
    """free <- 0 where `Problem.active`: on a bound, and a step against g would leave. Returns how many are new."""
    a, free, new = b.a, b.free, 0
    for k in range(task.low.size):
        low, high = task.low[k], task.high[k]
        for l in range(BLOCK):
            if free[k, l] > 0 and ((a[k, l] <= low and g[k, l] > 0) or (a[k, l] >= high and g[k, l] < 0)):
                free[k, l] = 0
                new += 1
    return new


@exact
def hold_gradient(task, b):
    """free <- 1 where the gradient does not take a component out of the box."""
    b.free[: task.low.size] = 1
    hold(task, b, b.g)


@fast
def pin(task, b):
    """Rows and columns of components that are not free <- those of the identity, `small.pinned`; their g <- 0."""
    g, h, fisher, free = b.g, b.h, b.fisher, b.free
    for k in range(task.low.size):
        for m in range(k, task.low.size):
            q, unit = pair(k, m), float32(k == m)
            for l in range(BLOCK):
                both = free[k, l] * free[m, l]
                h[q, l] = both * h[q, l] + (1 - both) * unit
                fisher[q, l] = both * fisher[q, l] + (1 - both) * unit
        for l in range(BLOCK):
            g[k, l] *= free[k, l]


@exact
def _det3(m, l):
    return (
        m[0, l] * (m[3, l] * m[5, l] - m[4, l] ** 2)
        - m[1, l] * (m[1, l] * m[5, l] - m[2, l] * m[4, l])
        + m[2, l] * (m[1, l] * m[4, l] - m[2, l] * m[3, l])
    )


@fast
def solve(task, b, step):
    """step <- B^-1 g, B = h where it is safely definite, else fisher, plus the ridge; safe <- 1 where it is."""
    g, h, fisher, safe, ridge = b.g, b.h, b.fisher, b.safe, task.ridge
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


@njit(inline="always")
def depth_of(step, scale, l):
    """Largest change of a material's optical depth, `Problem.depth`."""
    depth = float32(0)
    for k in range(scale.size):
        depth = max(depth, abs(step[k, l]) * scale[k])
    return depth


@exact
def move(task, b):
    """a <- box(a - limited step) of the open pixels; those that moved little are closed. Returns how many stay open."""
    a, step, scale, still, left = b.a, b.step, task.scale, b.still, 0
    for l in range(BLOCK):
        if still[l] == 0 or not np.isfinite(step[0, l] + step[1, l] + step[2, l]):  # closed, or a singular matrix
            left += still[l]
            continue
        cut, moved, finite = max(depth_of(step, scale, l) / task.limit, float32(1)), float32(0), True
        for k in range(scale.size):
            new = min(max(a[k, l] - step[k, l] / cut, task.low[k]), task.high[k])
            finite = finite and np.isfinite(new)
            moved = max(moved, abs(new - a[k, l]) * scale[k])
            a[k, l] = new
        still[l] = 0 if finite and np.isfinite(cut) and moved <= task.tolerance else 1
        left += still[l]
    return left


@exact
def free_step(task, b):
    """step <- that of the components that neither the gradient nor the step takes out of the box; whole <- fisher."""
    b.whole[:] = b.fisher
    hold_gradient(task, b)
    for _ in range(task.low.size):
        pin(task, b)
        solve(task, b, b.step)
        if hold(task, b, b.step) == 0:
            break


@exact
def swap_far(task, b):
    """step <- log step in the pixels whose step is longer than `near`."""
    ready = False
    for l in range(BLOCK):
        if depth_of(b.step, task.scale, l) > task.near:
            if not ready:
                block.log_misfit(task, b)
                pin(task, b)
                solve(task, b, b.other)
                ready = True
            if np.isfinite(b.other[0, l] + b.other[1, l] + b.other[2, l]):
                for k in range(3):
                    b.step[k, l] = b.other[k, l]


@exact
def newton(task, b, max_iters):
    """a <- path lengths after Newton steps, `newton`."""
    b.still[:], b.taken[:] = 1, 0
    for k in range(max_iters):
        b.taken[:] += b.still
        block.moments(task, b)
        block.curvature(task, b)
        free_step(task, b)
        if k < task.num_far:
            swap_far(task, b)
        if move(task, b) == 0:
            break


@exact
def settled(task, b, few, photons, l):
    """Whether pixel l has converged beyond doubt, in numbers of photons: `restart.settled` and not `restart.flat`."""
    f, step, total, misfit, gain = b.whole, b.step, float32(0), float32(0), float32(0)
    for i in range(task.y.shape[1]):
        total += b.y[i, l] * photons
        misfit += (b.acc[i, l] - b.y[i, l]) ** 2 / max(b.acc[i, l] + b.y[i, l], LEAST) * photons
    for k in range(task.low.size):
        for m in range(task.low.size):
            gain += float32(0.5) * photons * f[pair(min(k, m), max(k, m)), l] * step[k, l] * step[m, l]
    if b.still[l] or not gain <= NATS + max(GAIN, task.tolerance**2) * total:
        return False
    if few == 0 or not misfit <= MISFIT * total or total >= few:
        return few == 0 or misfit <= MISFIT * total
    det, limit = _det3(f, l) * photons, FLAT**2
    sure = (f[3, l] * f[5, l] - f[4, l] ** 2) * task.scale[0] ** 2 <= limit * det
    sure = sure and (f[0, l] * f[5, l] - f[2, l] ** 2) * task.scale[1] ** 2 <= limit * det
    if task.low.size == 3:
        sure = sure and (f[0, l] * f[3, l] - f[1, l] ** 2) * task.scale[2] ** 2 <= limit * det
    return sure and det > 0


@exact
def adjoint(task, b, v, first):
    """step <- `adjoint_solution` for rows of v, 0 where h is not definite; y <- sum_k J_ik step_k / lambda_i."""
    bins, num = task.y.shape[1], task.low.size
    block.moments(task, b)
    block.curvature(task, b)
    hold_gradient(task, b)
    block.load(v, first, b.g)
    pin(task, b)
    solve(task, b, b.step)
    for l in range(BLOCK):
        for k in range(num):
            b.step[k, l] = b.step[k, l] if b.safe[l] > 0 else float32(0)
        for i in range(bins):
            total = float32(0)
            for k in range(num):
                total += b.acc[(1 + k) * bins + i, l] * b.step[k, l]
            b.y[i, l] = total / max(b.acc[i, l], LEAST)


@njit(parallel=True, cache=True)
def newton_pixels(task, max_iters, few, photons, paths, steps, done):
    """paths (P, M) <- solution, from the polynomial or else what they hold; steps (P,) <- steps, done <- `settled`.

    few  counts below which a flat likelihood is a reason for doubt;  photons  (P,)
    """
    num, blocks = paths.shape[0], -(-paths.shape[0] // BLOCK)
    parts = min(blocks, PARTS)
    for part in prange(parts):
        b = block.new_block(task.y.shape[1], task.tables.shape[1])
        for first in range(part * blocks // parts * BLOCK, (part + 1) * blocks // parts * BLOCK, BLOCK):
            block.load(task.y, first, b.y)
            if task.coefficients.shape[0] > 0:
                block.start(task, b)
            else:
                block.load(paths, first, b.a)
            newton(task, b, max_iters)
            block.store(b.a, first, paths)
            for l in range(min(BLOCK, num - first)):
                done[first + l] = settled(task, b, few, photons[first + l], l)
                steps[first + l] = b.taken[l]


@njit(parallel=True, cache=True)
def adjoint_pixels(task, paths, v, w, to_counts):
    """w (P, M) <- `adjoint_solution` for v (P, M), to_counts (P, E) <- gradient to the counts; no ridge in the task."""
    blocks = -(-paths.shape[0] // BLOCK)
    parts = min(blocks, PARTS)
    for part in prange(parts):
        b = block.new_block(task.y.shape[1], task.tables.shape[1])
        for first in range(part * blocks // parts * BLOCK, (part + 1) * blocks // parts * BLOCK, BLOCK):
            block.load(task.y, first, b.y)
            block.load(paths, first, b.a)
            adjoint(task, b, v, first)
            block.store(b.step, first, w)
            block.store(b.y, first, to_counts)
