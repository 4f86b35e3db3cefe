"""What the model says about a block of pixels in Triton, one pixel per lane: start, moments, gradient and matrices.

The formulas are those of the torch functions named, the reference that tests compare with. A vector per bin, material
or pair is an element of a tuple and stays in registers; what all pixels share is read by scalars.
"""

import triton
import triton.language as tl

from ctlib.decompose import likelihood
from ctlib.decompose import start as rules
from ctlib.decompose.gpu.tuples import zeros

LEAST, DARKEST = tl.constexpr(likelihood.LEAST), tl.constexpr(rules.DARKEST)
LOG2_E = tl.constexpr(1.4426950408889634)
LEAST_LOG2 = tl.constexpr(-600 * 1.4426950408889634)  # of a transmission in double precision, as in `restart.local`


@triton.jit
def polynomial(y, coefficients, open_beam, low, high, M: tl.constexpr, E: tl.constexpr):
    """Path lengths of `PolynomialStart`; coefficients (F, M), open_beam (E,), low and high (M,)."""
    l, a = (), ()
    for i in tl.static_range(E):
        l = l + (-tl.log(tl.maximum(y[i] / tl.load(open_beam + i), DARKEST)),)
    for k in tl.static_range(M):
        total = tl.zeros_like(y[0]) + tl.load(coefficients + k)
        for i in tl.static_range(E):
            slope = tl.zeros_like(total) + tl.load(coefficients + (1 + i) * M + k)
            for j in tl.static_range(i, E):  # row of l_i l_j behind those of 1, l and the pairs of smaller i
                row = 1 + E + i * E - i * (i - 1) // 2 + j - i
                slope = tl.fma(l[j], tl.load(coefficients + row * M + k), slope)
            total = tl.fma(l[i], slope, total)
        top = tl.load(high + k)
        least = tl.minimum(tl.maximum(tl.load(low + k), 0.0), top)
        a = a + (tl.minimum(tl.maximum(total, least), top),)
    return a


@triton.jit
def moments(a, scale, attenuation, spectra, num_energies, M: tl.constexpr, E: tl.constexpr):
    """`physics.moments.moments`: counts (E), Jacobian (M E) and second derivatives (M (M + 1) / 2 E), bins innermost.

    The tables of that function are not read but made: a bin's share of an energy times 1, f_k and f_k f_l.

    scale  binary logarithm of a factor that all get
    """
    most: tl.constexpr = 1000.0 if a[0].dtype == tl.float64 else 125.0  # finite, where a step went too far
    sums, binary = zeros(a[0], E * (1 + M + M * (M + 1) // 2)), ()
    for k in tl.static_range(M):
        binary = binary + (-LOG2_E * a[k],)
    for n in range(num_energies):
        f, depth = (), scale
        for k in tl.static_range(M):
            f = f + (tl.load(attenuation + n * M + k),)
            depth = tl.fma(binary[k], f[k], depth)
        if a[0].dtype == tl.float64:
            depth = tl.maximum(depth, LEAST_LOG2, propagate_nan=tl.PropagateNan.ALL)
        through = tl.exp2(tl.minimum(depth, most, propagate_nan=tl.PropagateNan.ALL))
        passed, more = (), ()
        for i in tl.static_range(E):
            passed = passed + (through * tl.load(spectra + n * E + i),)
            more = more + (sums[i] + passed[i],)
        for k in tl.static_range(M):
            for i in tl.static_range(E):
                more = more + (tl.fma(passed[i], -f[k], sums[len(more)]),)
        for k in tl.static_range(M):
            for l in tl.static_range(k, M):
                for i in tl.static_range(E):
                    more = more + (tl.fma(passed[i], f[k] * f[l], sums[len(more)]),)
        sums = more
    return sums


@triton.jit
def curvature(y, sums, M: tl.constexpr, E: tl.constexpr):
    """`score` (M), then Hessian and Fisher information of `likelihood.curvature` (M (M + 1) / 2), from moments."""
    PAIRS: tl.constexpr = M * (M + 1) // 2
    g, hessian, fisher = zeros(y[0], M), zeros(y[0], PAIRS), zeros(y[0], PAIRS)
    for i in tl.static_range(E):
        mean, slope, first, second = tl.maximum(sums[i], LEAST), (), (), ()
        ratio, third = y[i] / mean, ()
        for k in tl.static_range(M):
            slope = slope + (sums[(1 + k) * E + i] / mean,)
            first = first + (tl.fma(sums[i] - y[i], slope[k], g[k]),)
        for k in tl.static_range(M):
            for l in tl.static_range(k, M):
                both = slope[k] * slope[l]
                bent = tl.fma(1.0 - ratio, sums[(1 + M + len(second)) * E + i], hessian[len(second)])
                third = third + (tl.fma(mean, both, fisher[len(second)]),)
                second = second + (tl.fma(y[i], both, bent),)
        g, hessian, fisher = first, second, third
    return g, hessian, fisher


@triton.jit
def log_misfit(y, sums, M: tl.constexpr, E: tl.constexpr):
    """Gradient (M) and matrix (M (M + 1) / 2) of `newton.log_step`, from moments."""
    g, matrix = zeros(y[0], M), zeros(y[0], M * (M + 1) // 2)
    for i in tl.static_range(E):
        mean, slope, first, second = tl.maximum(sums[i], LEAST), (), (), ()
        misfit = tl.where(y[i] > 0, y[i] * tl.log(mean / tl.where(y[i] > 0, y[i], 1.0)), 0.0)
        for k in tl.static_range(M):
            slope = slope + (sums[(1 + k) * E + i] / mean,)
            first = first + (tl.fma(misfit, slope[k], g[k]),)
        for k in tl.static_range(M):
            for l in tl.static_range(k, M):
                second = second + (tl.fma(y[i] * slope[k], slope[l], matrix[len(second)]),)
        g, matrix = first, second
    return g, matrix
