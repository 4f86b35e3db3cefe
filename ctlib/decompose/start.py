"""A start for the solver: a quadratic polynomial of the log counts, fitted once to noiseless samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.decompose.newton import Problem
from ctlib.physics.moments import product, transmission

DARKEST = 1e-6  # transmissions below it are taken as this


def log_features(counts: Tensor, open_beam: Tensor) -> Tensor:
    """Monomials (..., F) up to degree two of l_i = -log(counts_i / open beam_i), no count at all as 1e-6."""
    l = -torch.log((counts / open_beam).clamp_min(DARKEST))
    rows, cols = torch.triu_indices(l.shape[-1], l.shape[-1])
    return torch.cat([torch.ones_like(l[..., :1]), l, l[..., rows] * l[..., cols]], -1)


def sample_paths(low: Tensor, high: Tensor) -> Tensor:
    """A regular grid (P, M) over the part of a box from a little below zero upwards, finer towards zero."""
    num = {1: 200, 2: 32}.get(len(low), 12)
    t = torch.linspace(0, 1, num).to(low)
    axes = [a + (b - a) * t**2 for a, b in zip(torch.maximum(low, -0.05 * high), high, strict=True)]
    return torch.cartesian_prod(*axes).reshape(-1, len(low))


@dataclass(frozen=True)
class PolynomialStart:
    """A quadratic polynomial of the log counts: coefficients (F, M), F of `log_features`; open_beam (E,)."""

    coefficients: Tensor
    open_beam: Tensor

    def __call__(self, problem: Problem) -> Tensor:
        """Path lengths (..., M) inside the problem's box, and not negative unless the box is."""
        features = log_features(problem.counts, self.open_beam)
        least = torch.minimum(problem.low.clamp_min(0), problem.high)
        return (features @ self.coefficients).clamp(least, problem.high)


def fit_start(spectra: Tensor, attenuation: Tensor, low: Tensor, high: Tensor) -> PolynomialStart:
    """The polynomial for spectra (N, E), fitted in float64.

    Least squares over the box; samples count with the square root of their transmission, so dark ones weigh little.
    """
    wide = [t.to("cpu", torch.float64) for t in (spectra, attenuation, low, high)]
    paths = sample_paths(*wide[2:])
    counts, open_beam = product(transmission(paths, wide[1]), wide[0]), wide[0].sum(0)
    features, weight = log_features(counts, open_beam), (counts.sum(-1) / open_beam.sum()).sqrt()
    weighted = features.T * weight
    ridge = 1e-9 * torch.eye(features.shape[1]).to(features)
    coefficients = torch.linalg.solve(weighted @ features + ridge, weighted @ paths)
    return PolynomialStart(coefficients.to(spectra), open_beam.to(spectra))
