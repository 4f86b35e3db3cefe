"""Compiled solver and its transposed system over all pixels, in float32; the parts are in `newton`."""

import numpy as np
from numba import float32, prange

from ctlib.compiled import njit
from ctlib.decompose.cpu.newton import (
    BLOCK,
    STRIP,
    curvature_block,
    free_block,
    log_block,
    moments_block,
    move_block,
    pin_block,
    solve2_block,
    solve3_block,
)
from ctlib.decompose.cpu.start import polynomial_block

PARTS = 64  # pieces that threads share


@njit(cache=True)
def _solve(num, h, fisher, ridge, g, step, safe):
    if num == 2:
        solve2_block(h, fisher, ridge, g, step, safe)
    else:
        solve3_block(h, fisher, ridge, g, step, safe)


@njit(cache=True)
def _free_step(num, a, low, high, free, h, fisher, ridge, g, step, safe):
    """step <- that of the components that neither the gradient nor the step takes out of the box."""
    free[:] = 1
    free_block(a, g, low, high, num, free)
    for _ in range(num):
        pin_block(free, num, g, h, fisher)
        _solve(num, h, fisher, ridge, g, step, safe)
        if free_block(a, step, low, high, num, free) == 0:
            break


@njit(cache=True)
def _load(rows, first, block):
    """block (., BLOCK) <- rows first to first + BLOCK; past the end the last row again."""
    last = rows.shape[0] - 1
    for l in range(BLOCK):
        for k in range(rows.shape[1]):
            block[k, l] = rows[min(first + l, last), k]


@njit(cache=True)
def _store(block, first, rows):
    for l in range(min(BLOCK, rows.shape[0] - first)):
        for k in range(rows.shape[1]):
            rows[first + l, k] = block[k, l]


@njit(cache=True)
def _swap_far(y, acc, num, free, scale, near, ridge, scratch, step, other, safe):
    """step <- log step in the pixels whose step is longer than `near`."""
    relative, g, h, fisher = scratch
    ready = False
    for l in range(BLOCK):
        depth = float32(0)
        for k in range(num):
            depth = max(depth, abs(step[k, l]) * scale[k])
        if depth > near:
            if not ready:
                log_block(y, acc, num, relative, g, h, fisher)
                pin_block(free, num, g, h, fisher)
                _solve(num, h, fisher, ridge, g, other, safe)
                ready = True
            if np.isfinite(other[0, l]) and np.isfinite(other[1, l]) and np.isfinite(other[num - 1, l]):
                for k in range(num):
                    step[k, l] = other[k, l]


@njit(cache=True)
def _newton_block(yb, f, tables, box, rules, max_iters, num, wide, acc, z, h, fisher, still, taken):
    """wide[0] <- path lengths after Newton steps; still <- 1 where a pixel did not converge; taken <- its steps."""
    low, high, scale = box[0], box[1], box[2]
    tolerance, limit, near, ridge = rules[0], rules[1], rules[2], rules[4]
    a, g, relative, step, other, free, safe = wide[0], wide[1], wide[2], wide[3], wide[4], wide[5], wide[6, 0]
    still[:], taken[:] = 1, 0
    for k in range(max_iters):
        taken += still
        moments_block(f, tables, a, z, acc)
        curvature_block(yb, acc, num, relative, g, h, fisher)
        _free_step(num, a, low, high, free, h, fisher, ridge, g, step, safe)
        if k < rules[3]:
            _swap_far(yb, acc, num, free, scale, near, ridge, (relative, g, h, fisher), step, other, safe)
        if move_block(a, step, low, high, scale, limit, num, tolerance, still) == 0:
            break


@njit(parallel=True, cache=True)
def newton_pixels(y, f, tables, box, coefficients, open_beam, rules, max_iters, paths, steps, done):
    """paths (P, M) <- solution; steps (P,), done (P,) <- iterations, convergence.

    Starts from the polynomial with coefficients (F, M), or where F = 0 from what paths hold.
    y (P, E);  box (3, M) low, high, scale;  rules (5,) tolerance, limit, near, number of far steps, ridge
    """
    num, blocks = paths.shape[1], -(-y.shape[0] // BLOCK)
    parts = min(blocks, PARTS)
    for part in prange(parts):
        yb, acc = np.empty((y.shape[1], BLOCK), np.float32), np.empty((tables.shape[1], BLOCK), np.float32)
        z, wide = np.empty((STRIP, BLOCK), np.float32), np.zeros((7, 3, BLOCK), np.float32)
        h, fisher = np.empty((6, BLOCK), np.float32), np.empty((6, BLOCK), np.float32)
        still, taken = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
        for block in range(part * blocks // parts, (part + 1) * blocks // parts):
            first = block * BLOCK
            _load(y, first, yb)
            if coefficients.shape[0] > 0:
                polynomial_block(yb, coefficients, open_beam, box[0], box[1], acc, wide[0])
            else:
                _load(paths, first, wide[0])
            _newton_block(yb, f, tables, box, rules, max_iters, num, wide, acc, z, h, fisher, still, taken)
            _store(wide[0], first, paths)
            for l in range(min(BLOCK, y.shape[0] - first)):
                done[first + l], steps[first + l] = still[l] == 0, taken[l]


@njit(parallel=True, cache=True)
def adjoint_pixels(y, f, tables, box, paths, v, w, to_counts):
    """w (P, M) <- solution of the transposed system for v (P, M), to_counts (P, E) <- gradient to the counts."""
    num, bins, blocks = paths.shape[1], y.shape[1], -(-y.shape[0] // BLOCK)
    parts = min(blocks, PARTS)
    for part in prange(parts):
        yb, acc = np.empty((bins, BLOCK), np.float32), np.empty((tables.shape[1], BLOCK), np.float32)
        z, wide = np.empty((STRIP, BLOCK), np.float32), np.zeros((8, 3, BLOCK), np.float32)
        a, g, relative, vb, wb, free = wide[0], wide[1], wide[2], wide[3], wide[4], wide[5]
        h, fisher = np.empty((6, BLOCK), np.float32), np.empty((6, BLOCK), np.float32)
        safe, out = np.empty(BLOCK, np.float32), np.empty((bins, BLOCK), np.float32)
        for block in range(part * blocks // parts, (part + 1) * blocks // parts):
            _load(y, block * BLOCK, yb)
            _load(paths, block * BLOCK, a)
            _load(v, block * BLOCK, vb)
            moments_block(f, tables, a, z, acc)
            curvature_block(yb, acc, num, relative, g, h, fisher)
            free[:] = 1
            free_block(a, g, box[0], box[1], num, free)
            pin_block(free, num, vb, h, fisher)
            _solve(num, h, fisher, float32(0), vb, wb, safe)
            _counts_gradient(acc, wb, safe, num, out)
            _store(wb, block * BLOCK, w)
            _store(out, block * BLOCK, to_counts)


@njit(cache=True, error_model="numpy")
def _counts_gradient(acc, w, safe, num, out):
    """w <- 0 where the Hessian is not definite; out <- sum_k J_ik w_k / lambda_i."""
    bins = out.shape[0]
    for l in range(BLOCK):
        for k in range(num):
            w[k, l] = w[k, l] if safe[l] > 0 else float32(0)
        for i in range(bins):
            total = float32(0)
            for k in range(num):
                total += acc[(1 + k) * bins + i, l] * w[k, l]
            out[i, l] = total / max(acc[i, l], float32(1e-30))
