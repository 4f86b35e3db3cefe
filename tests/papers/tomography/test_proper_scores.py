"""The law that the KL term of two samples asks for, and scores that ask for the posterior."""

import math

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.tomography import lowest_law as laws
from ctlib.papers.tomography.losses import kl_floor, two_sample_kl
from ctlib.papers.tomography.one_number import courses_to, distance_to, trained_numbers
from ctlib.papers.tomography.proper import energy_score, many_sample_floor, many_sample_kl

pytestmark = pytest.mark.usefixtures("one_thread")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_lowest_law_without_a_floor_is_the_semicircle():
    y, p, least = laws.lowest_law("ml", 0.0)
    assert least == pytest.approx(math.log(2) + 0.25, abs=1e-4)
    assert float((p @ y**2).sqrt()) == pytest.approx(1, abs=1e-3)
    assert float(y[p > 0].abs().max()) == pytest.approx(2, abs=0.05)
    density = p / (y[1] - y[0])
    inner = y.abs() < 1.8
    assert (density - laws.semicircle_density(y))[inner].abs().max() < 0.02


@pytest.mark.parametrize("eta", [0.0, 0.05])
@pytest.mark.parametrize("estimator", ["ml", "unbiased"])
def test_no_law_is_lower_than_the_lowest(estimator, eta):
    y, p, least = laws.lowest_law(estimator, eta)
    energy = laws.pair_energy(estimator, eta, y)
    for other in (laws.semicircle_density(y), (-(y**2) / 2).exp(), (y.abs() < 1.7).double(), torch.ones_like(y)):
        q = other / other.sum()
        assert float(q @ energy @ q) > least
    assert (2 * energy @ p - 2 * least).min() > -1e-6  # Karush, Kuhn and Tucker: no place would be cheaper


def test_pairs_of_the_semicircle_have_its_law_and_its_loss():
    pairs = laws.semicircle_pairs(0)
    assert float(pairs.abs().max()) <= 2
    assert distance_to("semicircle", pairs[0].sort().values) < 0.005
    assert laws.loss_of_pairs(pairs) == pytest.approx(laws.SEMICIRCLE_FLOOR, abs=0.005)
    assert laws.loss_of_pairs(laws.gaussian_pairs(0)) == pytest.approx(kl_floor("ml"), abs=0.006)


@pytest.mark.parametrize(("estimator", "ratio"), [("ml", 1.0), ("unbiased", (2 / 3) ** 0.5)])
def test_the_best_scale_of_gaussian_pairs(estimator, ratio):
    assert laws.best_ratio(estimator, 1) == pytest.approx(ratio, abs=0.01)


def test_the_kl_term_of_two_of_many_samples_is_that_of_two():
    y, mu, sigma = normal(2, 5, 4), normal(5, 4, seed=1), normal(5, 4, seed=2).abs() + 0.1
    for estimator in ("ml", "unbiased"):
        want = two_sample_kl(y[0], y[1], mu, sigma, estimator=estimator)
        assert torch.isclose(many_sample_kl(y, mu, sigma, estimator=estimator), want, rtol=1e-12)


@pytest.mark.parametrize("num", [2, 4, 16])
def test_the_floor_of_many_samples(num):
    zero, one = torch.zeros(()), torch.ones(())
    got = many_sample_kl(normal(num, 200_000), zero, one, eta=0.0)
    assert float(got) == pytest.approx(many_sample_floor(num), abs=0.01)


def test_the_energy_score_of_single_pixels_is_the_crps():
    """Of N(0, s^2) against 0: s (sqrt(2) - 1) / sqrt(pi), {cite}`gneiting2007`."""
    samples, s = 0.7 * normal(2, 400_000, 1, 1), 0.7
    got = energy_score(samples, torch.zeros(400_000, 1, 1, dtype=torch.float64), (1,))
    assert float(got) == pytest.approx(s * (math.sqrt(2) - 1) / math.sqrt(math.pi), rel=0.02)


@pytest.mark.parametrize("patch", [1, 2, 0])
def test_no_other_gaussian_scores_better_than_that_of_the_truth(patch):
    truth, e = normal(20_000, 4, 4), normal(2, 20_000, 4, 4, seed=1)
    best = energy_score(e, truth, (patch,))
    assert all(energy_score(c * e + b, truth, (patch,)) > best for c, b in ((0.7, 0), (1.4, 0), (1, 0.3)))


def test_only_norms_that_see_several_pixels_see_their_correlation():
    mix = torch.ones(4, 4, dtype=torch.float64) + torch.eye(4, dtype=torch.float64)  # correlations of 7 / 8
    mix = mix / (mix @ mix.T).diagonal().sqrt()[:, None]
    drawn = lambda root, *shape, seed: (normal(*shape, 4, seed=seed) @ root.T).unflatten(-1, (2, 2))  # noqa: E731
    truth = drawn(mix, 40_000, seed=0)
    right, wrong = (drawn(r, 2, 40_000, seed=1) for r in (mix, torch.eye(4, dtype=torch.float64)))
    pixels = [float(energy_score(x, truth, (1,))) for x in (right, wrong)]
    whole = [float(energy_score(x, truth, (0,))) for x in (right, wrong)]
    assert abs(pixels[1] - pixels[0]) < 0.004
    assert whole[1] - whole[0] > 0.01


def test_a_generator_of_one_number_learns_the_law_of_its_loss():
    kl, proper = (trained_numbers(kind, steps=400) for kind in ("KL", "energy score"))
    assert distance_to("semicircle", kl) < distance_to("Gaussian", kl)
    assert distance_to("Gaussian", proper) < 0.05 < distance_to("Gaussian", kl) + 0.03


@pytest.mark.parametrize(
    "call",
    [
        lambda: energy_score(torch.zeros(2, 1, 4, 4), torch.zeros(1, 4, 4), (3,)),
        lambda: energy_score(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4)),
        lambda: many_sample_kl(torch.zeros(1, 4), torch.zeros(4), torch.ones(4)),
        lambda: laws.lowest_law("mle"),
        lambda: trained_numbers("KL of nine"),
    ],
)
def test_wrong_arguments_are_named(call):
    with pytest.raises(ArgumentError):
        call()


def test_courses_begin_before_training_and_end_with_the_samples():
    samples, found = courses_to(("Gaussian",), "KL", seed=0, steps=12)
    assert list(found["Gaussian"]) == [*range(0, 12, 2), 12]
    assert found["Gaussian"][12] == distance_to("Gaussian", samples)
