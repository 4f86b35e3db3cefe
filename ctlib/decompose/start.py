"""A start for the solver: a quadratic polynomial of the log counts, fitted once to noiseless samples."""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ctlib.decompose.few import ROUGH, StandIn, counting, few_energies
from ctlib.decompose.newton import Problem
from ctlib.errors import ArgumentError
from ctlib.physics.moments import moment_tables, moments, transmission

DARKEST = 1e-6  # transmissions below it are taken as this
ALIKE, ALIKE_SQUARED = 1e-7, 1e-12  # smaller shares of what is left of a column, given the others, are rounding
AT_ONCE = 1024  # spectra that are compared at a time
DEEPEST, BRIGHTEST = 18.0, -3.0  # optical depths of one material alone from which on nothing is sampled
GLARING = -20.0  # the same for energies that stand for all: noise of dark pixels reaches further


def log_features(counts: Tensor, open_beam: Tensor) -> Tensor:
    """Monomials (..., F) up to degree two of l_i = -log(counts_i / open beam_i), no count at all as 1e-6."""
    l = -torch.log((counts / open_beam).clamp_min(DARKEST))
    rows, cols = torch.triu_indices(l.shape[-1], l.shape[-1])
    return torch.cat([torch.ones_like(l[..., :1]), l, l[..., rows] * l[..., cols]], -1)


def sample_paths(low: Tensor, high: Tensor) -> Tensor:
    """A regular grid (P, M) over the part of a box from a little below zero upwards, finer towards zero."""
    num = {1: 200, 2: 32, 3: 12}.get(len(low), 6)
    t = torch.linspace(0, 1, num).to(low)
    axes = [a + (b - a) * t**2 for a, b in zip(torch.maximum(low, -0.05 * high), high, strict=True)]
    return torch.cartesian_prod(*axes).reshape(-1, len(low))


def reach(
    spectra: Tensor, attenuation: Tensor, low: Tensor, high: Tensor, brightest: float = BRIGHTEST
) -> tuple[Tensor, Tensor]:
    """The part of the box (M,), (M,) where one material alone leaves something to count, and no more than a source."""
    weights = spectra.sum(-1, keepdim=True).log()

    def bisect(limit):
        """Where the optical depth passes the limit, as an interval inside the box."""
        a, b = low, high
        for _ in range(60):
            middle = (a + b) / 2
            deep = weights.logsumexp(0) - (weights - attenuation * middle).logsumexp(0) > limit
            a, b = torch.where(deep, a, middle), torch.where(deep, middle, b)
        return a, b

    least, most = bisect(brightest)[1], bisect(DEEPEST)[1]
    least = torch.where(least < high, least, low)
    return least, torch.where(most > least, most, high)


@dataclass(frozen=True, eq=False)
class PolynomialStart:
    """A quadratic polynomial of the log counts: coefficients (F, M), F of `log_features`; open_beam (E,).

    folds  the model has as many bins as materials and gives two path lengths the same counts somewhere in the box
    few    spectra (N, E) of a few energies that stand for all, for the first steps
    fine   those that stand for all to the end, in float32; for spectra that a model keeps, whose start this is
    """

    coefficients: Tensor
    open_beam: Tensor
    folds: bool = False
    few: Tensor | None = None
    fine: StandIn | None = None

    def to(self, like: Tensor) -> "PolynomialStart":
        """The same in another dtype and on another device; `fine` is for compiled loops on a CPU, and stays."""
        few = None if self.few is None else self.few.to(like)
        return replace(self, coefficients=self.coefficients.to(like), open_beam=self.open_beam.to(like), few=few)

    def __call__(self, problem: Problem) -> Tensor:
        """Path lengths (..., M) inside the problem's box, and not negative unless the box is."""
        features = log_features(problem.counts, self.open_beam)
        least = torch.minimum(problem.low.clamp_min(0), problem.high)
        return (features @ self.coefficients).clamp(least, problem.high)


def fit_start(spectra: Tensor, attenuation: Tensor, low: Tensor, high: Tensor) -> PolynomialStart:
    """The polynomial for spectra (N, E), fitted in float64; the last ones are kept, known by the values of all four.

    Least squares over the box; samples count with the square root of their transmission, so dark ones weigh little.
    """
    return _fitted_as(spectra.dtype, spectra.device, *map(content, (spectra, attenuation, low, high)))


