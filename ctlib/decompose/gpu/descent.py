"""`restart.descend` as a Triton kernel in double precision, a pixel from one of its starts per lane.

The formulas are those of the torch functions named, the reference that tests compare with. Speed not yet measured.
"""

import triton
import triton.language as tl

from ctlib.decompose import restart
from ctlib.decompose.gpu.model import LOG2_E, moments
from ctlib.decompose.gpu.newton import GAIN, NATS, moved, open_components
from ctlib.decompose.gpu.small import pinned, positive_definite, solve, with_ridge
from ctlib.decompose.gpu.tuples import chosen, everywhere, finite, kept, load, store, zeros

ROUNDING, TINY = tl.constexpr(restart.ROUNDING), tl.constexpr(1e-300)
SLIGHT = tl.constexpr(1e-9)  # damping that is always there, as in `restart.held_step`


@triton.jit
def largest(a, attenuation, num_energies, M: tl.constexpr):
    """Logarithm of the largest transmission of all energies."""
    most = tl.zeros_like(a[0]) - float("inf")
    for n in range(num_energies):
        depth = tl.zeros_like(a[0])
        for k in tl.static_range(M):
            depth = tl.fma(-a[k], tl.load(attenuation + n * M + k), depth)
        most = tl.maximum(most, depth)
    return most


@triton.jit
def local(y, a, attenuation, spectra, num_energies, M: tl.constexpr, E: tl.constexpr):
    """`restart.local`: likelihood and size of its terms, gradient (M), Hessian and Fisher information (pairs)."""
    PAIRS: tl.constexpr = M * (M + 1) // 2
    most = largest(a, attenuation, num_energies, M)
    sums = moments(a, -LOG2_E * most, attenuation, spectra, num_energies, M, E)
    value, size = tl.zeros_like(most), tl.zeros_like(most)
    g, hessian, fisher = zeros(most, M), zeros(most, PAIRS), zeros(most, PAIRS)
    for i in tl.static_range(E):
        share = tl.maximum(sums[i], TINY)
        log = most + tl.log(share)
        mean = tl.exp(tl.minimum(log, 300.0))
        value += mean - y[i] * log
        size += mean + y[i] * tl.abs(log)
        slope, first, second, third = (), (), (), ()
        for k in tl.static_range(M):
            slope = slope + (sums[(1 + k) * E + i] / share,)
            first = first + (tl.fma(mean - y[i], slope[k], g[k]),)
        for k in tl.static_range(M):
            for l in tl.static_range(k, M):
                both, bent = slope[k] * slope[l], sums[(1 + M + len(second)) * E + i] / share
                third = third + (tl.fma(mean, both, fisher[len(second)]),)
                second = second + (tl.fma(y[i], both, tl.fma(mean - y[i], bent, hessian[len(second)])),)
        g, hessian, fisher = first, second, third
    return value, size, g, hessian, fisher


@triton.jit
def held_step(a, g, hessian, fisher, damping, low, high, M: tl.constexpr):
    """`restart.held_step`: the damped step of the components that neither gradient nor step takes out of the box."""
    free = open_components(a, g, everywhere(a, M), low, high, M)
    step = g
    for _ in tl.static_range(M):
        h, f = pinned(hessian, free, M), pinned(fisher, free, M)
        matrix = chosen(positive_definite(h, f, M), h, f, M * (M + 1) // 2)
        step = solve(with_ridge(matrix, f, SLIGHT + damping, M), kept(g, free, M), M)
        free = open_components(a, step, free, low, high, M)
    return kept(step, free, M)


@triton.jit
def stationary(y, a, g, fisher, photons, tolerance, low, high, M: tl.constexpr, E: tl.constexpr):
    """`restart.settled`: where a step could gain no more than `NATS`, or rounding."""
    free = open_components(a, g, everywhere(a, M), low, high, M)
    f, slope = pinned(fisher, free, M), kept(g, free, M)
    step, gain, total = solve(with_ridge(f, f, SLIGHT, M), slope, M), tl.zeros_like(photons), tl.zeros_like(photons)
    for k in tl.static_range(M):
        gain += 0.5 * slope[k] * step[k]
    for i in tl.static_range(E):
        total += y[i]
    return finite(a, M) & (gain * photons <= NATS + tl.maximum(GAIN, tolerance * tolerance) * total * photons)


@triton.jit(do_not_specialize=["num", "num_energies", "max_iters"])
def descend(
    counts, attenuation, spectra, low, high, scale, photons, paths, values, steps, done,
    max_iters, tolerance, num, num_energies, M: tl.constexpr, E: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """paths (P, M) <- the local minimum near them, values (P,) its likelihood, steps and done (P,).

    counts (P, E), photons (P,);  attenuation (N, M), spectra (N, E)
    """
    lane = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    pixel, inside = tl.minimum(lane, num - 1), lane < num
    y, a, sent = load(counts, pixel, E), load(paths, pixel, M), tl.load(photons + pixel)
    PAIRS: tl.constexpr = M * (M + 1) // 2
    value, size, damping = tl.zeros_like(sent) + float("inf"), tl.zeros_like(sent), tl.zeros_like(sent)
    g, hessian, fisher = zeros(sent, M), zeros(sent, PAIRS), zeros(sent, PAIRS)
    new, change, sound = a, tl.zeros_like(sent), sent == sent
    still, taken, k, left = tl.full([BLOCK], 1, tl.int32), tl.zeros([BLOCK], tl.int32), 0, 1
    while (k <= max_iters) & (left > 0):  # first the start itself, then a step each
        there, terms, slope, bent, told = local(y, new, attenuation, spectra, num_energies, M, E)
        first = k == 0
        down = (sound & (there <= value + ROUNDING * size) | first) & (still > 0)
        a, g, hessian = chosen(down, new, a, M), chosen(down, slope, g, M), chosen(down, bent, hessian, PAIRS)
        fisher = chosen(down, told, fisher, PAIRS)
        value, size = tl.where(down, there, value), tl.where(down, terms, size)
        calm = stationary(y, a, g, fisher, sent, tolerance, low, high, M, E)
        taken += tl.where(first, 0, still)
        still = tl.where(down & (change <= tolerance) & (damping < 0.1) & calm & (k > 0), 0, still)
        more = tl.where(down, tl.where(damping < 1e-4, 0.0, damping * 0.125), tl.maximum(8 * damping, 0.01))
        damping = tl.where(first, 0.0, more)
        step = held_step(a, g, hessian, fisher, damping, low, high, M)
        new, change, sound = moved(a, step, low, high, scale, M)
        k, left = k + 1, tl.max(still, 0)
    store(paths, pixel, a, inside, M)
    tl.store(values + pixel, value, mask=inside)
    tl.store(steps + pixel, taken, mask=inside)
    tl.store(done + pixel, still == 0, mask=inside)
