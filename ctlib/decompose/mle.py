"""Maximum-likelihood material decomposition as a differentiable layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose import direct
from ctlib.decompose.fixed import Fixed, fixed_for
from ctlib.decompose.gradient import implicit_jvp
from ctlib.decompose.layer import Adjoint, Settings, Solution
from ctlib.decompose.newton import Problem
from ctlib.decompose.start import PolynomialStart, check_determined, fit_start
from ctlib.errors import ArgumentError
from ctlib.implicit import attach
from ctlib.physics.model import SpectralModel


@dataclass(frozen=True)
class Decomposition:
    """What the solver says about every pixel.

    converged   (...) bool: finite, the last step below the tolerance, the likelihood stationary. Where it is not, the
                gradient of the pixel is 0
    iterations  (...) int32: Newton steps taken, from the start that won, those on a few energies among them
    active      (..., M) bool: held by the box, gradient 0 there
    condition   (...) condition number of the Hessian of the free components, scaled to a unit diagonal; inf where it is
                not positive definite (a fold of the model) or singular: the gradient of such a pixel is 0
    nll         (...) float64: the likelihood's negative logarithm at the solution, {eq}`pcct-nll`
    multiple    (...) bool: other starts ended in another minimum; looked for below 5000 counts a pixel, and in all
                pixels where a model with as many bins as materials folds, never with a start of the caller's
    clipped     (...) bool: a negative reading was taken as 0
    """

    converged: Tensor
    iterations: Tensor
    active: Tensor
    condition: Tensor
    nll: Tensor
    multiple: Tensor
    clipped: Tensor


def decompose_mle(
    model: SpectralModel,
    counts: Tensor,
    box=((-5, 35), (-5, 10)),
    max_iters: int = 200,
    thresholds_kev=None,
    return_info: bool = False,
    start: Tensor | None = None,
    tolerance: float | None = None,
):
    r"""Path lengths (..., M) [g/cm2] that make the counts (..., E) most likely, {eq}`pcct-mle`, {cite}`wang2026`.

        A* = argmin over the box of sum_i lambda_i(A) - gamma_i log lambda_i(A)

    Newton's method, Fisher scoring where the Hessian is not positive definite, with steps of at most four units of
    optical depth. Pixels of few counts, whose likelihood may have several minima, and misfits are solved from 3 M - 1
    starts, and the lowest minimum wins. The gradient is that of the implicit function theorem: it reaches counts,
    thresholds and the model's spectrum, photons, gain and detector, does not depend on the iterations, and is 0 for
    components that the box holds. Differentiable any number of times; `torch.func` (vjp, jvp, vmap over counts, jacrev)
    works.

    model           the forward model; thresholds_kev (E + 1,) or (..., E + 1) overrides its own
    counts          float32 or float64. A negative reading counts as 0 (gradient 0, flagged); a pixel with NaN or
                    infinite ones has NaN path lengths, has not converged, and its gradient is 0; one without any
                    counts ends on the box. A bin that can count nothing is left out.
    box             (low, high) [g/cm2] of every material
    max_iters       most Newton steps from one start; a pixel stops by itself at `tolerance` (optical depth, default
                    2e-4 in float32 and 1e-7 in float64, after which the error is its square or the rounding)
    start           path lengths to start from, such as the last solution: the minimum near them is found. By default
                    a polynomial of the log counts, and where in doubt others
    return_info     also return a `Decomposition`. Without it, ConvergenceError where a pixel has not converged

    ArgumentError where fewer bins than materials tell anything, or materials attenuate alike.
    """
    wanted = model.requires_grad
    photons, fixed = _given(model, counts, box, max_iters, wanted)
    tolerance, known = _tolerance(tolerance, counts), start is None and thresholds_kev is None and not wanted
    if known and not return_info and direct.takes(counts, photons, fixed):
        return direct.solve(counts, photons, fixed, max_iters, tolerance)
    problem = _problem(model, counts, photons, fixed, thresholds_kev)
    given = None if start is None else _checked_start(start, problem)
    settings = Settings(
        tuple(m.name for m in model.materials), max_iters, tolerance, bool(return_info),
        fixed.start if known else None,
    )  # fmt: skip
    usual, box = None if known else usual_spectra(model, counts), (problem.low, problem.high)
    paths, done, *info = Solution.apply(
        problem.counts, problem.spectra, problem.photons, given, usual, fixed.attenuation, *box, settings
    )
    out = attach(paths, _vjp, problem.counts, problem.spectra, done, problem.attenuation, *box, jvp=_jvp)
    if not return_info:
        return out
    steps, multiple, active, condition, nll = info
    return out, Decomposition(done, steps, active, condition, nll, multiple, (counts.detach() < 0).any(-1))


def _vjp(paths, v, wanted, counts, spectra, done, *setup):
    """The layer's gradient as `attach` wants it; 0 where a pixel has not converged."""
    to_counts, to_spectra = Adjoint.apply(paths, v, counts, spectra, done, *setup, tuple(wanted[:2]))
    return to_counts, to_spectra if wanted[1] else None, None, None, None, None


