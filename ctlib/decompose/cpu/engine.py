"""The compiled loops as the layer calls them: tensors to arrays, and rules for sums over energies, kept."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ctlib.cpu.threads import share
from ctlib.decompose.cpu import descent
from ctlib.decompose.cpu.packed import Packed, pack
from ctlib.decompose.cpu.pixels import AT_ONCE, adjoint_pixels, newton_pixels
from ctlib.decompose.cpu.rule import strips
from ctlib.decompose.newton import LIMIT, NEAR, NUM_FAR, RIDGE, Problem
from ctlib.decompose.restart import FEW
from ctlib.decompose.start import PolynomialStart, content, restored

DOUBT = np.float32(FEW)


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
    arrays = paths.numpy(), steps.numpy(), done.numpy()
    given = *_given(problem, tolerance), *_packed(problem, start if fitted else None)
    share(newton_pixels, _items(size), *given, max_iters, DOUBT if fitted else np.float32(0), *arrays)
    return paths.reshape(*lead, num), steps.reshape(lead), done.reshape(lead)


def adjoint(problem: Problem, paths: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """`adjoint_solution` for v, and the gradient to the counts."""
    w, to_counts = paths.new_empty(paths.shape), problem.counts.new_empty(problem.counts.shape)
    rows = [t.contiguous().reshape(-1, t.shape[-1]).numpy() for t in (paths, v, w, to_counts)]
    share(adjoint_pixels, _items(len(rows[0])), *_given(problem, 0.0), *_packed(problem, None), *rows)
    return w, to_counts


class Readings:
    """The loops for readings as they come, of one response, box and `PolynomialStart`; photons () are those of all."""

    def __init__(self, problem: Problem, start: PolynomialStart):
        self.first, self.later = _packed(problem, start), _packed(problem, start, True)

    def solve(self, counts: Tensor, photons: Tensor, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
        """Path lengths (..., M), steps, and where they are beyond doubt, of readings (..., E)."""
        lead, num = counts.shape[:-1], len(self.first.materials)
        paths, steps = torch.empty(*lead, num, dtype=counts.dtype), torch.empty(lead, dtype=torch.int32)
        done = torch.empty(lead, dtype=torch.bool)
        arrays = paths.view(-1, num).numpy(), steps.view(-1).numpy(), done.view(-1).numpy()
        given = *_readings(counts, photons, tolerance), *self.first
        share(newton_pixels, _items(len(arrays[1])), *given, max_iters, DOUBT, *arrays)
        return paths, steps, done

    def adjoint(self, counts: Tensor, photons: Tensor, paths: Tensor, v: Tensor) -> Tensor:
        """v^T dA/dcounts (..., E)."""
        to_counts, flat = torch.empty(counts.shape, dtype=counts.dtype), paths.reshape(-1, paths.shape[-1]).numpy()
        rows = flat, _rows(v).numpy(), flat[:0], to_counts.view(-1, counts.shape[-1]).numpy()
        share(adjoint_pixels, _items(len(flat)), *_readings(counts, photons, 0.0), *self.later, *rows)
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


def _given(problem: Problem, tolerance: float) -> tuple:
    """y, photons, readings and tolerance of a `Task`."""
    photons = torch.as_tensor(problem.photons).to(problem.counts)
    photons = photons.expand(problem.counts.shape[:-1]) if photons.ndim else photons
    return _rows(problem.counts).numpy(), photons.reshape(-1, 1).contiguous().numpy(), 0, np.float32(tolerance)


def _readings(counts: Tensor, photons: Tensor, tolerance: float) -> tuple:
    """The same of readings, with photons ()."""
    return _rows(counts).numpy(), photons.view(1, 1).numpy(), 1, np.float32(tolerance)


def _rows(t: Tensor) -> Tensor:
    """(P, .) of a tensor (..., .); (1, .) where all its rows are one."""
    if t.ndim > 1 and not any(t.stride()[:-1]):
        return t[(0,) * (t.ndim - 1)].reshape(1, -1).contiguous()
    return t.reshape(-1, t.shape[-1]).contiguous()


def _packed(problem: Problem, start: PolynomialStart | None, back: bool = False) -> Packed:
    return _kept(start, back, *map(content, (problem.spectra, problem.attenuation, problem.low, problem.high)))


@lru_cache(maxsize=32)
def _kept(start: PolynomialStart | None, back: bool, *values: tuple) -> Packed:
    """Two rules, and what all pixels share.

    The first is of the energies that stand for all where a start knows them. The second is of the few for the first
    steps, none where a start is given; for the way back it is that of all energies.
    """
    spectra, f, low, high = (restored(v) for v in values)
    scale, num = Problem(spectra[:0], spectra, f, low, high).scale, len(low)
    fine, few = spectra, np.zeros((len(f), 1))
    least, most = torch.full((2, num), torch.inf) * torch.tensor([[-1.0], [1.0]])
    first = np.empty((0, num)), np.empty(0)
    if start is not None:
        first = start.coefficients, start.open_beam
        few = few if start.few is None else start.few.numpy()
        if start.fine is not None:
            fine, least, most = start.fine.spectra, start.fine.low, start.fine.high
    ends = [n for t in (low, high, scale) for n in (*t.tolist(), 0.0)[:3]]
    numbers = *ends, LIMIT, NEAR, RIDGE, *(n for t in (least, most) for n in (*t.tolist(), 0.0)[:3])
    rules = strips(f.numpy(), fine.numpy()), strips(f.numpy(), spectra.numpy() if back else few)
    return pack(tuple(range(num)), numbers, NUM_FAR, *first, *rules)
