"""Maximum-likelihood material decomposition as a differentiable layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctlib.decompose import engine
from ctlib.decompose.newton import Problem
from ctlib.decompose.start import PolynomialStart, fit_start
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.implicit import attach
from ctlib.physics.model import SpectralModel


@dataclass(frozen=True)
class Decomposition:
    """What the solver says about every pixel.

    converged   (...) bool: the last step was below the tolerance
    iterations  (...) int32: Newton steps taken
    active      (..., M) bool: held by the box, gradient 0 there
    condition   (...) condition number of the Hessian of the free components, scaled to a unit diagonal; inf where it is
                not positive definite (a fold of the model): the gradient of such a pixel is 0
    """

    converged: Tensor
    iterations: Tensor
    active: Tensor
    condition: Tensor


def decompose_mle(
    model: SpectralModel,
    counts: Tensor,
    box=((-5, 35), (-5, 10)),
    max_iters: int = 30,
    thresholds_kev=None,
    return_info: bool = False,
    start: Tensor | None = None,
    tolerance: float | None = None,
):
    r"""Path lengths (..., M) [g/cm2] that make the counts (..., E) most likely, {eq}`pcct-mle`, {cite}`wang2026`.

        A* = argmin over the box of sum_i lambda_i(A) - gamma_i log lambda_i(A)

    Newton's method, Fisher scoring where the Hessian is not positive definite, with steps of at most four units of
    optical depth. The gradient is that of the implicit function theorem: it reaches counts, thresholds and the
    model's photons, gain and detector parameters, does not depend on the iterations, and is 0 for components that the
    box holds. Differentiable once.

    The minimum found is the one near the start: with fewer than some 250 counts in all bins together the likelihood
    can have a second, lower one (tests/decompose/test_rtk.py).

    model           the forward model; thresholds_kev (E + 1,) or (..., E + 1) overrides its own
    counts          >= 0; a pixel without any counts ends on the box
    box             (low, high) [g/cm2] of every material
    max_iters       most Newton steps; a pixel stops by itself at `tolerance` (optical depth, default 2e-4 in float32
                    and 1e-7 in float64, after which the error is its square or the rounding)
    start           path lengths to start from, such as the last solution; a polynomial of the log counts by default
    return_info     also return a `Decomposition`. Without it, ConvergenceError where a pixel does not converge.
    """
    problem = posed(model, counts, box, max_iters, thresholds_kev)
    tolerance = tolerance or (2e-4 if counts.dtype == torch.float32 else 1e-7)
    fixed = replace(problem, counts=problem.counts.detach(), spectra=problem.spectra.detach())
    with torch.no_grad():
        first = polynomial(model, fixed, box) if start is None else _checked_start(start, fixed)
        paths, steps, done = engine.solve(fixed, first, max_iters, tolerance)
    if not return_info and not bool(done.all()):
        raise ConvergenceError(_complaint(done, max_iters))
    out = attach(paths, _vjp(fixed), problem.counts, problem.spectra)
    return (out, Decomposition(done, steps, *engine.state(fixed, paths))) if return_info else out


def _vjp(fixed: Problem):
    """The layer's gradient as `attach` wants it; it keeps small tables only, autograd saves the rest."""
    attenuation, low, high = fixed.attenuation, fixed.low, fixed.high

    def vjp(paths, v, wanted, counts, spectra):
        return engine.vjp(Problem(counts, spectra, attenuation, low, high), paths, v, wanted)

    return vjp


def posed(model: SpectralModel, counts: Tensor, box, max_iters: int, thresholds_kev) -> Problem:
    """The problem in units of one incident photon, after checks of every argument."""
    if not isinstance(counts, Tensor) or counts.dtype not in (torch.float32, torch.float64):
        raise ArgumentError("counts", getattr(counts, "dtype", type(counts).__name__), "a float32 or float64 tensor")
    if counts.ndim < 1 or counts.shape[-1] != model.num_bins:
        raise ArgumentError("counts", tuple(counts.shape), f"(..., {model.num_bins})")
    least, most = counts.detach().aminmax() if counts.numel() else (0, 0)
    if not (least >= 0 and most < torch.inf):
        raise ArgumentError("counts", "negative, infinite or NaN values", "finite counts >= 0")
    if not isinstance(max_iters, int) or max_iters < 1:
        raise ArgumentError("max_iters", max_iters, "a whole number >= 1")
    bounds = torch.as_tensor(box, dtype=torch.float64)
    if bounds.shape != (model.num_materials, 2) or not bool((bounds[:, 0] < bounds[:, 1]).all()):
        raise ArgumentError("box", box, f"{model.num_materials} pairs (low, high), low < high")
    low, high = bounds.to(counts).unbind(1)
    per_photon = counts / model.photons_as(counts)[..., None]
    spectra = model.bin_spectra(thresholds_kev, counts)
    return Problem(per_photon, spectra, model.attenuation.to(counts), low, high)


def start_paths(model: SpectralModel, problem: Problem, box, start: Tensor | None) -> Tensor:
    """Where a solver starts (..., M): as given, or from the polynomial."""
    return polynomial(model, problem, box)(problem) if start is None else _checked_start(start, problem)


def polynomial(model: SpectralModel, problem: Problem, box) -> PolynomialStart:
    """The polynomial start for this box and the model's own thresholds, kept with it where nothing can change."""

    def make():
        spectra = model.bin_spectra(None, problem.counts).detach()
        spectra = spectra.reshape(-1, *spectra.shape[-2:]).mean(0)
        return fit_start(spectra, problem.attenuation, problem.low, problem.high)

    key = ("start", tuple(map(tuple, box)), problem.counts.dtype, problem.counts.device)
    return model.kept(key, make, model.requires_grad)


def _checked_start(start: Tensor, problem: Problem) -> Tensor:
    shape = (*problem.counts.shape[:-1], len(problem.low))
    if not isinstance(start, Tensor) or not bool(start.isfinite().all()):
        raise ArgumentError("start", type(start).__name__, f"a finite tensor that spreads over {shape}")
    own = (1,) * (len(shape) - start.ndim) + tuple(start.shape)
    if len(own) != len(shape) or any(a not in (1, b) for a, b in zip(own, shape, strict=True)) or own[-1] != shape[-1]:
        raise ArgumentError("start", f"shape {tuple(start.shape)}", f"one that spreads over {shape}")
    return start.detach().to(problem.counts).clamp(problem.low, problem.high).expand(shape)


def _complaint(done: Tensor, max_iters: int) -> str:
    bad = int((~done).sum())
    advice = "return_info=True flags them"
    return f"decompose_mle: {bad} of {done.numel()} pixels did not converge in {max_iters} steps; {advice}"
