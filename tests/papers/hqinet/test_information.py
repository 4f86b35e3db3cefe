"""Entropy, bias and an independent estimate of mutual information; paired intervals."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import normalized_root_mse

from ctlib import metrics
from ctlib.errors import ArgumentError
from ctlib.metrics.contrast import contrast_to_noise
from ctlib.metrics.paired import paired_interval
from ctlib.papers.hqinet.information import entropy, mutual_information_bias, occupied_bins


def rand(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, max_examples=25)
@given(st.integers(8, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 10**6))
def test_mutual_information_is_the_sum_of_entropies(size, bins, mix, seed):
    """H(X) + H(Y) - H(X, Y) from counts in a dictionary: no histogram, no logarithm of a ratio."""
    x = rand(seed, size, size)
    y = mix * x + (1 - mix) * rand(seed + 1, size, size)
    i, j = ((t * bins).floor().clamp(0, bins - 1).long().flatten().tolist() for t in (x, y))

    def plug_in(symbols):
        counts = np.array(list({s: symbols.count(s) for s in set(symbols)}.values())) / len(symbols)
        return -(counts * np.log(counts)).sum()

    expected = plug_in(i) + plug_in(j) - plug_in(list(zip(i, j, strict=True)))
    assert metrics.mutual_information(x, y, bins=bins).item() == pytest.approx(expected, abs=1e-6)


def test_entropy_of_known_images():
    levels = torch.arange(16, dtype=torch.float64).reshape(4, 4) / 16
    assert entropy(levels, bins=16).item() == pytest.approx(math.log(16))
    assert entropy(torch.full((3, 5, 5), 0.3), bins=8).tolist() == [0, 0, 0]


def test_occupied_bins_are_counted_per_image():
    x = torch.stack([torch.linspace(0, 0.999, 16).reshape(4, 4), torch.full((4, 4), 0.5), torch.full((4, 4), 2.0)])
    assert occupied_bins(x, bins=16).tolist() == [16, 1, 1]
    with pytest.raises(ArgumentError, match="value_range"):
        occupied_bins(x, value_range=(1.0, 1.0))


@pytest.mark.parametrize("bins", [8, 16, 32])
def test_the_bias_is_that_of_independent_images(bins):
    x, y = rand(0, 300, 64, 64), rand(1, 300, 64, 64)
    stated = mutual_information_bias(x, y, bins).mean().item()
    assert stated == pytest.approx((bins - 1) ** 2 / (2 * 64 * 64))
    # 64^2 pixels in bins^2 cells: four a cell at 32 bins, where the next order adds 7 %
    assert metrics.mutual_information(x, y, bins).mean().item() == pytest.approx(stated, rel=0.1)


def test_mutual_information_does_not_see_a_gray_level_map():
    x, y = rand(2, 40, 40), rand(3, 40, 40)
    mapped = 1 - x  # invertible and, with an even number of bins, one bin to one bin
    same = metrics.mutual_information(mapped, y, 10).item()
    assert same == pytest.approx(metrics.mutual_information(x, y, 10).item())
    assert same <= min(entropy(x, 10).item(), entropy(y, 10).item())


def test_an_interval_holds_the_mean_as_often_as_it_says():
    """Differences of patients around 0.3, the same in every seed: close to a t interval's coverage."""
    rng, hits = np.random.default_rng(0), 0
    for k in range(200):
        patients = 0.3 + rng.standard_normal((1, 12)) + 0.0 * rng.standard_normal((3, 12))
        low, high = paired_interval(
            torch.from_numpy(np.repeat(patients, 3, 0)), torch.Generator().manual_seed(k), draws=500
        )
        hits += low <= 0.3 <= high
    assert 0.85 < hits / 200 < 0.99


def test_an_interval_of_equal_differences_is_a_point_and_widens_with_seeds():
    stream = torch.Generator().manual_seed(0)
    assert paired_interval(torch.full((3, 5), 0.25), stream) == (0.25, 0.25)
    spread = torch.tensor([[0.0], [1.0], [2.0]]).repeat(1, 4)
    low, high = paired_interval(spread, stream)
    assert low == pytest.approx(0, abs=0.35)
    assert high == pytest.approx(2, abs=0.35)


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(0, 3), torch.full((2, 2), math.nan)])
def test_bad_differences_are_named(bad):
    with pytest.raises(ArgumentError, match="difference"):
        paired_interval(bad, torch.Generator())


def test_contrast_to_noise_of_known_tissues():
    x = torch.tensor([[0.0, 2.0, 0.0, 2.0], [5.0, 7.0, 5.0, 7.0]], dtype=torch.float64)
    top = torch.tensor([[True] * 4, [False] * 4])
    assert contrast_to_noise(x, top, ~top).item() == pytest.approx(5 / math.sqrt(4 / 3))
    torch.testing.assert_close(contrast_to_noise(3 * x - 1, ~top, top), contrast_to_noise(x, top, ~top))
    x[0] = torch.tensor([-9.0, 11.0, 1.0, 1.0])  # an uneven inside is no noise
    assert contrast_to_noise(x, top, ~top).item() == pytest.approx(5 / math.sqrt(4 / 3))
    with pytest.raises(ArgumentError, match="around"):
        contrast_to_noise(x, top, top & ~top)
    with pytest.raises(ArgumentError, match="inside"):
        contrast_to_noise(x, top & ~top, top)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 30), st.integers(2, 30), st.floats(0.01, 3000), st.integers(0, 10**6))
def test_nmse_equals_scikit_image(ny, nx, scale, seed):
    x, ref = scale * rand(seed, ny, nx), scale * rand(seed + 1, ny, nx)
    theirs = normalized_root_mse(ref.numpy(), x.numpy(), normalization="euclidean") ** 2
    assert metrics.nmse(x, ref).item() == pytest.approx(theirs, abs=1e-6)
