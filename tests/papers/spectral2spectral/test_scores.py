"""Scores inside the body: each tells its own fault and none of the others."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.scores import body_mask, flat_mask, image_scores, shrunk

SIZE = 64
AT = torch.arange(SIZE) - (SIZE - 1) / 2
RADIUS = (AT[:, None] ** 2 + AT**2).sqrt()
DENSITY = ((RADIUS < 26).double() + (RADIUS < 10).double())[None, None]
TRUTH = 0.02 * DENSITY.expand(2, 3, -1, -1) * torch.tensor([1.0, 0.8, 0.6], dtype=torch.float64)[:, None, None]
BODY = body_mask(DENSITY.expand(2, 1, -1, -1))
WINDOW = torch.full((3, 1, 1), 0.06, dtype=torch.float64)


def scores(x):
    return image_scores(x, TRUTH, BODY, WINDOW)


def test_the_truth_has_no_fault():
    found = scores(TRUTH)
    assert found["error"] == found["noise"] == [0.0] * 3
    assert found["ssim"] == pytest.approx([1.0] * 3)
    assert found["edges"] == pytest.approx([1.0] * 3)


def test_what_lies_in_the_air_does_not_count():
    air = TRUTH + 0.02 * (RADIUS > 30) * torch.rand(TRUTH.shape, generator=torch.Generator().manual_seed(0))
    assert scores(air)["error"] == [0.0] * 3
    assert scores(air)["noise"] == [0.0] * 3


def test_noise_is_a_deviation_in_flat_regions_and_leaves_the_edges():
    noise = torch.randn(TRUTH.shape, generator=torch.Generator().manual_seed(0)).double()
    found = scores(TRUTH + 0.001 * noise)
    flat = flat_mask(TRUTH, BODY)
    level = (TRUTH * flat).sum((0, 2, 3)) / flat.sum()
    assert found["noise"] == pytest.approx((0.001 / level).tolist(), rel=0.05)
    assert found["edges"] == pytest.approx([1.0] * 3, abs=0.02)


def test_blur_takes_edges_and_makes_no_noise():
    blurred = torch.nn.functional.avg_pool2d(TRUTH, 3, 1, 1)
    found = scores(blurred)
    assert max(found["edges"]) < 0.9
    assert max(found["noise"]) < 1e-12


def test_a_bias_is_an_error_and_no_noise():
    found = scores(1.1 * TRUTH)
    assert found["error"] == pytest.approx([0.1] * 3)
    assert max(found["noise"]) < 1e-10


def test_masks_shrink_by_whole_pixels():
    mask = torch.zeros(1, 9, 9, dtype=torch.bool)
    mask[0, 2:7, 1:9] = True
    assert torch.equal(shrunk(mask, 1).nonzero().amin(0), torch.tensor([0, 3, 2]))
    assert torch.equal(shrunk(mask, 1).nonzero().amax(0), torch.tensor([0, 5, 7]))  # nothing beyond the border counts
    with pytest.raises(ArgumentError, match="body"):
        image_scores(TRUTH, TRUTH, torch.zeros_like(BODY), WINDOW)
