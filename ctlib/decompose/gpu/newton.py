"""Newton's method and its transposed system as one Triton kernel each, a pixel per lane; speed not yet measured.

A program iterates until its last pixel has converged. What a pixel gets does not depend on its neighbors: whether it
has settled is decided in the step with which it stops. Masks instead of branches, no atomics.
"""

import triton
import triton.language as tl

from ctlib.decompose import newton as rules
from ctlib.decompose import restart
from ctlib.decompose.gpu.model import LEAST, curvature, log_misfit, moments, polynomial
from ctlib.decompose.gpu.small import inverse_diagonal, leading_minors, pinned, positive_definite, solve, with_ridge
from ctlib.decompose.gpu.tuples import chosen, double, everywhere, finite, kept, load, store

LIMIT, NEAR, RIDGE = tl.constexpr(rules.LIMIT), tl.constexpr(rules.NEAR), tl.constexpr(rules.RIDGE)
NUM_FAR = tl.constexpr(rules.NUM_FAR)
NATS, FLAT, MISFIT = tl.constexpr(restart.NATS), tl.constexpr(restart.FLAT), tl.constexpr(restart.MISFIT)
GAIN = tl.constexpr(1e-9)  # as in `restart.settled`


@triton.jit
def open_components(a, direction, free, low, high, M: tl.constexpr):
    """Those of the free ones that `Problem.active` does not hold: a step against `direction` keeps them in the box."""
    out = ()
    for k in tl.static_range(M):
        leaves = (a[k] <= tl.load(low + k)) & (direction[k] > 0) | (a[k] >= tl.load(high + k)) & (direction[k] < 0)
        out = out + (free[k] & ~leaves,)
    return out


@triton.jit
def depth_of(step, scale, M: tl.constexpr):
    """Largest change of a material's optical depth, `Problem.depth`."""
    depth = tl.zeros_like(step[0])
    for k in tl.static_range(M):
        depth = tl.maximum(depth, tl.abs(step[k]) * tl.load(scale + k))
    return depth