def _jvp(paths, tangents, counts, spectra, done, *setup):
    paths, counts = (torch.where(done[..., None], t, 0.0) for t in (paths, counts))
    moved = implicit_jvp(Problem(counts, spectra, *setup), paths, *tangents[:2])
    return torch.where(done[..., None], moved, 0.0)


def posed(model: SpectralModel, counts: Tensor, box, max_iters: int, thresholds_kev) -> Problem:
    """The problem in units of one incident photon, after checks of every argument; negative counts taken as 0."""
    given = _given(model, counts, box, max_iters, model.requires_grad)
    return _problem(model, counts, *given, thresholds_kev)


def _given(model: SpectralModel, counts: Tensor, box, max_iters: int, wanted: bool) -> tuple[Tensor, Fixed]:
    """Photons, and what does not depend on the counts, after the checks of both."""
    contract.tensor("counts", counts, (model.num_bins,))
    contract.count("max_iters", max_iters, 1)
    return model.photons_as(counts), fixed_for(model, counts, box, wanted)


def _problem(model: SpectralModel, counts: Tensor, photons: Tensor, fixed: Fixed, thresholds_kev) -> Problem:
    spectra = fixed.spectra if thresholds_kev is None else model.bin_spectra(thresholds_kev, counts)
    _check_spread(photons, spectra, counts)
    counts = direct.per_photon(counts, photons)
    return Problem(counts, spectra, fixed.attenuation.to(counts), fixed.low, fixed.high, photons.detach())


def _check_spread(photons: Tensor, spectra: Tensor, counts: Tensor) -> None:
    """Photons and own spectra of pixels lie along leading axes of the counts."""
    lead = tuple(counts.shape[:-1])
    for name, shape in (("photons", photons.shape), ("thresholds_kev, gain", spectra.shape[:-2])):
        own = (1,) * (len(lead) - len(shape)) + tuple(shape)
        if len(own) != len(lead) or any(n not in (1, size) for n, size in zip(own, lead, strict=True)):
            raise ArgumentError(name, f"leading axes {tuple(shape)}", f"ones that fit {lead} of the counts")


def _tolerance(tolerance, counts: Tensor) -> float:
    if tolerance is None:
        return 2e-4 if counts.dtype == torch.float32 else 1e-7
    return contract.number("tolerance", tolerance, above=0, at_most=1)


def start_paths(model: SpectralModel, problem: Problem, start: Tensor | None) -> Tensor:
    """Where a solver starts (..., M), as given or from the polynomial, after `decompose_mle`'s check of the model."""
    check_determined(problem.spectra, model.attenuation, [m.name for m in model.materials])
    found = polynomial(model, problem)(problem) if start is None else _checked_start(start, problem)
    return found.expand(*problem.counts.shape[:-1], len(problem.low))


def polynomial(model: SpectralModel, problem: Problem) -> PolynomialStart:
    """The polynomial start for this problem's box and the model's own thresholds."""
    usual = usual_spectra(model, problem.counts)
    return fit_start(usual, model.attenuation, problem.low, problem.high).to(problem.counts)


def usual_spectra(model: SpectralModel, like: Tensor) -> Tensor:
    """Spectra (N, E) of the model's own thresholds, their mean where pixels have their own."""
    spectra = model.bin_spectra(None, like).detach()
    return spectra.reshape(-1, *spectra.shape[-2:]).mean(0)


def _checked_start(start: Tensor, problem: Problem) -> Tensor:
    shape = (*problem.counts.shape[:-1], len(problem.low))
    contract.spreads("start", contract.tensor("start", start, (len(problem.low),)), shape)
    if contract.somewhere(~start.isfinite()):
        raise ArgumentError("start", "a tensor with NaN or infinite values", f"finite ones that spread over {shape}")
    return start.detach().to(problem.counts).clamp(problem.low, problem.high)
