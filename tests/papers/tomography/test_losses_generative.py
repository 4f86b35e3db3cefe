"""Gaussian losses against torch.distributions; what the two-sample KL calibrates, and where its floor is."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.losses import (
    calibrated_ratio,
    critic_loss,
    data_term,
    distillation_loss,
    fitted_gaussian,
    gaussian_kl,
    gaussian_nll,
    kl_floor,
    mean_loss,
    ray_mean,
    two_sample_kl,
)

NUM = 400_000


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some(seed=0):
    y, mu, log_sigma = rand(3, 4, 5, 6, seed=seed)
    return y, mu, (0.3 * log_sigma).exp()


def test_nll_is_that_of_torch_distributions_without_its_constant():
    y, mu, sigma = some()
    want = -2 * Normal(mu, sigma).log_prob(y).mean() - math.log(2 * math.pi)
    assert float(gaussian_nll(y, mu, sigma)) == pytest.approx(float(want), rel=1e-12)


def test_nll_is_least_at_the_mean_square_residual():
    y, mu, _ = some(1)
    best = (y - mu).square().mean().sqrt()
    log_sigma = best.log().expand_as(y).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gaussian_nll(y, mu, log_sigma.exp()), log_sigma)
    assert abs(float(gradient.sum())) < 1e-12
    for factor in (0.9, 1.1):
        assert gaussian_nll(y, mu, factor * best) > gaussian_nll(y, mu, best)


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 3), st.floats(0.05, 5), st.floats(-3, 3), st.floats(0.05, 5))
def test_kl_is_that_of_torch_distributions(m, s, mu, sigma):
    values = [torch.tensor(v, dtype=torch.float64) for v in (m, s, mu, sigma)]
    want = kl_divergence(Normal(*values[:2]), Normal(*values[2:]))
    assert float(gaussian_kl(*values)) == pytest.approx(float(want), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("estimator", ["ml", "unbiased"])
def test_the_fit_is_that_of_two_samples(estimator):
    y1, y2, _ = some(2)
    pair = torch.stack([y1, y2])
    m, variance = fitted_gaussian(y1, y2, estimator)
    assert torch.allclose(m, pair.mean(0))
    assert torch.allclose(variance, pair.var(0, correction=0 if estimator == "ml" else 1))


@pytest.mark.parametrize("direction", ["fit || target", "target || fit"])
@pytest.mark.parametrize("estimator", ["ml", "unbiased"])
def test_two_sample_kl_is_that_of_torch_distributions(estimator, direction):
    y1, mu, sigma = some(3)
    y2 = y1 + 0.5 + rand(4, 5, 6, seed=9).abs()
    m, variance = fitted_gaussian(y1, y2, estimator)
    fit, target = Normal(m, variance.sqrt()), Normal(mu, sigma)
    want = kl_divergence(fit, target) if direction.startswith("fit") else kl_divergence(target, fit)
    got = two_sample_kl(y1, y2, mu, sigma, estimator=estimator, direction=direction, eta=0.0)
    assert float(got) == pytest.approx(float(want.mean()), rel=1e-12)


def test_the_closed_form_is_half_the_data_term_less_a_repulsion():
    y1, mu, sigma = some(4)
    y2 = rand(4, 5, 6, seed=8)
    repulsion = ((y1 - y2).abs() / (2 * sigma)).log().mean()
    both = (data_term(y1, mu, sigma) + data_term(y2, mu, sigma)) / 4
    got = two_sample_kl(y1, y2, mu, sigma, eta=0.0)
    assert float(got) == pytest.approx(float(both - repulsion - 0.5), rel=1e-12)


def expected(tau, beta, estimator, seed=0):
    """Monte Carlo of the expected loss at sigma = 1 for samples N(beta, tau^2)."""
    a, b = rand(2, NUM, seed=seed)
    one = torch.ones(NUM, dtype=torch.float64)
    return two_sample_kl(beta + tau * a, beta + tau * b, 0 * one, one, estimator=estimator, eta=0.0)


@pytest.mark.parametrize(("estimator", "ratio"), [("ml", 1.0), ("unbiased", 0.816)])
def test_the_estimator_decides_whether_samples_are_calibrated(estimator, ratio):
    """The gradient with respect to the spread vanishes at the ratio, that to the shift at 0."""
    assert calibrated_ratio(estimator) == pytest.approx(ratio, abs=1e-3)
    tau = torch.tensor(calibrated_ratio(estimator), dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    gradients = torch.autograd.grad(expected(tau, beta, estimator), (tau, beta))
    assert [float(g) for g in gradients] == pytest.approx([0, 0], abs=0.01)  # 5 standard errors
    for wrong in (0.8, 1.25):
        assert expected(wrong * tau, beta, estimator) > expected(tau, beta, estimator)


@pytest.mark.parametrize(("estimator", "floor"), [("ml", 0.982), ("unbiased", 0.838)])
def test_the_floor_is_reached_at_the_optimum(estimator, floor):
    assert kl_floor(estimator) == pytest.approx(floor, abs=5e-4)
    assert float(expected(calibrated_ratio(estimator), 0.0, estimator)) == pytest.approx(floor, abs=0.012)


def test_the_other_direction_grows_without_bound_in_the_number_of_rays():
    """E[1 / chi^2_1] is infinite: the mean follows its largest term, as the direction that is used does not."""
    means = {}
    for direction in ("fit || target", "target || fit"):
        y1, y2 = rand(2, 50, 8000, seed=5)
        one = torch.ones(8000, dtype=torch.float64)
        values = torch.stack(
            [two_sample_kl(a, b, 0 * one, one, direction=direction, eta=0.0) for a, b in zip(y1, y2, strict=True)]
        )
        means[direction] = float(values.max() / values.median())
    assert means["fit || target"] < 1.1
    assert means["target || fit"] > 10


def test_the_regularized_loss_is_finite_where_samples_agree_and_pushes_them_apart():
    y, mu, sigma = some(6)
    y1, y2 = y.clone().requires_grad_(), (y + 1e-4).requires_grad_()
    loss = two_sample_kl(y1, y2, mu, sigma)
    gradients = torch.autograd.grad(loss, (y1, y2))
    assert math.isfinite(float(two_sample_kl(y, y, mu, sigma)))
    apart = (gradients[0] - gradients[1]).mean()  # y2 > y1: descent raises y2 - y1
    assert float(apart) > 0
    half = [t.half() for t in (y, y, mu, sigma)]
    assert two_sample_kl(*half).dtype == torch.float32
    assert math.isfinite(float(two_sample_kl(*half)))


def test_equation_1_charges_for_variance():
    """E|y - mu|^2 = |E y - mu|^2 + Var: of all spreads none is best, which is why z is ignored."""
    a = rand(NUM)
    one = torch.ones(NUM, dtype=torch.float64)
    for tau in (0.0, 0.5, 1.0):
        got = float(data_term(0.3 + tau * a, 0 * one, one))
        assert got == pytest.approx(0.09 + tau**2, abs=0.01)


def test_masked_rays_do_not_count():
    y, mu, sigma = some(7)
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[1:3, 2:5] = True
    inside = tuple(t[:, 1:3, 2:5] for t in (y, mu, sigma))
    assert torch.allclose(gaussian_nll(y, mu, sigma, mask), gaussian_nll(*inside))
    assert torch.allclose(data_term(y, mu, sigma, mask), data_term(*inside))
    assert torch.allclose(mean_loss(y, mu, mask), mean_loss(*inside[:2]))
    assert torch.allclose(two_sample_kl(y, mu, mu, sigma, mask), two_sample_kl(inside[0], *inside[1:2], *inside[1:]))
    assert float(ray_mean(y, torch.zeros_like(mask))) == 0


def test_distillation_is_least_at_the_teacher():
    _, mu, sigma = some(8)
    assert float(distillation_loss((mu, sigma), (mu, sigma))) == pytest.approx(0, abs=1e-15)
    want = kl_divergence(Normal(mu, sigma), Normal(mu + 0.1, 2 * sigma)).mean()
    assert float(distillation_loss((mu + 0.1, 2 * sigma), (mu, sigma))) == pytest.approx(float(want), rel=1e-12)


def test_the_critic_is_low_on_real_images():
    assert float(critic_loss(torch.tensor([1.0, 3.0]), torch.tensor([5.0, 6.0]))) == -3.5


def test_the_critic_that_minimizes_its_loss_measures_the_distance():
    """Two point masses a apart, D(x) = w x with |w| <= 1: the minimum is -a."""
    w = torch.linspace(-1, 1, 201)
    losses = torch.stack([critic_loss(v * torch.zeros(4), v * torch.full((4,), 0.7)) for v in w])
    assert float(losses.min()) == pytest.approx(-0.7)
    assert float(w[losses.argmin()]) == 1  # high on generated images


@pytest.mark.parametrize(
    "call",
    [
        lambda t: fitted_gaussian(t, t, "mle"),
        lambda t: two_sample_kl(t, t, t, t, direction="both"),
        lambda t: two_sample_kl(t, t, t, t, eta=-1.0),
    ],
)
def test_wrong_arguments_are_named(call):
    with pytest.raises(ArgumentError):
        call(torch.ones(3))
