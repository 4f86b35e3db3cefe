"""What runs the layer: where all pixels have one response, compiled loops for float32 on a CPU and fused kernels on a
CUDA device; torch for the rest.

Whatever ran, `solve` calls a pixel converged only where the path lengths are finite, the last step was short and the
likelihood is stationary there; pixels in doubt are solved again by `restart`.
"""

import importlib.util
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib.decompose.gradient import describe, implicit_vjp, spectra_gradient
from ctlib.decompose.newton import LIMIT, NEAR, NUM_FAR, RIDGE, Problem, newton
from ctlib.decompose.pieces import Pieces
from ctlib.decompose.restart import FEW, doubtful, local, lowest, settled, starts
from ctlib.decompose.start import AT_ONCE, counting, distinct
from ctlib.physics.moments import moment_tables

FIRST = 12  # Newton steps before a pixel without a start of its own is in doubt
RESTARTED, RESTARTED_OWN = 1024, 64  # pixels that are solved again at a time, and those with spectra of their own
RESTARTED_CUDA = 1 << 14  # and those that kernels solve


def compiled(problem: Problem) -> bool:
    """Whether the compiled engine takes this problem."""
    y, shared = problem.counts, problem.spectra.ndim == 2
    fits = y.device.type == "cpu" and y.dtype == torch.float32 and shared and problem.attenuation.shape[1] in (2, 3)
    return fits and y.numel() > 0 and importlib.util.find_spec("numba") is not None


def fused(problem: Problem) -> bool:
    """Whether the kernels of a CUDA device take this problem."""
    if problem.counts.device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    from ctlib.decompose.gpu.engine import fits

    return fits(problem)


