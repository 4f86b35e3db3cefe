"""Scores of samples that no law but the posterior makes least, and the KL term of more than two samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.tomography.losses import gaussian_kl, ray_mean, rays

TINY = 1e-12  # under the root of a norm, whose slope at 0 would be infinite


def _drawn(samples: Tensor) -> Tensor:
    if contract.tensor("samples", samples, promote=True).ndim < 2 or len(samples) < 2:
        raise ArgumentError("samples", tuple(samples.shape), "2 or more samples (J, ...)")
    return samples


def many_sample_kl(
    samples: Tensor, mu: Tensor, sigma: Tensor, mask: Tensor | None = None, estimator: str = "ml", eta: float = 0.05
) -> Tensor:
    """KL between the Gaussian fitted to J samples (J, ...) and N(mu, sigma^2), mean per ray, {eq}`gtr-many`.

    estimator  of the variance: "ml" divides by J, "unbiased" by J - 1;  eta  as in `two_sample_kl`, the case J = 2
    """
    contract.choice("estimator", estimator, ("ml", "unbiased"))
    eta = contract.number("eta", eta, at_least=0)
    samples, mu, sigma = rays(samples=_drawn(samples), mu=mu, sigma=sigma)
    variance = samples.var(0, correction=int(estimator == "unbiased"))
    return ray_mean(gaussian_kl(samples.mean(0), (variance + (eta * sigma).square()).sqrt(), mu, sigma), mask)


def many_sample_floor(num: int) -> float:
    """Expected KL term of J samples that have the target's Gaussian law (ML, eta = 0): 0.982 at J = 2, near 1/J later.

    (log(J / 2) - psi((J - 1) / 2)) / 2,    psi the digamma function
    """
    num = contract.count("num", num, 2)
    return 0.5 * (math.log(num / 2) - float(torch.special.digamma(torch.tensor((num - 1) / 2, dtype=torch.float64))))


def energy_score(samples: Tensor, truth: Tensor, patches: Sequence[int] = (1, 4, 0)) -> Tensor:
    """Energy score of samples (J, B, Y, X) against the truth (B, Y, X), {eq}`gtr-energy`: mean over bodies and patches.

        S = mean_j |x_j - x| - 1/2 mean_{j != k} |x_j - x_k|

    Its expectation is least where the samples have the law of the truth, {cite}`gneiting2007`, and only there where the
    norm sees the whole image.

    patches  sides of the squares whose norms are taken, each over its side, and averaged: 1 is the CRPS of a pixel,
             0 the whole image. Sides divide the image's.
    """
    samples, truth = contract.together(("Y", "X"), promote=True, samples=_drawn(samples), truth=truth)
    if samples.ndim != truth.ndim + 1 or samples.shape[1:] != truth.shape:
        raise ArgumentError("truth", tuple(truth.shape), f"one image a body, {tuple(samples.shape[1:])}")
    sides = [contract.count("patches", p) for p in patches]
    if any(p and (truth.shape[-2] % p or truth.shape[-1] % p) for p in sides):
        raise ArgumentError("patches", list(sides), f"sides that divide {tuple(truth.shape[-2:])}")
    off, num = samples - truth, len(samples)
    first, second = torch.triu_indices(num, num, 1, device=samples.device)
    apart = samples[first] - samples[second]
    scores = [_norms(off, p).mean() - 0.5 * _norms(apart, p).mean() for p in sides]
    return torch.stack(scores).mean()


def _norms(x: Tensor, side: int) -> Tensor:
    """Root mean squares of squares of a side, 0 for the whole image: (..., Y / side, X / side)."""
    if not side:
        return (x.square().mean((-2, -1)) + TINY).sqrt()
    rows, cols = x.shape[-2] // side, x.shape[-1] // side
    squares = x.square().reshape(*x.shape[:-2], rows, side, cols, side).mean((-3, -1))
    return (squares + TINY).sqrt()
