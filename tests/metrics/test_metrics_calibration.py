"""Calibration of Gaussian uncertainties against draws from known distributions."""

import pytest
import torch
from scipy import stats

from ctlib.errors import ArgumentError
from ctlib.metrics.calibration import calibration, coverage, pairwise_rmse, spread_ratio, standardized_residuals

NUM = 100_000


def setup_draws(seed=0, factor=1.0):
    g = torch.Generator().manual_seed(seed)
    mu, sigma = torch.randn(NUM, generator=g), torch.rand(NUM, generator=g) + 0.1
    return mu + factor * sigma * torch.randn(NUM, generator=g), mu, sigma


def test_a_true_gaussian_is_calibrated():
    got = calibration(*setup_draws())
    assert got["sd"] == pytest.approx(1, abs=0.01)
    assert got["mean"] == pytest.approx(0, abs=0.015)
    assert got["within 68 %"] == pytest.approx(0.68, abs=0.007)
    assert got["within 95 %"] == pytest.approx(0.95, abs=0.004)


def test_mean_and_deviation_are_those_of_the_residuals_themselves():
    got = calibration(torch.tensor([2.0, 7.0, 1.0]), torch.tensor([1.0, 1.0, 5.0]), torch.tensor([1.0, 2.0, 2.0]))
    assert got["mean"] == pytest.approx((1 + 3 - 2) / 3)
    assert got["sd"] == pytest.approx(((1 + 9 + 4) / 3 - (2 / 3) ** 2) ** 0.5)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_spread_shows_in_deviation_and_coverage(factor):
    got = calibration(*setup_draws(1, factor))
    assert got["sd"] == pytest.approx(factor, rel=0.01)
    for name, level in (("within 68 %", 0.68), ("within 95 %", 0.95)):
        half = stats.norm.ppf((1 + level) / 2)
        assert got[name] == pytest.approx(2 * stats.norm.cdf(half / factor) - 1, abs=0.007)


def test_nll_is_that_of_torch_distributions_and_only_where_the_mask_holds():
    truth, mu, sigma = setup_draws(2)
    mask = mu > 0
    want = -torch.distributions.Normal(mu[mask], sigma[mask]).log_prob(truth[mask]).mean()
    assert calibration(truth, mu, sigma, mask)["nll"] == pytest.approx(float(want), abs=1e-5)
    assert len(standardized_residuals(truth, mu, sigma, mask)) == int(mask.sum())


def test_coverage_counts_by_hand():
    z = torch.tensor([-3.0, -1.1, -0.5, 0.0, 0.9, 1.5, 1.97, 2.5])
    half = stats.norm.ppf([0.84, 0.975])
    want = [(z.abs() <= h).double().mean().item() for h in half]
    assert coverage(z).tolist() == want == [3 / 8, 5 / 8]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: standardized_residuals(x, x, torch.zeros(3)),
        lambda x: standardized_residuals(x, torch.ones(2), torch.ones(2)),
        lambda x: coverage(x, (0.5, 1.0)),
        lambda x: coverage(torch.zeros(0)),
    ],
)
def test_wrong_arguments_are_named(call):
    with pytest.raises(ArgumentError):
        call(torch.ones(3))


def test_spread_ratio_of_samples_as_wide_as_sigma_is_one():
    g = torch.Generator().manual_seed(4)
    sigma = torch.rand(3, 400, generator=g) + 0.2
    samples = 5 + 0.8 * sigma * torch.randn(200, 3, 400, generator=g)
    assert spread_ratio(samples, sigma) == pytest.approx(0.8, rel=0.02)
    assert spread_ratio(samples[:1].expand(4, -1, -1), sigma) == 0
    mask = torch.zeros(3, 400, dtype=torch.bool)
    mask[1] = True
    assert spread_ratio(samples, sigma, mask) == spread_ratio(samples[:, 1], sigma[1])
    two = spread_ratio(torch.randn(2, 100_000, generator=g), torch.ones(100_000))
    assert two == pytest.approx(stats.chi.median(1), abs=0.01)


def test_pairwise_rmse_is_that_of_all_pairs():
    x = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    pairs = [(x[i] - x[j]).square().mean() for i in range(5) for j in range(i)]
    assert pairwise_rmse(x) == pytest.approx(float(torch.stack(pairs).mean().sqrt()), rel=1e-12)
    with pytest.raises(ArgumentError):
        pairwise_rmse(x[:1])
    with pytest.raises(ArgumentError):
        spread_ratio(x, x)