@triton.jit
def free_step(g, hessian, fisher, free, M: tl.constexpr):
    """`newton.free_step`: B^-1 g of the free components."""
    h, f = pinned(hessian, free, M), pinned(fisher, free, M)
    matrix = chosen(positive_definite(h, f, M), h, f, M * (M + 1) // 2)
    return solve(with_ridge(matrix, f, RIDGE, M), kept(g, free, M), M)


@triton.jit
def projected_step(y, a, sums, far, low, high, scale, M: tl.constexpr, E: tl.constexpr):
    """The step of `newton.newton_step` before it is limited, and the Fisher information of all components."""
    g, hessian, fisher = curvature(y, sums, M, E)
    free = open_components(a, g, everywhere(a, M), low, high, M)
    step = free_step(g, hessian, fisher, free, M)
    for _ in tl.static_range(M - 1):
        free = open_components(a, step, free, low, high, M)
        step = free_step(g, hessian, fisher, free, M)
    long = depth_of(step, scale, M) > NEAR
    if far & (tl.max(long.to(tl.int32), 0) > 0):
        g, matrix = log_misfit(y, sums, M, E)
        matrix = pinned(matrix, free, M)
        other = solve(with_ridge(matrix, matrix, RIDGE, M), kept(g, free, M), M)
        step = chosen(long & finite(other, M), other, step, M)
    return step, fisher


@triton.jit
def moved(a, step, low, high, scale, M: tl.constexpr):
    """Path lengths after a step of at most `LIMIT` inside the box, how far they moved, and where the step was sound."""
    cut, out, change = tl.maximum(depth_of(step, scale, M) / LIMIT, 1.0), (), ()
    sound = finite(step, M) & (cut - cut == 0)
    for k in tl.static_range(M):
        new = tl.minimum(tl.maximum(a[k] - step[k] / cut, tl.load(low + k)), tl.load(high + k))
        out = out + (new,)
        change = change + (new - a[k],)
    return out, depth_of(change, scale, M), sound & finite(out, M)


@triton.jit
def settled(y, sums, step, fisher, photons, scale, tolerance, few, M: tl.constexpr, E: tl.constexpr):
    """Where the last step could gain no more than `NATS`, or rounding; few > 0: and where the pixel is beyond doubt.

    Doubt is a misfit, or fewer counts than `few` and a path length whose standard deviation [optical depth] is large.
    """
    total, misfit, gain = tl.zeros_like(y[0]), tl.zeros_like(y[0]), tl.zeros_like(y[0])
    for i in tl.static_range(E):
        total += y[i]
        misfit += (sums[i] - y[i]) * (sums[i] - y[i]) / tl.maximum(sums[i] + y[i], LEAST)
    for k in tl.static_range(M):
        for l in tl.static_range(k, M):
            gain += (0.5 if k == l else 1.0) * fisher[k * (2 * M - 1 - k) // 2 + l] * step[k] * step[l]
    told, variances = leading_minors(fisher, M)[M - 1] > 0, inverse_diagonal(fisher, M)
    for k in tl.static_range(M):
        size = tl.load(scale + k)
        told = told & (variances[k] * size * size <= FLAT * FLAT * photons)
    sound = gain * photons <= NATS + tl.maximum(GAIN, tolerance * tolerance) * total * photons
    return sound & ((few == 0) | (misfit <= MISFIT * total) & (told | (total * photons >= few)))


@triton.jit(do_not_specialize=["num", "num_energies", "photons_step", "max_iters"])
def newton(
    counts, attenuation, spectra, low, high, scale, photons, coefficients, open_beam, paths, steps, done,
    photons_step, max_iters, tolerance, few, num, num_energies,
    FITTED: tl.constexpr, M: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """paths (P, M) <- solution, from the polynomial if FITTED, else from what they hold; steps and done (P,).

    counts (P, E);  photons (P,) a step of 0 or 1 apart;  attenuation (N, M), spectra (N, E);  few as in `settled`
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    pixel, inside = tl.minimum(lane, num - 1), lane < num
    y, sent = load(counts, pixel, E), tl.load(photons + pixel * photons_step)
    if FITTED:
        a = polynomial(y, coefficients, open_beam, low, high, M, E)
    else:
        a = load(paths, pixel, M)
    still, taken = tl.full([BLOCK], 1, tl.int32), tl.zeros([BLOCK], tl.int32)
    sure, k, left = tl.zeros([BLOCK], tl.int32), 0, 1
    while (k < max_iters) & (left > 0):
        sums = moments(a, tl.zeros_like(a[0]), attenuation, spectra, num_energies, M, E)
        step, fisher = projected_step(y, a, sums, k < NUM_FAR, low, high, scale, M, E)
        new, change, sound = moved(a, step, low, high, scale, M)
        a = chosen(sound & (still > 0), new, a, M)
        taken += still
        closed = sound & (still > 0) & (change <= tolerance)
        fine = settled(y, sums, step, fisher, sent, scale, tolerance, few, M, E)
        sure = tl.where(closed & fine, 1, sure)
        still = tl.where(closed, 0, still)
        k, left = k + 1, tl.max(still, 0)
    store(paths, pixel, a, inside, M)
    tl.store(steps + pixel, taken, mask=inside)
    tl.store(done + pixel, sure > 0, mask=inside)


@triton.jit(do_not_specialize=["num", "num_energies"])
def adjoint(
    counts, attenuation, spectra, low, high, paths, v, w, to_counts, num, num_energies,
    M: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """w (P, M) <- `gradient.adjoint_solution` for v (P, M), to_counts (P, E) <- gradient to the counts.

    The system is solved in double precision: three materials lose five digits there.
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    pixel, inside = tl.minimum(lane, num - 1), lane < num
    y, a = load(counts, pixel, E), load(paths, pixel, M)
    sums = moments(a, tl.zeros_like(a[0]), attenuation, spectra, num_energies, M, E)
    g, hessian, fisher = curvature(y, sums, M, E)
    free = open_components(a, g, everywhere(a, M), low, high, M)
    rhs = double(kept(load(v, pixel, M), free, M), M)
    PAIRS: tl.constexpr = M * (M + 1) // 2
    h, f = double(pinned(hessian, free, M), PAIRS), double(pinned(fisher, free, M), PAIRS)
    found, safe, out = solve(h, rhs, M), positive_definite(h, f, M), ()
    for k in tl.static_range(M):
        out = out + (tl.where(safe, found[k], 0.0).to(y[0].dtype),)
    store(w, pixel, out, inside, M)
    for i in tl.static_range(E):
        total = tl.zeros_like(y[0])
        for k in tl.static_range(M):
            total = tl.fma(sums[(1 + k) * E + i], out[k], total)
        tl.store(to_counts + pixel * E + i, total / tl.maximum(sums[i], LEAST), mask=inside)
