"""What runs the layer: compiled loops for float32 on a CPU with one response for all pixels, torch for the rest."""

import importlib.util
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib.decompose.gradient import describe, implicit_vjp, spectra_gradient
from ctlib.decompose.newton import LIMIT, NEAR, NUM_FAR, RIDGE, Problem, newton
from ctlib.physics.moments import moment_tables

STRIP = 8  # as in `cpu.newton`
PIXELS, PIXELS_CUDA = 2048, 1 << 18  # pixels worked on at a time by torch


def compiled(problem: Problem) -> bool:
    """Whether the compiled engine takes this problem."""
    y, shared = problem.counts, problem.spectra.ndim == 2
    fits = y.device.type == "cpu" and y.dtype == torch.float32 and shared and problem.attenuation.shape[1] in (2, 3)
    return fits and y.numel() > 0 and importlib.util.find_spec("numba") is not None


def solve(problem: Problem, start, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Path lengths, number of steps, and whether each pixel converged; start: path lengths or a `PolynomialStart`."""
    if compiled(problem):
        return _solve_compiled(problem, start, max_iters, tolerance)
    parts = [newton(p, start(p) if callable(start) else a, max_iters, tolerance) for p, a in _parts(problem, start)]
    return tuple(_whole(t, problem) for t in zip(*parts, strict=True))


def _parts(problem: Problem, *with_it):
    """The problem, and tensors that go with it pixel by pixel, in pieces of a size that fits the caches.

    Where pixels have spectra of their own they stay together, as their leading axes say which is whose.
    """
    if problem.spectra.ndim > 2:
        yield problem, *with_it
        return
    size = PIXELS if problem.counts.device.type == "cpu" else PIXELS_CUDA
    flat = [
        t.reshape(-1, t.shape[-1]).split(size) if isinstance(t, Tensor) else None for t in (problem.counts, *with_it)
    ]
    for k, counts in enumerate(flat[0]):
        yield replace(problem, counts=counts), *(None if f is None else f[k] for f in flat[1:])


def _whole(pieces, problem: Problem) -> Tensor:
    """Pieces of `_parts` put together again, with the problem's leading axes."""
    lead = problem.counts.shape[:-1]
    joined = torch.cat(list(pieces)) if len(pieces) > 1 else pieces[0]
    own = joined.shape[len(lead) if problem.spectra.ndim > 2 else 1 :]
    return joined.reshape((*lead, *own))


def _solve_compiled(problem: Problem, start, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    from ctlib.decompose.cpu.newton import newton_pixels

    lead, num, size = problem.counts.shape[:-1], len(problem.low), problem.counts.shape[:-1].numel()
    fitted = callable(start)
    paths = problem.low.new_zeros(size, num) if fitted else start.reshape(-1, num).clone()
    steps, done = torch.zeros(size, dtype=torch.int32), torch.zeros(size, dtype=torch.bool)
    task = _task(problem, start if fitted else None, tolerance, RIDGE)
    newton_pixels(task, max_iters, *(t.numpy() for t in (paths, steps, done)))
    return paths.reshape(*lead, num), steps.reshape(lead), done.reshape(lead)


def vjp(problem: Problem, paths: Tensor, v: Tensor, wanted=(True, True)) -> tuple[Tensor | None, Tensor | None]:
    """Gradients to the counts and to the spectra; see `implicit_vjp`."""
    if not compiled(problem):
        parts = [implicit_vjp(p, a, b, wanted) for p, a, b in _parts(problem, paths, v)]
        return _whole([p[0] for p in parts], problem), sum(p[1] for p in parts) if wanted[1] else None
    w, to_counts = _adjoint_compiled(problem, paths, v)
    if not wanted[1]:
        return to_counts, None
    return to_counts, sum(spectra_gradient(*piece) for piece in _parts(problem, paths, w, to_counts))


def _adjoint_compiled(problem: Problem, paths: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    from ctlib.decompose.cpu.newton import adjoint_pixels

    w, to_counts = torch.empty(paths.shape), torch.empty(problem.counts.shape)
    rows = (t.contiguous().reshape(-1, t.shape[-1]).numpy() for t in (paths, v, w, to_counts))
    adjoint_pixels(_task(problem), *rows)
    return w, to_counts


def state(problem: Problem, paths: Tensor) -> tuple[Tensor, Tensor]:
    """Components held by the box (..., M), and the condition number (...) of the free ones' Hessian."""
    parts = [describe(p, a) for p, a in _parts(problem, paths)]
    return tuple(_whole(t, problem) for t in zip(*parts, strict=True))


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
