"""Readings of few photons: their distribution against theory, the posterior table against brute force."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.readings import Readings, converter_step, line_integral_prior, posterior_table


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


@given(
    st.floats(0, 5), st.sampled_from([0.0, 0.3, 3.0, 8.0]), st.integers(1, 12), st.sampled_from([1.0, 2.0, 3.5]),
    st.floats(0, 8),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_probabilities_of_all_readings_sum_to_one(s, eps, bits, step, y):
    p = Readings(s, eps, bits, step).likelihood(torch.tensor([y]))
    assert p.shape == (1, 2**bits)
    assert float(p.min()) >= 0
    assert abs(float(p.sum()) - 1) < 1e-12


def test_likelihood_equals_the_sum_written_out():
    s, eps, k, bits = 1.5, 0.8, 2.0, 3
    p = Readings(s, eps, bits, k).likelihood(torch.tensor([0.4], dtype=torch.float64))[0]
    for r in range(8):
        total = 0.0
        for n in range(60):
            upper = 1.0 if r == 7 else stats.norm.cdf((k * (r + 0.5) - n) / eps)
            lower = 0.0 if r == 0 else stats.norm.cdf((k * (r - 0.5) - n) / eps)
            total += stats.poisson.pmf(n, math.exp(s - 0.4)) * (upper - lower)
        assert float(p[r]) == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("eps", [0.0, 2.0])
def test_simulated_readings_follow_the_likelihood(eps):
    model, num = Readings(2.0, eps, 4, 1.0), 200_000
    r = model.sample(torch.full((num,), 0.3), gen())
    assert torch.equal(r, r.round())
    assert r.min() >= 0
    assert r.max() <= 15
    p = model.likelihood(torch.tensor([0.3]))[0]
    seen = torch.bincount(r.long(), minlength=16).double() / num
    assert bool(((seen - p).abs() <= 5 * (p * (1 - p) / num).sqrt() + 1e-6).all())


def test_mean_and_variance_of_readings_are_those_of_photons_electronics_and_rounding():
    """Far from both ends: mean e^(s-y)/k, variance (e^(s-y) + eps^2)/k^2 + 1/12."""
    model, y, k = Readings(6.0, 3.0, 12, 2.0), 0.5, 2.0
    r = model.sample(torch.full((400_000,), y, dtype=torch.float64), gen(1))
    mean, variance = math.exp(5.5) / k, (math.exp(5.5) + 9) / k**2 + 1 / 12
    assert float(r.mean()) == pytest.approx(mean, abs=5 * math.sqrt(variance / 400_000))
    assert float(r.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / 400_000))
    p, n = model.likelihood(torch.tensor([y]))[0], torch.arange(4096.0, dtype=torch.float64)
    assert float((p * n).sum()) == pytest.approx(mean, rel=1e-9)
    assert float((p * n * n).sum() - (p * n).sum() ** 2) == pytest.approx(variance, rel=1e-7)


def test_the_table_is_that_of_brute_force_sampling():
    model = Readings(3.0, 3.0, 12, 1.0)
    y = torch.linspace(0, 4, 33, dtype=torch.float64)
    weight = torch.exp(-0.5 * (y - 2).square())
    table = posterior_table(model, y, weight)
    pick = torch.multinomial(weight, 600_000, replacement=True, generator=gen(2))
    r = model.sample(y[pick], gen(3))
    for level in (0, 3, 10, 20):
        mine = y[pick][r == level]
        error = float(table.sigma[level]) / math.sqrt(len(mine))
        assert float(mine.mean()) == pytest.approx(float(table.mu[level]), abs=5 * error)
        assert float(mine.std()) == pytest.approx(float(table.sigma[level]), rel=5 / math.sqrt(len(mine)))
        assert len(mine) / 600_000 == pytest.approx(float(table.evidence[level]), rel=0.03)


def test_the_table_is_that_of_quadrature():
    """One Poisson reading without electronics under a uniform prior, by an independent integral."""
    model, r = Readings(3.0, 0.0, 8, 1.0), 9
    y = (torch.arange(4000, dtype=torch.float64) + 0.5) / 1000
    table = posterior_table(model, y, torch.ones(4000))
    p = [integrate.quad(lambda t, i=i: t**i * stats.poisson.pmf(r, math.exp(3 - t)), 0, 4)[0] for i in range(3)]
    assert float(table.mu[r]) == pytest.approx(p[1] / p[0], rel=1e-6)
    assert float(table.sigma[r]) == pytest.approx(math.sqrt(p[2] / p[0] - (p[1] / p[0]) ** 2), rel=1e-5)


def test_the_table_ends_where_the_prior_ends():
    """More counts, less attenuation; readings that cannot occur hold the value of the last that can."""
    y = torch.linspace(0, 5, 101, dtype=torch.float64)
    table = posterior_table(Readings(3.0, 0.0, 12, 1.0), y, torch.ones(101))
    occurs = table.evidence > 1e-16
    last = int(torch.nonzero(occurs)[-1])
    assert 50 < last < 100
    assert bool((table.mu.diff() <= 1e-9).all())
    assert torch.equal(table.mu[last:], table.mu[last].expand(4096 - last))
    assert bool(torch.isfinite(table.sigma).all())
    mu, sigma = table(torch.tensor([[0.0, 4095.0]]))
    assert mu.dtype == torch.float32
    assert mu.tolist() == [[pytest.approx(float(table.mu[0])), pytest.approx(float(table.mu[-1]))]]
    assert bool((sigma >= 0).all())
    whole = table(torch.tensor([0, 7]))[0]
    assert torch.equal(whole, table.mu[[0, 7]])
    law = (table.evidence * table.mu).sum()  # E[E[y | r]] = E[y]
    assert float(law) == pytest.approx(2.5, rel=1e-12)
    spread = (table.evidence * (table.sigma**2 + (table.mu - law) ** 2)).sum()  # the law of total variance
    assert float(spread) == pytest.approx(float(y.var(correction=0)), rel=1e-12)


def test_prior_keeps_the_mean_and_the_air():
    y = torch.cat([torch.zeros(100), torch.rand(900, generator=gen()) * 3]).double()
    points, weight = line_integral_prior(y, 40)
    assert float(weight.sum()) == pytest.approx(1)
    assert float((weight * points).sum()) == pytest.approx(float(y.mean()), rel=1e-12)
    assert float(weight[points == 0]) == pytest.approx(0.1)
    assert float((weight * points**2).sum()) == pytest.approx(float((y**2).mean()), rel=1e-3)
    one, share = line_integral_prior(torch.full((5,), 1.5), 10)
    assert one.tolist() == [1.5]
    assert share.tolist() == [1.0]


def test_the_step_of_the_converter_leaves_only_air_at_the_ceiling():
    y, weight = torch.linspace(0, 4, 81, dtype=torch.float64), torch.ones(81)
    k = converter_step(Readings(5.0, 1.0, 4), y, weight)
    above, below = (w * Readings(5.0, 1.0, 4, step).likelihood(y)[:, -1] for w, step in ((weight, k), (weight, k - 1)))
    assert float(above[y <= 0.1].sum() / above.sum()) >= 0.99
    assert float(below[y <= 0.1].sum() / below.sum()) < 0.99
    assert converter_step(Readings(3.0, 3.0, 12), y, weight) == 1  # as in the library: 12 bits are plenty


def test_logs_of_readings_are_finite():
    model = Readings(2.0, 3.0, 12, 2.0)
    r = torch.tensor([0.0, 1.0, 7.0])
    l = model.line_integrals(r)
    assert l[1:].tolist() == [pytest.approx(2 - math.log(2), rel=1e-6), pytest.approx(2 - math.log(14), rel=1e-6)]
    assert float(l[0]) == pytest.approx(2.0, rel=1e-6)  # half a step of one photon


@pytest.mark.parametrize(
    "call",
    [
        lambda: Readings(3.0, -1.0),
        lambda: Readings(3.0, 1.0, 0),
        lambda: Readings(3.0, 1.0, 12, 0.0),
        lambda: Readings(float("nan"), 1.0),
        lambda: Readings(3.0, 1.0).likelihood(torch.zeros(2, 2)),
        lambda: posterior_table(Readings(3.0, 1.0), torch.zeros(3), torch.zeros(3)),
        lambda: posterior_table(Readings(3.0, 1.0), torch.zeros(3), torch.ones(2)),
        lambda: line_integral_prior(torch.zeros(0)),
        lambda: converter_step(Readings(3.0, 1.0), torch.ones(3), torch.ones(3)),
    ],
)
def test_wrong_arguments_are_named(call):
    with pytest.raises(ArgumentError):
        call()
