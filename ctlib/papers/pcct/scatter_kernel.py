"""Scatter by convolution, with a kernel fitted to scans whose scatter is known: the baseline of the networks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.physics.arrays import numbers

LEAST = 1e-6  # relative counts below it are read as this much
NARROWEST = 0.5  # [columns]
MOST = 0.95  # share of the counts that may be taken for scatter: what is left stays positive


@dataclass(frozen=True, eq=False)
class ScatterKernel:
    """Scatter of each energy bin as a sum of Gaussian blurs of a source in the beam, {cite}`ohnesorge1999`.

        S(u) = sum over k of a_k G(s_k) * [T p^g](u),    p = -log T,    T counts relative to the open beam

    exponents   g (E,);  amplitudes a and widths s [columns] (E, K), standard deviations
    """

    exponents: Tensor
    amplitudes: Tensor
    widths: Tensor

    def scatter(self, total: Tensor) -> Tensor:
        """Scatter in measured counts (..., E, V, U), both relative to the open beam; between 0 and 95 % of them."""
        _require_bins(total, len(self.exponents))
        parts = blurred_sources(total.to(self.widths), self.exponents, self.widths)
        estimate = torch.einsum("k...evu,ek->...evu", parts, self.amplitudes).to(total)
        return torch.minimum(estimate.clamp_min(0), MOST * total.clamp_min(0))

    def correct(self, total: Tensor) -> Tensor:
        """Measured counts less the scatter in them."""
        return total - self.scatter(total)


def _require_bins(total: Tensor, num_bins: int) -> None:
    if not contract.tensor("total", total, (num_bins, None, None)).shape[-1]:
        raise ArgumentError("total", f"shape {tuple(total.shape)}", f"(..., {num_bins}, V, U), U > 0")


def blurred_sources(total: Tensor, exponents: Tensor, widths: Tensor) -> Tensor:
    """The source T p^g of each bin, blurred along the columns by each of its K Gaussians: (K, ..., E, V, U).

    A blur keeps the sum of what it spreads, less what it carries beyond the detector.
    """
    total = total.clamp_min(LEAST)
    source = total * (-total.log()).clamp_min(LEAST) ** exponents[:, None, None]
    u = torch.arange(total.shape[-1]).to(widths)
    blur = torch.exp(-0.5 * ((u[:, None] - u) / widths[..., None, None]) ** 2)  # (E, K, U, U)
    reach = torch.arange(1 - len(u), len(u)).to(widths)
    blur = blur / torch.exp(-0.5 * (reach / widths[..., None]) ** 2).sum(-1)[..., None, None]
    return torch.einsum("ekuw,...evw->k...evu", blur, source)


def best_amplitudes(parts: Tensor, scatter: Tensor, weight: Tensor) -> Tensor:
    """Amplitudes (E, K) that fit scatter = sum of a_k parts_k best in weighted least squares, bin by bin.

    Normal equations with a ridge of 1e-9 of their diagonal, for two Gaussians of one width.
    """
    rows = (parts * weight).movedim(-3, 0).flatten(2)  # (E, K, n)
    right = (scatter * weight).movedim(-3, 0).flatten(1)  # (E, n)
    normal = rows @ rows.mT
    ridge = 1e-9 * normal.diagonal(dim1=-2, dim2=-1).mean(-1)
    normal = normal + ridge[:, None, None] * torch.eye(parts.shape[0]).to(normal)
    return torch.linalg.solve(normal, (rows @ right[..., None]).squeeze(-1))


def fit_scatter_kernel(
    total: Tensor, scatter: Tensor, start_widths: tuple[float, ...] = (4.0, 20.0), max_iters: int = 100
) -> ScatterKernel:
    """Least squares for amplitudes, exponent and widths of every bin, on training scans (N, E, V, U).

        min over a, g, s of  | (S(T; a, g, s) - scatter) / T |^2

    The error is that of the scatter-to-total ratio, as for the networks. Amplitudes are solved for exactly at every
    step (variable projection, {cite}`golub1973`), exponents and widths by L-BFGS, in float64.
    start_widths  K standard deviations to start from [columns]; they stay between 0.5 and U columns
    """
    contract.alike("scatter", contract.tensor("scatter", scatter), "total", contract.tensor("total", total))
    if total.ndim != 4 or total.shape != scatter.shape or not total.numel():
        raise ArgumentError("total, scatter", (tuple(total.shape), tuple(scatter.shape)), "both (N, E, V, U)")
    max_iters = contract.count("max_iters", max_iters, 1)
    start_widths = numbers("start_widths", start_widths)
    start_widths = tuple(start_widths.tolist()) if start_widths.ndim == 1 else ()
    if not start_widths or not all(NARROWEST < w < total.shape[-1] for w in start_widths):
        raise ArgumentError("start_widths", start_widths, f"numbers between {NARROWEST} and {total.shape[-1]} columns")
    total, scatter = total.double(), scatter.double()
    log_g = total.new_zeros(total.shape[1]).requires_grad_()
    raw_s = _raw(total.new_tensor(start_widths), total.shape[-1]).repeat(total.shape[1], 1).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [log_g, raw_s], max_iter=max_iters, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    best = [float("inf"), log_g.detach().clone(), raw_s.detach().clone()]

    def closure() -> Tensor:
        optimizer.zero_grad()
        misfit, _ = relative_misfit(total, scatter, log_g.exp(), _widths(raw_s, total.shape[-1]))
        misfit.backward()
        if (value := float(misfit.detach())) < best[0]:
            best[:] = value, log_g.detach().clone(), raw_s.detach().clone()
        return misfit

    optimizer.step(closure)
    if best[0] == float("inf"):
        raise ConvergenceError("fit_scatter_kernel: the misfit is not finite")
    with torch.no_grad():  # the line search of a nearly singular problem may end beyond what floats hold
        exponents, widths = best[1].exp(), _widths(best[2], total.shape[-1])
        _, amplitudes = relative_misfit(total, scatter, exponents, widths)
        return ScatterKernel(exponents, amplitudes, widths)


def _widths(raw: Tensor, num_cols: int) -> Tensor:
    """Widths between half a column and the whole detector, where a wider blur is a constant."""
    return NARROWEST + (num_cols - NARROWEST) * torch.sigmoid(raw)


def _raw(widths: Tensor, num_cols: int) -> Tensor:
    return torch.logit((widths - NARROWEST) / (num_cols - NARROWEST))


def relative_misfit(total: Tensor, scatter: Tensor, exponents: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of the scatter-to-total ratio over its square, summed over bins, at the best amplitudes (E, K)."""
    weight = 1 / total.clamp_min(LEAST)
    parts = blurred_sources(total, exponents, widths)
    amplitudes = best_amplitudes(parts, scatter, weight)
    misfit = (torch.einsum("knevu,ek->nevu", parts, amplitudes) - scatter) * weight
    return ((misfit**2).mean((0, 2, 3)) / ((scatter * weight) ** 2).mean((0, 2, 3))).sum(), amplitudes
