"""Bins of a photon-counting scan: moments, correlations, thinning."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.binned import bin_counts, bin_line_integrals, summed_line_integrals, thin


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


EXPECTED = torch.tensor([40.0, 25.0, 10.0], dtype=torch.float64)


def draws(mode, num=200_000):
    return bin_counts(EXPECTED[:, None, None].expand(3, 1, num), rng(), mode)[:, 0]


def test_poisson_bins_have_their_mean_as_variance_and_are_independent():
    covariance = torch.cov(draws("poisson"))
    assert torch.allclose(covariance, torch.diag(EXPECTED), atol=0.5)
    assert torch.allclose(draws("poisson").mean(1), EXPECTED, atol=0.1)


def test_subtracted_bins_have_more_variance_and_negative_correlation():
    n = draws("subtract")
    above = EXPECTED.flip(0).cumsum(0).flip(0)
    below = torch.cat([above[1:], above.new_zeros(1)])
    expected = torch.diag(above + below)
    for a in (0, 1):
        expected[a, a + 1] = expected[a + 1, a] = -below[a]
    assert torch.allclose(torch.cov(n), expected, atol=1.0)
    assert torch.allclose(n.mean(1), EXPECTED, atol=0.15)
    assert bool((n < 0).any())  # a difference may be negative


def test_the_bins_of_one_exposure_sum_to_a_scan_of_all_photons():
    total = draws("poisson").sum(0)
    assert float(total.var()) == pytest.approx(float(EXPECTED.sum()), rel=0.02)


def test_thinned_halves_are_independent_poisson_and_sum_to_the_whole():
    counts = torch.poisson(torch.full((300_000,), 20.0), generator=rng())
    first, second = thin(counts, rng(1), 0.3)
    assert torch.equal(first + second, counts)
    covariance = torch.cov(torch.stack([first, second]))
    assert torch.allclose(covariance, torch.tensor([[6.0, 0.0], [0.0, 14.0]]), atol=0.15)


def test_log_data_undo_the_exponential_and_floor_at_half_a_photon():
    open_beam = torch.tensor([100.0, 50.0], dtype=torch.float64)
    line = torch.tensor([[0.5, 1.0], [2.0, 0.0]], dtype=torch.float64)[:, None, :]
    counts = open_beam[:, None, None] * torch.exp(-line)
    torch.testing.assert_close(bin_line_integrals(counts, open_beam), line)
    starved = bin_line_integrals(torch.zeros_like(counts), open_beam)
    torch.testing.assert_close(starved[0], torch.full_like(starved[0], 200.0).log())
    total = summed_line_integrals(counts, open_beam)
    torch.testing.assert_close(total[0], torch.log(150.0 / counts.sum(0)))


def test_bad_input():
    with pytest.raises(ArgumentError, match="mode"):
        bin_counts(EXPECTED[:, None, None], rng(), "both")
    with pytest.raises(ArgumentError, match="expected"):
        bin_counts(-EXPECTED[:, None, None], rng())
    with pytest.raises(ArgumentError, match="share"):
        thin(torch.ones(3), rng(), 1.0)
    with pytest.raises(ArgumentError, match="counts"):
        thin(torch.full((3,), 0.5), rng())
    with pytest.raises(ArgumentError, match="open_beam"):
        bin_line_integrals(torch.ones(3, 2, 2), torch.ones(2))
