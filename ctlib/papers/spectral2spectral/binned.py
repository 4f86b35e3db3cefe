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
    """Counts (..., E, V, U) and those of the open beam (E,), which are positive."""
    counts, open_beam = contract.tensor("counts", counts, ("E", "V", "U")), contract.tensor("open_beam", open_beam)
    if open_beam.shape != (counts.shape[-3],) or not bool(((open_beam > 0) & open_beam.isfinite()).all()):
        raise ArgumentError("open_beam", tuple(open_beam.shape), f"counts > 0 (E,), for counts {tuple(counts.shape)}")
    return counts, open_beam


def bin_line_integrals(counts: Tensor, open_beam: Tensor) -> Tensor:
    """Log data (..., E, V, U) [1] of counts and open-beam counts (E,); readings under half a photon count as half."""
    counts, open_beam = _beam(counts, open_beam)
    return line_integrals_from_counts(counts, open_beam.to(counts)[:, None, None])


def summed_line_integrals(counts: Tensor, open_beam: Tensor) -> Tensor:
    """Log data (..., 1, V, U) [1] of the full spectrum: photons of all bins added before the logarithm."""
    counts, open_beam = _beam(counts, open_beam)
    total = open_beam.to(counts).sum().reshape(1)
    return bin_line_integrals(counts.sum(-3, keepdim=True), total)
