"""L1 joined with SSIM: weights, limits, gradient."""

from functools import partial

import pytest
import torch
from skimage.metrics import structural_similarity

from ctlib import metrics
from ctlib.errors import ArgumentError
from ctlib.losses import l1_ssim_loss

loss = partial(l1_ssim_loss, data_range=1.0)


def rand(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_weighted_sum_of_the_means():
    x, r = rand(0, 2, 1, 20, 18), rand(1, 2, 1, 20, 18)
    ssim = [
        structural_similarity(
            a[0].numpy(), b[0].numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(x, r, strict=True)
    ]
    expected = 0.85 * float((x - r).abs().mean()) + 0.15 * (1 - sum(ssim) / 2)
    assert loss(x, r).item() == pytest.approx(expected, abs=1e-6)
    assert loss(r, r).item() == pytest.approx(0, abs=1e-12)


def test_limits_do_not_compute_the_other_term():
    x, r = rand(0, 1, 1, 8, 8), rand(1, 1, 1, 8, 8)  # too small for a window of 11
    with pytest.raises(ArgumentError, match="at least 11"):
        loss(x, r)
    assert loss(x, r, 2.0, 0.0).item() == pytest.approx(2 * float((x - r).abs().mean()))
    big, ref = rand(0, 1, 1, 16, 16), rand(1, 1, 1, 16, 16)
    alone = loss(big, ref, 0.0, 1.0)
    assert alone.item() == pytest.approx(1 - float(metrics.ssim(big, ref, data_range=1.0).mean()))


def test_the_size_of_the_image_does_not_shift_the_weights():
    """The printed L1 norm is a sum: alpha to beta would depend on the number of pixels."""
    small, tiled = rand(0, 1, 1, 22, 22), rand(0, 1, 1, 22, 22).repeat(1, 1, 3, 3)
    l1 = partial(loss, alpha=0.85, beta=0.0)
    assert l1(tiled, 0 * tiled).item() == pytest.approx(l1(small, 0 * small).item())


def test_the_data_range_is_that_of_ssim():
    """In another unit, with its range, the SSIM term is the same; with another range it is another."""
    x, r = rand(0, 1, 1, 16, 16), rand(1, 1, 1, 16, 16)
    same = l1_ssim_loss(1000 * x, 1000 * r, 0.0, 1.0, data_range=1000.0)
    assert same.item() == pytest.approx(loss(x, r, 0.0, 1.0).item())
    other = l1_ssim_loss(x, r, 0.0, 1.0, data_range=10.0)
    assert other.item() == pytest.approx(1 - float(metrics.ssim(x, r, data_range=10.0).mean()))


def test_gradient():
    r = rand(3, 1, 1, 12, 11)
    assert torch.autograd.gradcheck(lambda t: loss(t, r), rand(2, 1, 1, 12, 11).requires_grad_())


@pytest.mark.parametrize("weights", [(-1.0, 1.0), (0.0, 0.0)])
def test_bad_input_is_named(weights):
    with pytest.raises(ArgumentError, match="alpha"):
        loss(rand(0, 12, 12), rand(1, 12, 12), *weights)
    with pytest.raises(ArgumentError, match="estimate"):
        loss(rand(0, 12, 12), rand(1, 12, 13))
