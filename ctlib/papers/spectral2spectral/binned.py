"""Readings of a photon-counting detector in energy bins, from one scan or from several, and how to split them."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.counts import line_integrals_from_counts

BIN_MODES = ("poisson", "subtract")


def bin_counts(expected: Tensor, generator: torch.Generator, mode: str = "poisson") -> Tensor:
    """Noisy counts of energy bins, bins along axis -3: (..., E, V, U) to itself.

        poisson    N_i ~ Poisson(lambda_i), all bins from one exposure
        subtract   one exposure per threshold a: M_a ~ Poisson(sum_{i >= a} lambda_i),   N_a = M_a - M_{a+1}

    Subtracted bins have Var(N_a) = E M_a + E M_{a+1}, more than Poisson's, are negatively correlated with their
    neighbors, and may be negative.
    """
    contract.choice("mode", mode, BIN_MODES)
    expected = contract.tensor("expected", expected, ("E", "V", "U"))
    if not bool(((expected >= 0) & expected.isfinite()).all()):
        raise ArgumentError("expected", "negative values, NaN or infinity", "counts >= 0 of shape (..., E, V, U)")
    if mode == "poisson":
        return torch.poisson(expected, generator=generator)
    above = torch.poisson(expected.flip(-3).cumsum(-3).flip(-3), generator=generator)  # M_a, counts at or above a
    below = torch.cat([above[..., 1:, :, :], torch.zeros_like(above[..., :1, :, :])], -3)
    return above - below


def thin(counts: Tensor, generator: torch.Generator, share: float = 0.5) -> tuple[Tensor, Tensor]:
    """Two scans of fewer photons from one: each photon goes to the first with probability `share`; integers promoted.

    h ~ Binomial(n, share):    h and n - h are independent Poisson where n is Poisson
    """
    share, counts = contract.number("share", share, above=0, below=1), contract.tensor("counts", counts, promote=True)
    if not bool(counts.isfinite().all()) or not bool((counts >= 0).all()) or bool((counts != counts.round()).any()):
        raise ArgumentError("counts", "negative or fractional values, or none", "whole numbers of photons")
    n = counts.to(generator.device)
    first = torch.binomial(n, torch.full_like(n, share), generator=generator).to(counts)
    return first, counts - first


def _beam(counts: Tensor, open_beam: Tensor) -> tuple[Tensor, Tensor]:
    """Counts (..., E, V, U) and those of the open beam, positive, (E, 1, 1 or U)."""
    counts, open_beam = contract.tensor("counts", counts, ("E", "V", "U")), contract.tensor("open_beam", open_beam)
    bins, cols = counts.shape[-3], counts.shape[-1]
    if open_beam.shape not in ((bins,), (bins, cols)) or not bool(((open_beam > 0) & open_beam.isfinite()).all()):
        given = f"counts > 0 (E,), or (E, U) of every column, for counts {tuple(counts.shape)}"
        raise ArgumentError("open_beam", tuple(open_beam.shape), given)
    return counts, open_beam.to(counts).reshape(bins, 1, -1)


def bin_line_integrals(counts: Tensor, open_beam: Tensor) -> Tensor:
    """Log data (..., E, V, U) [1] of counts and of those without object, (E,), or (E, U) where columns differ.

    Readings under half a photon count as half.
    """
    return line_integrals_from_counts(*_beam(counts, open_beam))


def summed_line_integrals(counts: Tensor, open_beam: Tensor) -> Tensor:
    """Log data (..., 1, V, U) [1] of the full spectrum: photons of all bins added before the logarithm."""
    counts, light = _beam(counts, open_beam)
    return line_integrals_from_counts(counts.sum(-3, keepdim=True), light.sum(0, keepdim=True))


def count_variance(counts: Tensor, mode: str = "poisson") -> Tensor:
    """Variance (..., E, V, U) of counts in bins, from the counts themselves; see `bin_counts` for the modes.

    poisson    N_i
    subtract   M_a + M_{a+1},    M_a = N_a + N_{a+1} + ...
    """
    contract.choice("mode", mode, BIN_MODES)
    counts = contract.tensor("counts", counts, ("E", "V", "U"))
    if mode == "poisson":
        return counts
    above = counts.flip(-3).cumsum(-3).flip(-3)
    return above + torch.cat([above[..., 1:, :, :], torch.zeros_like(above[..., :1, :, :])], -3)


def log_variance(counts: Tensor, variance: Tensor) -> Tensor:
    """Variance of -log(counts), variance / counts^2; infinite where fewer than one photon was counted."""
    counts, variance = contract.together(counts=counts, variance=variance)
    return torch.where((counts >= 1) & (variance > 0), variance / counts.clamp_min(1).square(), torch.inf)


def log_covariance(counts: Tensor, mode: str = "poisson") -> Tensor:
    """Covariance (E, E), float64, of the log data of the bins, mean over the readings (..., E, V, U).

    In "subtract" neighbors share a scan: Cov(N_a, N_{a+1}) = -M_{a+1}.
    """
    counts = contract.tensor("counts", counts, ("E", "V", "U"))
    if contract.somewhere(~counts.isfinite()):
        raise ArgumentError("counts", "NaN or infinite readings", "finite ones: bad pixels filled or left out")
    n = counts.movedim(-3, 0).flatten(1).double()
    good = (n >= 1).all(0)
    if not bool(good.any()):
        raise ArgumentError("counts", "no reading with photons in every bin", "counts >= 1 somewhere")
    n, bins = n[:, good], len(n)
    cov = torch.diag((count_variance(n[:, None], mode)[:, 0] / n.square()).mean(1))
    if mode == "subtract":
        above = n.flip(0).cumsum(0).flip(0)
        for a in range(bins - 1):
            cov[a, a + 1] = cov[a + 1, a] = -(above[a + 1] / (n[a] * n[a + 1])).mean()
    return cov
