"""The compiled loops as the layer calls them: tensors to arrays, and rules for sums over energies, kept."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ctlib.cpu.threads import share
from ctlib.decompose.cpu import descent
from ctlib.decompose.cpu.block import Task
from ctlib.decompose.cpu.pixels import AT_ONCE, adjoint_pixels, newton_pixels
from ctlib.decompose.cpu.rule import Rule, strips
from ctlib.decompose.newton import LIMIT, NEAR, NUM_FAR, RIDGE, Problem
from ctlib.decompose.restart import FEW
from ctlib.decompose.start import PolynomialStart, content, restored

NUMBERS = *map(np.float32, (LIMIT, NEAR, RIDGE)), NUM_FAR


def fits(problem: Problem) -> bool:
    """Whether the loops take this problem: float32 on a CPU, one response for all pixels, two or three materials."""
    y, materials = problem.counts, problem.attenuation.shape[1]
    return y.device.type == "cpu" and y.dtype == torch.float32 and problem.spectra.ndim == 2 and materials in (2, 3)


def solve(problem: Problem, start, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Path lengths, steps, and where they are beyond doubt; from a `PolynomialStart` or path lengths."""
    lead, num, size = problem.counts.shape[:-1], len(problem.low), problem.counts.shape[:-1].numel()
    fitted = isinstance(start, PolynomialStart)
    paths = problem.low.new_empty(size, num) if fitted else start.reshape(-1, num).clone()
    steps, done = torch.empty(size, dtype=torch.int32), torch.empty(size, dtype=torch.bool)
    shared = _shared(problem)
    first = _first(start if fitted else None, content(problem.attenuation))
    arrays = paths.numpy(), steps.numpy(), done.numpy()
    task, doubt = _task(problem, shared, first, tolerance), np.float32(FEW if fitted else 0)
    share(newton_pixels, _items(size), task, shared.fine, first.rough, max_iters, doubt, *arrays)
    return paths.reshape(*lead, num), steps.reshape(lead), done.reshape(lead)


