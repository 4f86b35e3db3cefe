"""Compiled: Newton's method and its transposed system for a block of pixels, in float32."""

import numpy as np
from numba import float32

from ctlib.backends.cpu.simd import LANES, add, fma, high, low, mul, splat, sub, zeros
from ctlib.backends.cpu.simd_memory import store
from ctlib.decompose.cpu import block
from ctlib.decompose.cpu.block import BLOCK, FINITE, LEAST, keep, lanes, plain, row, six, three
from ctlib.decompose.cpu.lanes import any_less, divide, size, where_less
from ctlib.decompose.cpu.systems import any_held, definite, depth_of, held_step, hold, pinned, solve, sum_of_sizes, told

NATS, GAIN, MISFIT = np.float32(1e-4), np.float32(1e-9), np.float32(0.01)  # as in `restart`
ROUGH = np.float32(5e-3)  # optical depth of the last step on a few energies
MOST_ROUGH = 4  # steps on them
USUAL = 2  # of them that most pixels need, before one on all energies


@plain
def free_step(task, b):
    """step <- that of the components that neither the gradient nor the step takes out of the box."""
    one, num = splat(zeros(b.a, 1), 1), len(b.materials)
    for at in range(0, BLOCK, LANES):
        a, g, h, fisher = three(one, b.a, at), three(one, b.g, at), six(one, b.h, at), six(one, b.fisher, at)
        free = hold(task, num, a, g, (one, one, one))
        step = held_step(task, num, h, fisher, g, free)
        for _ in range(num - 1):
            fewer = hold(task, num, a, step, free)
            if not any_held(fewer, free):
                break
            free = fewer
            step = held_step(task, num, h, fisher, g, free)
        keep(step, b.step, at)
        keep(free, b.free, at)


@plain
def swap_far(task, b):
    """step <- log step in the pixels whose step is longer than `near`."""
    one, num = zeros(b.a, 1), len(b.materials)
    for at in range(0, BLOCK, LANES):
        step = three(one, b.step, at)
        depth, near = depth_of(task, num, step), splat(one, task.near)
        if any_less(near, depth):
            g, matrix = block.log_misfit(b, at)
            free = three(one, b.free, at)
            other = held_step(task, num, matrix, matrix, g, free)
            sound = where_less(sum_of_sizes(other), splat(one, FINITE), depth, one)
            for k in range(3):
                store(where_less(near, sound, other[k], step[k]), b.step, k * BLOCK + at, 0)


@plain
def move(task, b, tolerance):
    """a <- box(a - limited step) of the open pixels; those that moved little are closed. Whether some stay open."""
    one, some, num = zeros(b.a, 1), False, len(b.materials)
    unit, half = splat(one, 1), splat(one, 0.5)
    for at in range(0, BLOCK, LANES):
        step, still = three(one, b.step, at), row(one, b.still, 0, at)
        depth, moved = depth_of(task, num, step), one
        cut = high(divide(depth, splat(one, task.limit)), unit)
        sound = where_less(high(depth, sum_of_sizes(step)), splat(one, FINITE), still, one)
        for k in range(num):
            a = row(one, b.a, k, at)
            new = low(high(sub(a, divide(step[k], cut)), splat(one, task.low[k])), splat(one, task.high[k]))
            new = where_less(half, sound, new, a)
            moved = high(moved, mul(size(sub(new, a)), splat(one, task.scale[k])))
            store(new, b.a, k * BLOCK + at, 0)
        open_ = where_less(splat(one, tolerance), moved, still, sub(still, sound))
        store(add(row(one, b.taken, 0, at), still), b.taken, at, 0)
        store(open_, b.still, at, 0)
        some = some or any_less(half, open_)
    return some


@plain
def step_of(task, b, far):
    """step <- Newton's at the block's moments."""
    block.curvature(b)
    free_step(task, b)
    if far:
        swap_far(task, b)


@plain
def quick_newton(task, fine, rough, b):
    """a <- path lengths after the `USUAL` steps: on a few energies, then one on all.

    The last takes the second derivatives that the few energies gave; all pixels take all steps, so that none depends
    on its neighbors.
    """
    b.still[:], b.taken[:] = 1, 0
    for _ in range(USUAL):
        block.moments(rough, b, True)
        step_of(task, b, True)
        move(task, b, float32(0))
    b.still[:] = 1
    block.moments(fine, b, False)
    step_of(task, b, True)
    move(task, b, task.tolerance)


@plain
def newton(task, fine, rough, b, most_rough, most_fine):
    """a <- path lengths after Newton steps, `newton`: on a few energies until their own error is left, then on all.

    What a pixel does depends on no other: one that is closed stays.
    """
    b.still[:], b.taken[:] = 1, 0
    for k in range(most_rough):
        block.moments(rough, b, True)
        step_of(task, b, k < task.num_far)
        if not move(task, b, ROUGH):
            break
    finish(task, fine, b, most_rough, most_rough + most_fine)


