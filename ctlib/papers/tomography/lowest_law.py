"""Which law of samples makes the two-sample KL least: not the Gaussian it is compared with, but a semicircle."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.papers.tomography.losses import FACTORS, calibrated_ratio, two_sample_kl

SHIFT = 10.0  # makes the energy matrix positive
SEMICIRCLE_FLOOR = math.log(2) + 0.25  # of the loss with maximum likelihood and eta = 0, over all laws


def semicircle_density(y: Tensor) -> Tensor:
    """Wigner's semicircle of deviation 1, {eq}`gtr-semicircle`: sqrt(4 - y^2) / (2 pi) on [-2, 2], else 0."""
    y = contract.tensor("y", y, promote=True)
    return (4 - y.square()).clamp_min(0).sqrt() / (2 * math.pi)


def semicircle_cdf(y: Tensor) -> Tensor:
    """Share of the semicircle below y: 1/2 + y sqrt(4 - y^2) / (4 pi) + asin(y / 2) / pi."""
    y = contract.tensor("y", y, promote=True).clamp(-2, 2)
    return 0.5 + y * (4 - y.square()).clamp_min(0).sqrt() / (4 * math.pi) + (y / 2).asin() / math.pi


def pair_energy(estimator: str, eta: float, y: Tensor) -> Tensor:
    """Two-sample KL of every pair of places (N,) against N(0, 1), as a symmetric matrix (N, N) float64.

        l(a, b) = -log(v) / 2 + (v + ((a + b) / 2)^2) / 2 - 1/2,    v = c (a - b)^2 + eta^2

    With eta = 0 the logarithm of |a - b| is its mean over two cells of width h that lie k apart, with
    F(k) = k^2 log(k) / 2 - 3 k^2 / 4:

        log h + F(k + 1) - 2 F(k) + F(|k - 1|),    log h - 3/2 for a cell with itself
    """
    c, eta = FACTORS[contract.choice("estimator", estimator, tuple(FACTORS))], _floor(eta)
    y = contract.tensor("y", y, ("N",), promote=True).double()
    if y.ndim != 1 or len(y) < 2:
        raise ArgumentError("y", f"shape {tuple(y.shape)}", "2 or more places (N,)")
    v = c * (y[:, None] - y).square() + eta**2
    log = v.log() if eta else math.log(c) + 2 * _mean_log(y)
    return -0.5 * log + 0.5 * (v + ((y[:, None] + y) / 2).square()) - 0.5


def _floor(eta: float) -> float:
    return contract.number("eta", eta, at_least=0, at_most=1e3)


def _mean_log(y: Tensor) -> Tensor:
    """Mean of log|a - b| over the cells of every two places of an even grid (N,): (N, N)."""
    k = torch.arange(len(y) + 1, dtype=torch.float64)
    F = torch.special.xlogy(k.square() / 2, k) - 0.75 * k.square()
    by_distance = F[1:] - 2 * F[:-1] + torch.cat([F[1:2], F[:-2]])
    place = torch.arange(len(y))
    return (y[1] - y[0]).log() + by_distance[(place[:, None] - place).abs()]


def lowest_law(
    estimator: str = "ml", eta: float = 0.0, num: int = 301, reach: float = 3.0
) -> tuple[Tensor, Tensor, float]:
    """(places, weights, floor) of the law of samples whose expected two-sample KL against N(0, 1) is least.

        min over p of p^T L p,    p >= 0, sum p = 1

    A convex problem, as -log(t^2 + const) is a conditionally positive kernel: where p > 0, L p is constant. Adding a
    constant to L adds it to the value; with it p^T L p = |root p|^2, and non-negative least squares finds p.
    """
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise MissingDependency("scipy", "the least law of samples") from error
    num, reach = contract.count("num", num, 3), contract.number("reach", reach, above=0, at_most=1e3)
    y = torch.linspace(-reach, reach, num, dtype=torch.float64)
    energy = pair_energy(estimator, eta, y)
    values, vectors = torch.linalg.eigh(energy + SHIFT)
    root = values.clamp_min(0).sqrt()[:, None] * vectors.T
    rows = torch.cat([root, torch.ones(1, num, dtype=torch.float64)])  # sum p = 1 is asked for; any sum will do
    p = torch.from_numpy(nnls(rows.numpy(), np.eye(num + 1)[num], maxiter=50 * num)[0])
    p = p / p.sum()
    return y, p, float(p @ energy @ p)


def gaussian_pairs(seed: int, num: int = 300_000) -> Tensor:
    """Pairs of independent samples of N(0, 1): (2, num) float64."""
    source = torch.Generator().manual_seed(contract.seed("seed", seed))
    return torch.randn(2, contract.count("num", num, 1), generator=source, dtype=torch.float64)


def semicircle_pairs(seed: int, num: int = 300_000) -> Tensor:
    """Pairs of independent samples of the semicircle, twice the first coordinate of points in a disk: (2, num)."""
    source = torch.Generator().manual_seed(contract.seed("seed", seed))
    radius, angle = torch.rand(2, 2, contract.count("num", num, 1), generator=source, dtype=torch.float64)
    return 2 * radius.sqrt() * (2 * math.pi * angle).cos()


def loss_of_pairs(pairs: Tensor, estimator: str = "ml", eta: float = 0.0) -> float:
    """Mean two-sample KL of pairs (2, N) against N(0, 1), by the loss that trains."""
    pairs, eta = contract.tensor("pairs", pairs, (2, "N"), promote=True), _floor(eta)
    if pairs.ndim != 2 or not pairs.numel():
        raise ArgumentError("pairs", f"shape {tuple(pairs.shape)}", "one pair or more (2, N)")
    mu, sigma = torch.zeros((), device=pairs.device), torch.ones((), device=pairs.device)
    return float(two_sample_kl(pairs[0], pairs[1], mu, sigma, estimator=estimator, eta=eta))


def best_ratio(estimator: str, seed: int) -> float:
    """tau / sigma at the least loss of Gaussian pairs scaled by tau, whose loss is q tau^2 - log tau + const."""
    pairs, log_tau = gaussian_pairs(seed), torch.linspace(-0.4, 0.2, 13, dtype=torch.float64)
    loss = torch.tensor([loss_of_pairs(math.exp(t) * pairs, estimator) for t in log_tau], dtype=torch.float64)
    basis = torch.stack([(2 * log_tau).exp(), torch.ones_like(log_tau)], 1)
    q = torch.linalg.lstsq(basis, (loss + log_tau)[:, None]).solution[0, 0]
    return float((0.5 / q).sqrt())


def floor_rows(eta: float) -> list[list]:
    """Rows: estimator and eta, losses of a Gaussian, a uniform law and the semicircle, each as wide as is
    best, by the loss that trains; least loss of all laws, deviation and reach of the least law.
    """
    uniform = torch.rand(2, 300_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    laws = gaussian_pairs(0), math.sqrt(12) * (uniform - 0.5), semicircle_pairs(0)
    rows = []
    for estimator in FACTORS:
        for floor in (0.0, eta):
            y, p, least = lowest_law(estimator, floor)
            known = [loss_of_pairs(calibrated_ratio(estimator) * pairs, estimator, floor) for pairs in laws]
            sd, reach = float((p @ y.square()).sqrt()), float(y[p > 0].abs().max())
            rows.append([f"{estimator}, {floor:g}", *known, least, sd, reach])
    return rows
