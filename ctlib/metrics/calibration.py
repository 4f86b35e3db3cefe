"""Is a stated uncertainty true? Standardized residuals and coverage of Gaussian intervals.

Integers, half precision and several dtypes are promoted. A NaN among what is counted makes the result NaN.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def standardized_residuals(truth: Tensor, mu: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
    """(truth - mu) / sigma where mask holds: (N,). Mean 0 and deviation 1 where mu and sigma are right."""
    truth, mu, sigma = contract.together(promote=True, truth=truth, mu=mu, sigma=sigma)
    if truth.shape != mu.shape or sigma.shape != mu.shape:
        given = [tuple(t.shape) for t in (truth, mu, sigma)]
        raise ArgumentError("truth, mu, sigma", given, "equal shapes")
    return _chosen((truth - mu) / _positive(sigma), mask)


def _positive(sigma: Tensor) -> Tensor:
    if not bool((sigma > 0).all()):
        raise ArgumentError("sigma", f"smallest {float(sigma.min()):g}", "positive standard deviations")
    return sigma


def _chosen(t: Tensor, mask: Tensor | None) -> Tensor:
    """The values (N,) where the mask holds, which has the same shape."""
    if mask is None:
        return t.flatten()
    if contract.mask("mask", mask, t.shape).shape != t.shape or mask.device != t.device:
        raise ArgumentError("mask", f"shape {tuple(mask.shape)} on {mask.device}", f"{tuple(t.shape)} on {t.device}")
    return t[mask]


def coverage(residuals: Tensor, levels: Sequence[float] = (0.68, 0.95)) -> Tensor:
    """Share of standardized residuals (N,) within the central Gaussian interval of each level: (L,) float64.

    mean(|z| <= Phi^-1((1 + level) / 2)),    equal to the level for a calibrated Gaussian
    """
    residuals = contract.tensor("residuals", residuals, promote=True)
    level = torch.tensor(contract.numbers("levels", levels, above=0, below=1), dtype=torch.float64)
    if not residuals.numel():
        raise ArgumentError("residuals", 0, "at least one")
    half = torch.special.ndtri((1 + level) / 2)
    share = (residuals.flatten().double().abs() <= half.to(residuals.device)[:, None]).double().mean(1)
    return share.masked_fill(residuals.isnan().any(), torch.nan)


def calibration(truth: Tensor, mu: Tensor, sigma: Tensor, mask: Tensor | None = None) -> dict[str, float]:
    """{"mean", "sd"} of the standardized residuals, {"within 68 %", "within 95 %"}, and "nll", the mean of -log p."""
    z = standardized_residuals(truth, mu, sigma, mask).double()
    if not z.numel():
        raise ArgumentError("truth, mask", "no value that counts", "at least one")
    chosen = _chosen(contract.tensor("sigma", sigma, promote=True), mask)
    inside = coverage(z)
    nll = 0.5 * z.square().mean() + chosen.double().log().mean() + 0.5 * torch.tensor(2 * torch.pi).double().log()
    return {
        "mean": float(z.mean()), "sd": float(z.std(correction=0)),
        "within 68 %": float(inside[0]), "within 95 %": float(inside[1]), "nll": float(nll),
    }  # fmt: skip


def spread_ratio(samples: Tensor, sigma: Tensor, mask: Tensor | None = None) -> float:
    """Median over the rays of sd(samples) / sigma: samples (K, ...), sigma (...). 1 when calibrated, 0 on collapse.

    sd  the unbiased one, over K >= 2 samples: with few of them its median lies below the true deviation (K = 2: 0.67)
    """
    samples, sigma = contract.together(promote=True, samples=samples, sigma=sigma)
    if samples.ndim < 2 or len(samples) < 2 or samples.shape[1:] != sigma.shape:
        raise ArgumentError("samples", tuple(samples.shape), f"2 or more of sigma's shape {tuple(sigma.shape)}")
    return float(_chosen(samples.double().std(0) / _positive(sigma).double(), mask).median())


def pairwise_rmse(samples: Tensor) -> float:
    """Root mean square difference of two different samples of (K, ...), over all pairs and entries, in their unit.

    sqrt(2) times the root mean square of the unbiased deviation.
    """
    samples = contract.tensor("samples", samples, promote=True)
    if samples.ndim < 2 or len(samples) < 2:
        raise ArgumentError("samples", tuple(samples.shape), "2 or more samples (K, ...)")
    return float((2 * samples.double().var(0).mean()).sqrt())
