"""What runs the layer: loops compiled for the CPU or fused for a GPU where they take the problem, torch for the rest.

Whatever ran, `solve` calls a pixel converged only where the path lengths are finite, the last step was short and the
likelihood is stationary there; pixels in doubt are solved again by `restart`.
"""

import importlib
import importlib.util
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from ctlib.decompose.few import counting
from ctlib.decompose.gradient import describe, implicit_vjp, spectra_gradient
from ctlib.decompose.newton import Problem, newton
from ctlib.decompose.pieces import Pieces
from ctlib.decompose.restart import doubtful, local, lowest, settled, starts
from ctlib.decompose.start import AT_ONCE, content, distinct, restored

FIRST = 12  # Newton steps before a pixel without a start of its own is in doubt
RESTARTED, RESTARTED_OWN = 1024, 64  # pixels that are solved again at a time, and those with spectra of their own
RESTARTED_CUDA = 1 << 14  # and those that kernels solve


def kernels(problem: Problem):
    """The module whose loops take this problem, compiled for the CPU or fused for a CUDA device; None: torch does."""
    module = _module(problem.counts.device.type)
    return module if module and problem.counts.numel() and module.fits(problem) else None


@lru_cache(maxsize=8)
def _module(device_type: str):
    package, folder = {"cpu": ("numba", "cpu"), "cuda": ("triton", "gpu")}.get(device_type, (None, None))
    if package is None or importlib.util.find_spec(package) is None:
        return None
    return importlib.import_module(f"ctlib.decompose.{folder}.engine")


def loops(problem: Problem, start):
    """Loops that take readings of any number of such pixels, from this `PolynomialStart`; None where there are none."""
    return getattr(kernels(problem), "Readings", lambda *_: None)(problem, start)


def solve(
    problem: Problem, start, max_iters: int, tolerance: float, found=None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Path lengths, number of steps, whether each pixel converged, and whether it has other minima.

    start  path lengths, then the minimum near them is meant; or a `PolynomialStart`, then the lowest
    found  what `loops` have found: path lengths, steps, and where they are beyond doubt
    """
    valid, every = _finite(problem.counts), all_counting(problem.spectra)
    if valid is not None or not every:
        alive = counting(problem.spectra)
        counts = torch.where(alive, problem.counts, 0.0)
        if valid is not None:
            counts = torch.where(valid[..., None], counts, problem.spectra.sum(-2))
        problem = replace(problem, counts=counts)
    if found is None:
        first = getattr(kernels(problem), "solve", _solve_torch)
        found = first(problem, start, min(max_iters, FIRST) if callable(start) else max_iters, tolerance)
    paths, taken, done = found
    if valid is not None:
        done = done | ~valid
    paths, taken, done, multiple = _again(problem, start, paths, taken, done, max_iters, tolerance)
    if problem.spectra.ndim > 2:
        each = problem.spectra.reshape(-1, *problem.spectra.shape[-2:]).split(AT_ONCE)
        enough = torch.cat([distinct(some, paths.shape[-1]) for some in each])
        done = done & enough.reshape(problem.spectra.shape[:-2])
    if valid is not None:
        paths, done, multiple = torch.where(valid[..., None], paths, torch.nan), done & valid, multiple & valid
    sound = _finite(paths)
    return paths, taken, done if sound is None else done & sound, multiple


def all_counting(spectra: Tensor) -> bool:
    """Whether all bins count something of the spectrum."""
    return _all_of(content(spectra)) if spectra.ndim == 2 else bool(counting(spectra).all())


@lru_cache(maxsize=32)
def _all_of(spectra: tuple) -> bool:
    return bool(counting(restored(spectra)).all())


def _finite(t: Tensor) -> Tensor | None:
    """Where all entries of the last axis are finite; None: everywhere, which one sum tells."""
    return None if bool(t.sum().isfinite()) else t.isfinite().all(-1)


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


def _again(problem: Problem, start, paths, taken, done, max_iters: int, tolerance: float):
    """The results with those of pixels in doubt replaced by what the restarts find, and whether they have others."""
    multiple = torch.zeros_like(done)
    every = callable(start) and start.folds
    if not every and bool(done.all()):
        return paths, taken, done, multiple
    pieces = Pieces(problem)
    paths, taken, done, multiple = (pieces.rows(t).clone() for t in (paths, taken, done, multiple))
    given = None if callable(start) else pieces.rows(start)
    size = RESTARTED if problem.spectra.ndim == 2 else RESTARTED_OWN
    if problem.counts.device.type == "cuda" and kernels(problem):
        size = RESTARTED_CUDA
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
    if module := kernels(problem):  # those of a GPU, which take double precision too
        return lowest(problem, candidates, max_iters, tolerance, module.descend)
    module = _module(problem.counts.device.type) if problem.spectra.ndim == 2 else None
    return getattr(module, "lowest", lowest)(problem, candidates, max_iters, tolerance)


def vjp(problem: Problem, paths: Tensor, v: Tensor, wanted=(True, True)) -> tuple[Tensor | None, Tensor | None]:
    """Gradients to the counts and to the spectra; see `implicit_vjp`."""
    module = kernels(problem)
    w, to_counts = module.adjoint(problem, paths, v) if module else (None, None)
    if module and not wanted[1]:
        return to_counts, None
    pieces = Pieces(problem)
    rows_paths, rows_v = pieces.rows(paths), pieces.rows(v)
    if module:
        w, to_counts = pieces.rows(w), pieces.rows(to_counts)
    else:
        to_counts = problem.counts.new_empty(*pieces.size, problem.counts.shape[-1])
    shared = problem.spectra.ndim == 2
    to_spectra = torch.zeros_like(problem.spectra) if wanted[1] else None
    own = (
        to_spectra if shared or to_spectra is None else to_spectra.view(pieces.size[0], 1, *problem.spectra.shape[-2:])
    )
    for at, part in pieces:
        if w is None:
            to_counts[at], found = implicit_vjp(part, rows_paths[at], rows_v[at], wanted)
        else:
            found = spectra_gradient(part, rows_paths[at], w[at], to_counts[at])
        if wanted[1]:
            target = own if shared else own[at[0]]
            target += found
    return pieces.whole(to_counts), to_spectra


def state(problem: Problem, paths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components held by the box (..., M), condition number (...) of the free ones' Hessian, likelihood (...)."""
    pieces = Pieces(problem)
    rows = pieces.rows(paths)
    active = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
    condition, nll = (torch.zeros(pieces.size, dtype=torch.float64, device=rows.device) for _ in range(2))
    for at, part in pieces:
        active[at], condition[at], nll[at] = describe(part.wide(), rows[at].double())
    return tuple(pieces.whole(t) for t in (active, condition, nll))