def adjoint(problem: Problem, paths: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """`adjoint_solution` for v, and the gradient to the counts."""
    w, to_counts = paths.new_empty(paths.shape), problem.counts.new_empty(problem.counts.shape)
    rows = [t.contiguous().reshape(-1, t.shape[-1]).numpy() for t in (paths, v, w, to_counts)]
    shared = _shared(problem)
    task = _task(problem, shared, _first(None, content(problem.attenuation)), 0.0)
    share(adjoint_pixels, _items(len(rows[0])), task, shared.fine, *rows)
    return w, to_counts


class Readings:
    """The loops for readings as they come, of one response, box and `PolynomialStart`; photons () are those of all."""

    def __init__(self, problem: Problem, start: PolynomialStart):
        self.shared, self.first = _shared(problem), _first(start, content(problem.attenuation))
        self.later = _first(None, content(problem.attenuation))

    def solve(self, counts: Tensor, photons: Tensor, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
        """Path lengths (..., M), steps, and where they are beyond doubt, of readings (..., E)."""
        lead = counts.shape[:-1]
        paths, steps = counts.new_empty(*lead, len(self.shared.materials)), torch.empty(lead, dtype=torch.int32)
        done = torch.empty(lead, dtype=torch.bool)
        arrays = (t.reshape(-1, *t.shape[len(lead) :]).numpy() for t in (paths, steps, done))
        task = _task_of(_rows(counts), photons.reshape(1, 1), 1, self.shared, self.first, tolerance)
        rules = self.shared.fine, self.first.rough
        share(newton_pixels, _items(steps.numel()), task, *rules, max_iters, np.float32(FEW), *arrays)
        return paths, steps, done

    def adjoint(self, counts: Tensor, photons: Tensor, paths: Tensor, v: Tensor) -> Tensor:
        """v^T dA/dcounts (..., E)."""
        to_counts = torch.empty(counts.shape, dtype=counts.dtype)
        task = _task_of(_rows(counts), photons.reshape(1, 1), 1, self.shared, self.later, 0.0)
        flat = paths.reshape(-1, paths.shape[-1])
        rows = (t.numpy() for t in (flat, _rows(v), flat[:0], to_counts.view(-1, counts.shape[-1])))
        share(adjoint_pixels, _items(len(flat)), task, self.shared.fine, *rows)
        return to_counts


def lowest(problem: Problem, candidates: Tensor, max_iters: int, tolerance: float):
    """`restart.lowest`, pixel by pixel."""
    shared = problem.attenuation, problem.tables, problem.low, problem.high, problem.scale
    task = descent.Shared(*(t.contiguous().numpy() for t in shared), float(tolerance))
    given = (t.contiguous().numpy() for t in (problem.counts, problem.photons, candidates))
    num = len(problem.counts)
    paths, steps = torch.empty(num, len(problem.low), dtype=torch.float64), torch.empty(num, dtype=torch.int32)
    done, multiple = torch.empty(num, dtype=torch.bool), torch.empty(num, dtype=torch.bool)
    share(descent.lowest, num, task, *given, max_iters, *(t.numpy() for t in (paths, steps, done, multiple)))
    return paths, steps, done, multiple


def _items(pixels: int) -> int:
    return -(-pixels // AT_ONCE)


def _task(problem: Problem, shared: "_Shared", first: "_First", tolerance: float) -> Task:
    photons = torch.as_tensor(problem.photons).to(problem.counts)
    photons = photons.expand(problem.counts.shape[:-1]) if photons.ndim else photons
    return _task_of(_rows(problem.counts), photons.reshape(-1, 1), 0, shared, first, tolerance)


def _rows(t: Tensor) -> Tensor:
    """(P, .) of a tensor (..., .); (1, .) where all its rows are one."""
    if t.ndim > 1 and not any(t.stride()[:-1]):
        return t[(0,) * (t.ndim - 1)].reshape(1, -1).contiguous()
    return t.reshape(-1, t.shape[-1]).contiguous()


def _task_of(
    counts: Tensor, photons: Tensor, readings: int, shared: "_Shared", first: "_First", tolerance: float
) -> Task:
    return Task(
        shared.materials,
        counts.numpy(),
        photons.contiguous().numpy(),
        readings,
        *shared.box,
        first.coefficients,
        first.open_beam,
        np.float32(tolerance),
        *NUMBERS,
    )


class _Shared(NamedTuple):
    """What all pixels have in common: the rule of all energies; low, high and scale of three materials."""

    materials: tuple[int, ...]
    fine: Rule
    box: tuple[tuple[np.float32, ...], ...]


def _shared(problem: Problem) -> _Shared:
    return _kept(*map(content, (problem.spectra, problem.attenuation, problem.low, problem.high)))


@lru_cache(maxsize=32)
def _kept(*values: tuple) -> _Shared:
    spectra, f, low, high = (restored(v) for v in values)
    scale = Problem(spectra[:0], spectra, f, low, high).scale
    box = tuple(tuple(map(np.float32, (*t.tolist(), 0.0)[:3])) for t in (low, high, scale))
    return _Shared(tuple(range(len(low))), strips(f.numpy(), spectra.numpy()), box)


class _First(NamedTuple):
    """The polynomial, and the rule of the few energies for the first steps; empty where a start is given."""

    coefficients: np.ndarray
    open_beam: np.ndarray
    rough: Rule


@lru_cache(maxsize=32)
def _first(start: PolynomialStart | None, attenuation: tuple) -> _First:
    f = restored(attenuation).numpy()
    few = np.zeros((len(f), 1)) if start is None or start.few is None else start.few.numpy()
    if start is None:
        return _First(np.empty((0, 0), np.float32), np.empty(0, np.float32), strips(f, few))
    return _First(start.coefficients.contiguous().numpy(), start.open_beam.contiguous().numpy(), strips(f, few))