@plain
def finish(task, fine, b, taken, most):
    """a <- path lengths after steps taken + 1, ... most on all energies, or until all pixels have converged."""
    b.still[:] = 1
    for k in range(taken, most):
        block.moments(fine, b, True)
        step_of(task, b, k < task.num_far)
        if not move(task, b, task.tolerance):
            break


@lanes
def beyond(task, num, a):
    """1 where few energies do not stand for all, else 0."""
    zero, one = splat(a[0], 0), splat(a[0], 1)
    out = zero
    for k in range(num):
        out = where_less(a[k], splat(zero, task.least[k]), one, where_less(splat(zero, task.most[k]), a[k], one, out))
    return out


@plain
def any_beyond(task, b):
    """sure <- `beyond`; whether any pixel is."""
    one, some = zeros(b.a, 1), False
    for at in range(0, BLOCK, LANES):
        there = beyond(task, len(b.materials), three(one, b.a, at))
        store(there, b.sure, at, 0)
        some = some or any_less(one, there)
    return some


@plain
def settled(task, b, few):
    """sure <- 1 where a pixel has converged beyond doubt: `restart.settled`, not `restart.doubtful`, not `beyond`."""
    one, bins, num = zeros(b.a, 1), b.y.shape[0], len(b.materials)
    unit = splat(one, 1)
    for at in range(0, BLOCK, LANES):
        total, misfit, many = one, one, row(one, b.photons, 0, at)
        for i in range(bins):
            y, expected = row(one, b.y, i, at), row(one, b.acc, i, at)
            apart = sub(expected, y)
            total, misfit = (
                add(total, y),
                add(misfit, divide(mul(apart, apart), high(add(expected, y), splat(one, LEAST)))),
            )
        total, misfit, f, s = mul(total, many), mul(misfit, many), six(one, b.fisher, at), three(one, b.step, at)
        s = mul(s[0], row(one, b.free, 0, at)), mul(s[1], row(one, b.free, 1, at)), mul(s[2], row(one, b.free, 2, at))
        inner = fma(s[0], fma(f[0], s[0], mul(f[1], s[1])), mul(s[1], fma(f[3], s[1], mul(f[1], s[0]))))
        if num == 3:
            more = fma(f[2], s[0], mul(f[4], s[1]))
            inner = fma(s[2], fma(f[5], s[2], add(more, more)), inner)
        gain, bound = mul(mul(splat(one, 0.5), many), inner), max(GAIN, task.tolerance**2)
        bound = fma(splat(one, bound), total, splat(one, NATS))
        sure = where_less(bound, gain, one, sub(unit, row(one, b.still, 0, at)))
        sure = where_less(gain, splat(one, FINITE), sure, one)
        sure = where_less(one, beyond(task, num, three(one, b.a, at)), one, sure)
        if few > 0:
            sure = where_less(mul(splat(one, MISFIT), total), misfit, one, sure)
            sure = where_less(misfit, splat(one, FINITE), sure, one)
            sure = where_less(total, splat(one, few), mul(sure, told(task, num, f, many)), sure)
        store(sure, b.sure, at, 0)


@plain
def adjoint(task, fine, b):
    """step <- `adjoint_solution` for v in step, 0 where h is not definite; y <- sum_k J_ik step_k / lambda_i."""
    block.moments(fine, b, True)
    block.curvature(b)
    one, bins, num = zeros(b.a, 1), b.y.shape[0], len(b.materials)
    unit = splat(one, 1)
    for at in range(0, BLOCK, LANES):
        v = three(one, b.step, at)
        free = hold(task, num, three(one, b.a, at), three(one, b.g, at), (unit, unit, unit))
        h, fisher = pinned(six(one, b.h, at), free), pinned(six(one, b.fisher, at), free)
        safe, v = definite(num, h, fisher), (mul(v[0], free[0]), mul(v[1], free[1]), mul(v[2], free[2]))
        w = solve(num, h, fisher, safe, float32(0), v)
        half = splat(one, 0.5)
        w = where_less(half, safe, w[0], one), where_less(half, safe, w[1], one), where_less(half, safe, w[2], one)
        keep(w, b.step, at)
        for i in range(bins):
            total = mul(row(one, b.acc, bins + i, at), w[0])
            total = fma(row(one, b.acc, 2 * bins + i, at), w[1], total)
            if num == 3:
                total = fma(row(one, b.acc, 3 * bins + i, at), w[2], total)
            store(divide(total, high(row(one, b.acc, i, at), splat(one, LEAST))), b.y, i * BLOCK + at, 0)
