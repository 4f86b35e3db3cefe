"""Noise inside a region: what a quadratic surface explains is shading, what is left is noise."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.noise_level import detrended


@pytest.fixture
def disc():
    t = torch.arange(40) - 19.5
    return t[None, :] ** 2 + (t[:, None] + 4) ** 2 < 12**2


def test_a_quadratic_surface_leaves_nothing_and_noise_stays(disc):
    t = torch.arange(40, dtype=torch.float64)
    surface = 3 + 0.2 * t[None, :] - 0.01 * t[:, None] ** 2 + 0.004 * t[None, :] * t[:, None]
    assert float(detrended(surface, disc).abs().max()) < 1e-11
    noise = torch.randn(3, 40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left = detrended(surface + noise, disc)
    assert not left[:, ~disc].any()
    pixels = int(disc.sum())
    expected = (1 - 6 / pixels) ** 0.5  # six numbers are fitted
    assert abs(float(left[:, disc].square().mean().sqrt()) / expected - 1) < 0.06
    assert torch.allclose(detrended(left, disc), left, atol=1e-12)  # a projection
    assert float(left[:, disc].sum(-1).abs().max()) < 1e-10


def test_dtype_stays_and_small_masks_are_refused(disc):
    assert detrended(torch.rand(2, 40, 40), disc).dtype == torch.float32
    with pytest.raises(ArgumentError, match="mask"):
        detrended(torch.rand(40, 40), disc[:20])
    with pytest.raises(ArgumentError, match="mask"):
        detrended(torch.rand(40, 40), torch.eye(40) * (torch.arange(40) < 11) > 0)