def content(t: Tensor) -> tuple:
    """What tells one tensor's values from another's, to keep results by."""
    t = t.detach().to("cpu").contiguous()
    return t.numpy().tobytes(), tuple(t.shape), t.dtype


def restored(kept: tuple) -> Tensor:
    """The tensor of a `content`, float64."""
    values, shape, dtype = kept
    return (
        torch.frombuffer(bytearray(values), dtype=dtype).reshape(shape).double()
        if values
        else torch.empty(shape, dtype=torch.float64)
    )


@lru_cache(maxsize=32)
def _fitted_as(dtype, device, *kept) -> PolynomialStart:
    return PolynomialStart(*_fitted(*kept)).to(torch.empty(0, dtype=dtype, device=device))


@lru_cache(maxsize=32)
def _fitted(*values) -> tuple[Tensor, Tensor, bool, Tensor | None]:
    spectra, f, low, high = (restored(v) for v in values)
    paths, alive = sample_paths(*reach(spectra, f, low, high)), counting(spectra)
    counts, jacobian, _ = moments(paths, f, moment_tables(f, spectra))
    open_beam = torch.where(alive, spectra.sum(0), 1.0)
    used = log_features(torch.where(alive, DARKEST, 1.0).to(f), torch.ones_like(open_beam)) != 0
    features, weight = log_features(counts, open_beam) * used, (counts.sum(-1) / spectra.sum()).sqrt()
    weighted = features.T * weight
    ridge = 1e-9 * torch.eye(features.shape[1]).to(features)
    return (
        torch.linalg.solve(weighted @ features + ridge, weighted @ paths),
        open_beam,
        _folds(jacobian[..., alive]),
        few_energies(spectra, transmission(paths, f), counts, ROUGH),
    )


def _folds(jacobian: Tensor) -> bool:
    """Whether the determinant of square Jacobians (P, M, M) has both signs."""
    if jacobian.shape[-1] != jacobian.shape[-2]:
        return False
    det = torch.linalg.det(normalize(jacobian, dim=-1))
    return bool((det > 1e-6).any() and (det < -1e-6).any())


def check_determined(spectra: Tensor, attenuation: Tensor, names) -> None:
    """ArgumentError where no counts could tell the materials apart: too few bins that tell something, or alike ones.

    spectra (..., N, E) of the bins, attenuation (N, M) in float64
    """
    if spectra.ndim == 2:
        _determined(content(spectra), content(attenuation), tuple(names))
    elif spectra.numel():
        _refuse_alike(spectra.detach(), attenuation, tuple(names))


@lru_cache(maxsize=32)
def _determined(spectra, attenuation, names) -> None:
    _refuse_alike(restored(spectra), restored(attenuation), names)


def _refuse_alike(spectra: Tensor, attenuation: Tensor, names: tuple[str, ...]) -> None:
    num, most = len(names), int(counting(spectra).sum(-1).max())
    if most < num:
        given = f"{most} bins that count photons of this spectrum"
        raise ArgumentError("thresholds_kev", given, f"at least {num} such bins for {', '.join(names)}")
    each = spectra.reshape(-1, *spectra.shape[-2:])
    seen = each.mean((0, 2)).double()
    values = torch.linalg.svdvals(normalize(attenuation.to(seen.device) * seen.sqrt()[:, None], dim=0))
    if len(seen) < num or bool(values[-1] <= ALIKE * values[0]):
        raise ArgumentError("materials", ", ".join(names), "ones of which none attenuates as the others do together")
    if not any(bool(distinct(some, num).any()) for some in each.split(AT_ONCE)):
        raise ArgumentError("thresholds_kev", "bins that count the same shares", f"{num} bins that differ")


def distinct(spectra: Tensor, num: int) -> Tensor:
    """Whether num of the bins (...) at least count different shares of the spectrum (..., N, E)."""
    unit = normalize(spectra.double(), dim=-2) * counting(spectra)[..., None, :]
    return (torch.linalg.eigvalsh(unit.mT @ unit) > ALIKE_SQUARED).sum(-1) >= num
