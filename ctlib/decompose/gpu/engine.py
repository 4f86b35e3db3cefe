"""What calls the kernels: problems with one response for all pixels, two or three materials and at most eight bins.

Speed is not yet measured. Compiled for Hopper, an energy of a pixel takes some 45 instructions with two materials and
four bins, where the sums alone are 24; nothing is stored between the steps.
"""

import torch
import triton
from torch import Tensor

from ctlib.decompose.gpu import descent
from ctlib.decompose.gpu import newton as kernels
from ctlib.decompose.newton import Problem
from ctlib.decompose.restart import FEW

MATERIALS, MOST_BINS = (2, 3), 8
LARGEST, SMALL = 512, 96  # bytes of a pixel's sums that fit into registers, and of which two pixels' do
WARP = 32  # threads


def fits(problem: Problem) -> bool:
    """Whether the kernels take a problem of these shapes and this dtype."""
    y = problem.counts
    shapes = problem.spectra.ndim == 2 and problem.attenuation.shape[1] in MATERIALS and y.shape[-1] <= MOST_BINS
    return y.numel() > 0 and y.dtype in (torch.float32, torch.float64) and shapes and _size(problem) <= LARGEST


def sums(num: int, bins: int) -> int:
    """Moments of a pixel: in every bin the counts, their derivatives and second derivatives."""
    return bins * (1 + num + num * (num + 1) // 2)


def pixels(size: int) -> int:
    """Pixels of a program, one warp, which waits for the slowest: two for each thread where registers suffice."""
    return 2 * WARP if size <= SMALL else WARP


def _size(problem: Problem) -> int:
    return sums(problem.attenuation.shape[1], problem.counts.shape[-1]) * problem.counts.itemsize


def _launch(kernel, problem: Problem, *args, **constants) -> None:
    y, num, block = problem.counts, problem.counts[..., 0].numel(), pixels(_size(problem))
    constants |= {"M": problem.attenuation.shape[1], "E": y.shape[-1], "BLOCK": block}
    with torch.cuda.device_of(y):
        kernel[(triton.cdiv(num, block),)](
            y.contiguous(), problem.attenuation.contiguous(), problem.spectra.contiguous(), problem.low.contiguous(),
            problem.high.contiguous(), *args, num, len(problem.spectra), **constants, num_warps=1,
        )  # fmt: skip


def solve(problem: Problem, start, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Path lengths (..., M), number of steps and whether each pixel has settled beyond doubt.

    start  path lengths (..., M), or a `PolynomialStart`
    """
    y, fitted = problem.counts, callable(start)
    lead, num = y.shape[:-1], problem.attenuation.shape[1]
    paths = y.new_empty(*lead, num) if fitted else start.clone(memory_format=torch.contiguous_format)
    steps, done = torch.empty_like(paths[..., 0], dtype=torch.int32), torch.empty_like(paths[..., 0], dtype=torch.bool)
    photons = torch.as_tensor(problem.photons).to(y)
    photons = photons.expand(lead).contiguous() if photons.ndim else photons
    ours = (start.coefficients.contiguous(), start.open_beam.contiguous()) if fitted else (paths, paths)
    _launch(
        kernels.newton, problem, problem.scale, photons, *ours, paths, steps, done, int(photons.ndim > 0), max_iters,
        tolerance, FEW if fitted else 0.0, FITTED=fitted,
    )  # fmt: skip
    return paths, steps, done


def descend(problem: Problem, paths: Tensor, max_iters: int, tolerance: float) -> tuple[Tensor, ...]:
    """`restart.descend`: local minima (P, M) from starts, their likelihoods, steps, and whether they have settled."""
    paths, photons = paths.clone(memory_format=torch.contiguous_format), problem.photons.contiguous()
    values, steps = torch.empty_like(photons), torch.empty_like(photons, dtype=torch.int32)
    done = torch.empty_like(steps, dtype=torch.bool)
    _launch(descent.descend, problem, problem.scale, photons, paths, values, steps, done, max_iters, tolerance)
    return paths, values, steps, done


def adjoint(problem: Problem, paths: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """w (..., M) of `gradient.adjoint_solution` and the gradient to the counts (..., E)."""
    paths, v = paths.contiguous(), v.contiguous()
    w, to_counts = torch.empty_like(paths), paths.new_empty(problem.counts.shape)
    _launch(kernels.adjoint, problem, paths, v, w, to_counts)
    return w, to_counts
