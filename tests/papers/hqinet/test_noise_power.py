"""Noise measured from images: its level, its spectrum, and that structure is left out."""

import math

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.noise_power import flat_tiles, mean_frequency, noise_of, noise_power, tile_pixels


def white(std, shape=(3, 96, 96), seed=0):
    return 50 + std * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_level_of_white_noise_is_found_beside_structure():
    hu = white(12.0)
    assert noise_of(hu) == pytest.approx(12.0, rel=0.03)
    hu[:, 40:56] += 60  # an organ's edge through a third of the tiles
    hu[:, :, :20] = -1000
    assert noise_of(hu) == pytest.approx(12.0, rel=0.06)


def test_tiles_lie_in_soft_tissue_alone():
    hu = white(5.0)
    hu[:, :48] = -100.0  # fat
    assert 0 < len(flat_tiles(hu)) < len(flat_tiles(white(5.0))) / 1.5
    assert len(flat_tiles(hu - 500)) == 0
    with pytest.raises(ArgumentError, match="no flat tile"):
        noise_of(hu - 500)


def test_a_ramp_is_no_noise():
    hu = white(1.0) + torch.linspace(-20, 20, 96)
    assert noise_of(hu) == pytest.approx(1.0, rel=0.05)


def test_the_spectrum_of_white_noise_is_flat_and_sums_to_its_variance():
    tiles = white(10.0, (400, 16, 16)) - 50
    f, power = noise_power(tiles, 0.5)
    assert f.tolist() == [k / 8 for k in range(1, 9)]
    torch.testing.assert_close(power, torch.full((8,), 100 * 0.25), rtol=0.1, atol=0.0)


def test_blurred_noise_has_a_lower_mean_frequency():
    tiles = white(10.0, (200, 16, 16)) - 50
    blurred = torch.nn.functional.avg_pool2d(tiles[:, None], 3, 1, 1)[:, 0]
    means = [mean_frequency(*noise_power(t, 1.0)) for t in (tiles, blurred)]
    assert means[1] < 0.7 * means[0]
    assert means[0] == pytest.approx(2 / 3 * 0.5, rel=0.1)  # of a flat spectrum up to 1/2


def test_tiles_have_a_size_in_millimeters():
    assert [tile_pixels(p) for p in (0.5, 1.0, 2.0, 10.0)] == [32, 16, 8, 6]
    with pytest.raises(ArgumentError, match="tiles"):
        noise_power(torch.zeros(0, 8, 8), 1.0)
    assert math.isfinite(mean_frequency(*noise_power(white(1.0, (2, 6, 6)), 1.0)))
