import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.errors import ArgumentError
from ctlib.physics import (
    expected_counts,
    line_integral_variance,
    line_integrals_from_counts,
    transmission_counts,
)

NUM = 200_000


def draw(line_integral, photons, seed=0, **options):
    l = torch.full((NUM,), line_integral, dtype=torch.float64)
    return transmission_counts(l, photons, torch.Generator().manual_seed(seed), **options)


@settings(deadline=None, max_examples=10)
@given(st.floats(0, 4), st.floats(50, 1e6), st.floats(0, 30))
def test_mean_and_variance_are_those_of_poisson_plus_gauss(line_integral, photons, electronic_std):
    counts = draw(line_integral, photons, electronic_std=electronic_std)
    mean, variance = photons * math.exp(-line_integral), photons * math.exp(-line_integral) + electronic_std**2
    assert abs(counts.mean().item() - mean) < 6 * math.sqrt(variance / NUM)
    kurtosis = 1 / mean if mean > 0 else 0
    assert abs(counts.var().item() / variance - 1) < 6 * math.sqrt((2 + kurtosis) / NUM)


def test_without_electronics_readings_are_whole_photons():
    counts = draw(1.0, 30.0)
    assert (counts == counts.round()).all()
    assert counts.min() >= 0
    assert draw(9.0, 30.0, electronic_std=2.0).min() < 0


def test_quantization_adds_a_twelfth_of_its_step_and_saturates():
    exact, coarse = draw(1.0, 1e4, electronic_std=5.0), draw(1.0, 1e4, electronic_std=5.0, gain=1 / 16, bits=16)
    assert torch.equal(coarse, (coarse / 16).round() * 16)
    error = coarse - exact
    assert error.abs().max() <= 8
    assert error.var().item() == pytest.approx(16**2 / 12, rel=0.02)
    full = draw(0.0, 1e4, gain=0.05, bits=8)  # open beam of 500 steps on a converter of 255
    assert full.unique().tolist() == [255 / 0.05]
    assert draw(9.0, 30.0, electronic_std=2.0, bits=12).min() == 0


def test_the_same_generator_gives_the_same_reading_and_another_does_not():
    assert torch.equal(draw(1.0, 100.0, seed=3), draw(1.0, 100.0, seed=3))
    assert not torch.equal(draw(1.0, 100.0, seed=3), draw(1.0, 100.0, seed=4))


def test_global_random_state_is_untouched():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draw(1.0, 100.0, electronic_std=1.0)
    assert torch.equal(torch.rand(3), expected)


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 8), st.floats(1e-2, 1e9))
def test_logarithm_inverts_beer_lambert(line_integral, photons):
    l = torch.tensor([line_integral], dtype=torch.float64)
    back = line_integrals_from_counts(expected_counts(l, photons), photons, floor=1e-12)
    torch.testing.assert_close(back, l, atol=1e-12, rtol=1e-12)


def test_starved_rays_follow_the_stated_rule():
    counts = torch.tensor([-7.0, 0.0, 0.4, 0.5, 2.0])
    l = line_integrals_from_counts(counts, 100.0)
    assert torch.isfinite(l).all()
    torch.testing.assert_close(l, torch.log(100 / torch.tensor([0.5, 0.5, 0.5, 0.5, 2.0])))
    assert line_integrals_from_counts(counts, 100.0, floor=1.0)[0] == pytest.approx(math.log(100))


@pytest.mark.parametrize(("photons", "electronic_std"), [(1e4, 0.0), (1e5, 40.0)])
def test_variance_of_the_logarithm(photons, electronic_std):
    l = line_integrals_from_counts(draw(3.0, photons, electronic_std=electronic_std), photons)
    predicted = line_integral_variance(torch.tensor(3.0, dtype=torch.float64), photons, electronic_std).item()
    assert l.var().item() == pytest.approx(predicted, rel=0.02)


def test_photons_broadcast_per_view():
    l = torch.zeros(2, 5000)
    photons = torch.tensor([[10.0], [1000.0]])
    counts = transmission_counts(l, photons, torch.Generator().manual_seed(0))
    torch.testing.assert_close(counts.mean(1, keepdim=True), photons, rtol=0.03, atol=0)
    assert line_integrals_from_counts(counts, photons).abs().max() < 3


@pytest.mark.parametrize(
    ("photons", "options", "name"),
    [
        (0.0, {}, "photons"),
        (1.0, {"electronic_std": -1.0}, "electronic_std"),
        (1.0, {"gain": 0.0}, "gain"),
        (1.0, {"bits": 0}, "bits"),
    ],
)
def test_wrong_arguments_are_named(photons, options, name):
    with pytest.raises(ArgumentError, match=name):
        draw(1.0, photons, **options)


def test_the_floor_must_be_positive():
    with pytest.raises(ArgumentError, match="floor"):
        line_integrals_from_counts(torch.ones(2), 10.0, floor=0.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_by_the_same_call():
    l = torch.ones(NUM, device="cuda")
    counts = transmission_counts(l, 1e4, torch.Generator("cuda").manual_seed(0), electronic_std=5.0, bits=16)
    assert counts.device.type == "cuda"
    assert counts.mean().item() == pytest.approx(1e4 / math.e, rel=1e-3)
