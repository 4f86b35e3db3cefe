"""Is a stated uncertainty true? Standardized residuals and coverage of Gaussian intervals."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ctlib.errors import ArgumentError


def standardized_residuals(truth: Tensor, mu: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
    """(truth - mu) / sigma where mask holds: (N,). Mean 0 and deviation 1 where mu and sigma are right."""
    if truth.shape != mu.shape or sigma.shape != mu.shape or (mask is not None and mask.shape != mu.shape):
        raise ArgumentError("truth, mu, sigma, mask", tuple(truth.shape), f"equal shapes, as mu's {tuple(mu.shape)}")
    if not bool((sigma > 0).all()):
        raise ArgumentError("sigma", f"smallest {float(sigma.min()):g}", "positive standard deviations")
    z = ((truth - mu) / sigma).flatten()
    return z if mask is None else z[mask.flatten()]


def coverage(residuals: Tensor, levels: Sequence[float] = (0.68, 0.95)) -> Tensor:
    """Share of standardized residuals (N,) within the central Gaussian interval of each level: (L,) float64.

    mean(|z| <= Phi^-1((1 + level) / 2)),    equal to the level for a calibrated Gaussian
    """
    level = torch.as_tensor(levels, dtype=torch.float64)
    if not bool(((level > 0) & (level < 1)).all()):
        raise ArgumentError("levels", list(levels), "fractions in (0, 1)")
    if not residuals.numel():
        raise ArgumentError("residuals", 0, "at least one")
    half = torch.special.ndtri((1 + level) / 2)
    return torch.stack([(residuals.double().abs() <= h).double().mean() for h in half])


def calibration(truth: Tensor, mu: Tensor, sigma: Tensor, mask: Tensor | None = None) -> dict[str, float]:
    """{"mean", "sd"} of the standardized residuals, {"within 68 %", "within 95 %"}, and "nll", the mean of -log p."""
    z = standardized_residuals(truth, mu, sigma, mask).double()
    chosen = sigma.flatten() if mask is None else sigma.flatten()[mask.flatten()]
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
    if samples.ndim < 2 or len(samples) < 2 or samples.shape[1:] != sigma.shape:
        raise ArgumentError("samples", tuple(samples.shape), f"2 or more of sigma's shape {tuple(sigma.shape)}")
    ratio = (samples.double().std(0) / sigma.double()).flatten()
    return float((ratio if mask is None else ratio[mask.flatten()]).median())


def pairwise_rmse(samples: Tensor) -> float:
    """Root mean square difference of two different samples of (K, ...), over all pairs and entries, in their unit.

    sqrt(2) times the root mean square of the unbiased deviation.
    """
    if samples.ndim < 2 or len(samples) < 2:
        raise ArgumentError("samples", tuple(samples.shape), "2 or more samples (K, ...)")
    return float((2 * samples.double().var(0).mean()).sqrt())
