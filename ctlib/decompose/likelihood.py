"""Poisson likelihood of binned counts: gradient, Hessian and Fisher information in the path lengths."""

import torch
from torch import Tensor

from ctlib import contract

LEAST = 1e-30  # expected counts below it are taken as this, so that no ratio overflows


def negative_log_likelihood(expected: Tensor, counts: Tensor) -> Tensor:
    """L = sum_i lambda_i - gamma_i log lambda_i over the bins (..., E), {eq}`pcct-nll`."""
    expected, counts = contract.together(("E",), expected=expected, counts=counts)
    return (expected - torch.xlogy(counts, expected)).sum(-1)


def score(counts: Tensor, expected: Tensor, jacobian: Tensor) -> Tensor:
    """Gradient (..., M) of L: sum_i (1 - gamma_i / lambda_i) J_i, {eq}`pcct-score`; jacobian (..., M, E)."""
    return ((1 - counts / expected.clamp_min(LEAST))[..., None, :] * jacobian).sum(-1)


def curvature(counts: Tensor, expected: Tensor, jacobian: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Hessian of L and Fisher information, pairs of materials (..., M (M + 1) / 2), {eq}`pcct-hessian`.

        H_kl = sum_i gamma_i / lambda_i^2 J_ik J_il + (1 - gamma_i / lambda_i) lambda_i,kl
        F_kl = sum_i J_ik J_il / lambda_i    (H at gamma = lambda, the expectation of H)

    second  lambda_i,kl (..., M (M + 1) / 2, E), ordered 11, 12, ... 1M, 22, ...
    """
    mean = expected.clamp_min(LEAST)[..., None, :]
    y, relative = counts[..., None, :], jacobian / mean
    rows, cols = torch.triu_indices(jacobian.shape[-2], jacobian.shape[-2])
    pairs = relative[..., rows, :] * relative[..., cols, :]
    return (y * pairs + (1 - y / mean) * second).sum(-1), (mean * pairs).sum(-1)