def solve(problem: Problem, start, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Path lengths, number of steps, whether each pixel converged, and whether it has other minima.

    start  path lengths, then the minimum near them is meant; or a `PolynomialStart`, then the lowest
    """
    alive, valid = counting(problem.spectra), _finite(problem.counts)
    if not bool(valid.all()) or not bool(alive.all()):
        counts = torch.where(alive, problem.counts, 0.0)
        problem = replace(problem, counts=torch.where(valid[..., None], counts, problem.spectra.sum(-2)))
    first = _solve_compiled if compiled(problem) else _solve_fused if fused(problem) else _solve_torch
    paths, taken, done = first(problem, start, min(max_iters, FIRST) if callable(start) else max_iters, tolerance)
    paths, taken, done, multiple = _again(problem, start, paths, taken, done | ~valid, max_iters, tolerance)
    if problem.spectra.ndim > 2:
        each = problem.spectra.reshape(-1, *problem.spectra.shape[-2:]).split(AT_ONCE)
        enough = torch.cat([distinct(some, paths.shape[-1]) for some in each])
        done = done & enough.reshape(problem.spectra.shape[:-2])
    return torch.where(valid[..., None], paths, torch.nan), taken, done & valid & _finite(paths), multiple & valid


def _finite(t: Tensor) -> Tensor:
    """Where all entries of the last axis are finite; one sum tells where that is everywhere."""
    return torch.ones_like(t[..., 0], dtype=torch.bool) if bool(t.sum().isfinite()) else t.isfinite().all(-1)


def _solve_torch(problem: Problem, start, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    pieces = Pieces(problem)
    given = None if callable(start) else pieces.rows(start)
    paths = problem.counts.new_empty(*pieces.size, len(problem.low))
    steps, done = (paths.new_zeros(pieces.size, dtype=t) for t in (torch.int32, torch.bool))
    for at, part in pieces:
        paths[at], steps[at], closed = newton(part, start(part) if given is None else given[at], max_iters, tolerance)
        wide, end = part.wide(), paths[at].double()
        here = local(wide, wide.tables, end)
        done[at] = closed & settled(wide, here, end, tolerance)
        if given is None:
            done[at] &= ~doubtful(wide, here)
    return tuple(pieces.whole(t) for t in (paths, steps, done))


def _solve_compiled(problem: Problem, start, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    from ctlib.decompose.cpu.newton import newton_pixels

    lead, num, size = problem.counts.shape[:-1], len(problem.low), problem.counts.shape[:-1].numel()
    fitted = callable(start)
    paths = problem.low.new_zeros(size, num) if fitted else start.reshape(-1, num).clone()
    steps, done = torch.zeros(size, dtype=torch.int32), torch.zeros(size, dtype=torch.bool)
    photons = torch.as_tensor(problem.photons).to(paths).expand(lead).reshape(-1)
    task = _task(problem, start if fitted else None, tolerance, RIDGE)
    arrays = (t.contiguous().numpy() for t in (photons, paths, steps, done))
    newton_pixels(task, max_iters, np.float32(FEW if fitted else 0), *arrays)
    return paths.reshape(*lead, num), steps.reshape(lead), done.reshape(lead)


def _solve_fused(problem: Problem, start, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    from ctlib.decompose.gpu import engine as kernels

    return kernels.solve(problem, start, max_iters, tolerance)


def _again(problem: Problem, start, paths, taken, done, max_iters: int, tolerance: float):
    """The results with those of pixels in doubt replaced by what the restarts find, and whether they have others."""
    pieces = Pieces(problem)
    multiple = torch.zeros_like(done)
    every = callable(start) and start.folds
    if bool(done.all()) and not every:
        return paths, taken, done, multiple
    paths, taken, done, multiple = (pieces.rows(t).clone() for t in (paths, taken, done, multiple))
    given = None if callable(start) else pieces.rows(start)
    size = RESTARTED_CUDA if fused(problem) else RESTARTED if problem.spectra.ndim == 2 else RESTARTED_OWN
    for at, part in pieces:
        for index in torch.nonzero(~done[at] | every).split(size):
            t, r = index.unbind(1)
            sub = Problem(
                part.counts[t, r], part.spectra if part.spectra.ndim == 2 else part.spectra[t, 0],
                part.attenuation, part.low, part.high, part.photons[t, r],
            ).wide()  # fmt: skip
            sub.__dict__["scale"] = part.scale.double()
            sub_paths = paths[at][t, r].double()
            if given is None:
                first = torch.where(sub_paths.isfinite(), sub_paths, sub.low.clamp_min(0).minimum(sub.high))
                candidates = torch.cat([first[None], starts(sub)])
            else:
                candidates = given[at][t, r].double()[None]
            best, steps, closed, others = _lowest(sub, candidates, max_iters, tolerance)
            paths[at][t, r], taken[at][t, r] = best.to(paths), steps
            done[at][t, r], multiple[at][t, r] = closed, others
    return tuple(pieces.whole(t) for t in (paths, taken, done, multiple))


def _lowest(problem: Problem, candidates: Tensor, max_iters: int, tolerance: float):
    if fused(problem):
        from ctlib.decompose.gpu import engine as kernels

        return lowest(problem, candidates, max_iters, tolerance, kernels.descend)
    if problem.spectra.ndim > 2 or problem.counts.device.type != "cpu" or importlib.util.find_spec("numba") is None:
        return lowest(problem, candidates, max_iters, tolerance)
    from ctlib.decompose.cpu import descent

    shared = problem.attenuation, problem.tables, problem.low, problem.high, problem.scale
    task = descent.Shared(*(t.contiguous().numpy() for t in shared), float(tolerance))
    given = (t.contiguous().numpy() for t in (problem.counts, problem.photons, candidates))
    num = len(problem.counts)
    paths, steps = torch.empty(num, len(problem.low), dtype=torch.float64), torch.empty(num, dtype=torch.int32)
    done, multiple = torch.empty(num, dtype=torch.bool), torch.empty(num, dtype=torch.bool)
    descent.lowest(task, *given, max_iters, *(t.numpy() for t in (paths, steps, done, multiple)))
    return paths, steps, done, multiple


def vjp(problem: Problem, paths: Tensor, v: Tensor, wanted=(True, True)) -> tuple[Tensor | None, Tensor | None]:
    """Gradients to the counts and to the spectra; see `implicit_vjp`."""
    pieces = Pieces(problem)
    rows_paths, rows_v = pieces.rows(paths), pieces.rows(v)
    w = None
    adjoint = _adjoint_compiled if compiled(problem) else _adjoint_fused if fused(problem) else None
    if adjoint:
        w, to_counts = (pieces.rows(t) for t in adjoint(problem, paths, v))
    else:
        to_counts = problem.counts.new_empty(*pieces.size, problem.counts.shape[-1])
    shared = problem.spectra.ndim == 2
    to_spectra = torch.zeros_like(problem.spectra) if wanted[1] else None
    own = (
        to_spectra if shared or to_spectra is None else to_spectra.view(pieces.size[0], 1, *problem.spectra.shape[-2:])
    )
    for at, part in pieces if w is None or wanted[1] else ():
        if w is None:
            to_counts[at], found = implicit_vjp(part, rows_paths[at], rows_v[at], wanted)
        else:
            found = spectra_gradient(part, rows_paths[at], w[at], to_counts[at])
        if wanted[1]:
            target = own if shared else own[at[0]]
            target += found
    return pieces.whole(to_counts), to_spectra


def _adjoint_compiled(problem: Problem, paths: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    from ctlib.decompose.cpu.newton import adjoint_pixels

    w, to_counts = torch.empty(paths.shape), torch.empty(problem.counts.shape)
    rows = (t.contiguous().reshape(-1, t.shape[-1]).numpy() for t in (paths, v, w, to_counts))
    adjoint_pixels(_task(problem), *rows)
    return w, to_counts


def _adjoint_fused(problem: Problem, paths: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    from ctlib.decompose.gpu import engine as kernels

    return kernels.adjoint(problem, paths, v)


def state(problem: Problem, paths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components held by the box (..., M), condition number (...) of the free ones' Hessian, likelihood (...)."""
    pieces = Pieces(problem)
    rows = pieces.rows(paths)
    active = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
    condition, nll = (torch.zeros(pieces.size, dtype=torch.float64, device=rows.device) for _ in range(2))
    for at, part in pieces:
        active[at], condition[at], nll[at] = describe(part.wide(), rows[at].double())
    return tuple(pieces.whole(t) for t in (active, condition, nll))


def _task(problem: Problem, start=None, tolerance: float = 0.0, ridge: float = 0.0):
    """The problem as the compiled loops take it: padded arrays and numbers in single precision."""
    from ctlib.decompose.cpu.block import STRIP, Task

    f, extra = problem.attenuation, -len(problem.attenuation) % STRIP
    tables = pad(moment_tables(f, problem.spectra), (0, 0, 0, extra))
    wide = pad(f, (0, 3 - f.shape[1], 0, extra))
    none = f.new_zeros(0, f.shape[1])
    fitted = (none, none[:, 0]) if start is None else (start.coefficients, start.open_beam)
    counts = problem.counts.reshape(-1, problem.counts.shape[-1])
    tensors = counts, wide, tables, problem.low, problem.high, problem.scale, *fitted
    numbers = (np.float32(v) for v in (tolerance, LIMIT, NEAR, ridge))
    return Task(*(t.contiguous().numpy() for t in tensors), *numbers, NUM_FAR)
