import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ctlib import metrics
from ctlib.errors import ArgumentError


def rand(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=20)
@given(st.integers(11, 40), st.integers(11, 40), st.floats(0.01, 2000), st.integers(0, 10**6))
def test_ssim_and_psnr_equal_scikit_image(ny, nx, data_range, seed):
    ref = data_range * rand(ny, nx, seed=seed)
    x = ref + 0.1 * data_range * rand(ny, nx, seed=seed + 1)
    theirs = structural_similarity(
        ref.numpy(), x.numpy(), data_range=data_range, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert abs(metrics.ssim(x, ref, data_range=data_range).item() - theirs) < 1e-6
    psnr = peak_signal_noise_ratio(ref.numpy(), x.numpy(), data_range=data_range)
    assert abs(metrics.psnr(x, ref, data_range=data_range).item() - psnr) < 1e-9


def test_known_values():
    ref = rand(2, 16, 16)
    x = ref + 0.1
    torch.testing.assert_close(metrics.psnr(x, ref, data_range=1.0), torch.full((2,), 20.0, dtype=torch.float64))
    torch.testing.assert_close(metrics.rmse(x, ref), torch.full((2,), 0.1, dtype=torch.float64))
    assert metrics.psnr(ref[0], ref[0], data_range=1.0) == math.inf
    assert metrics.ssim(ref[0], ref[0], data_range=1.0) == pytest.approx(1, abs=1e-12)
    assert metrics.nmse(torch.zeros_like(ref), ref).tolist() == [1, 1]
    torch.testing.assert_close(metrics.nmse(3 * x, 3 * ref), metrics.nmse(x, ref))


def test_ssim_is_symmetric_and_float32_is_close():
    x, ref = rand(3, 24, 24, seed=1), rand(3, 24, 24, seed=2)
    torch.testing.assert_close(
        metrics.ssim(x, ref, data_range=1.0), metrics.ssim(ref, x, data_range=1.0), rtol=0, atol=1e-14
    )
    single = metrics.ssim(x.float(), ref.float(), data_range=1.0).double()
    torch.testing.assert_close(single, metrics.ssim(x, ref, data_range=1.0), rtol=0, atol=1e-5)


def test_ssim_is_differentiable():
    x = rand(12, 13, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: metrics.ssim(t, rand(12, 13, seed=4), data_range=1.0), x)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 3), max_size=2), st.integers(0, 10**6))
def test_leading_axes_are_free_and_the_reference_broadcasts(lead, seed):
    x, ref = rand(*lead, 14, 12, seed=seed), rand(14, 12, seed=seed + 1)
    calls = (
        lambda a, b: metrics.psnr(a, b, data_range=1.0),
        lambda a, b: metrics.ssim(a, b, data_range=1.0),
        metrics.nmse,
        metrics.rmse,
        metrics.mutual_information,
    )
    for call in calls:
        together = call(x, ref)
        assert together.shape == tuple(lead)
        one_by_one = torch.stack([call(image, ref) for image in x.reshape(-1, 14, 12)]).reshape(lead)
        torch.testing.assert_close(together, one_by_one)


def test_masks_count_only_their_pixels():
    ref = rand(20, 20)
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[8:14, 7:13] = True
    x = torch.where(mask, ref + 0.2, torch.full_like(ref, math.nan))
    assert metrics.rmse(x, ref, mask).item() == pytest.approx(0.2)
    assert metrics.psnr(x, ref, data_range=2.0, mask=mask).item() == pytest.approx(20)
    assert metrics.nmse(x, ref, mask).item() == pytest.approx(0.04 / (ref[mask] ** 2).mean().item())
    y = ref + 0.3 * rand(20, 20, seed=9)
    local = metrics.ssim_map(y, ref, data_range=1.0)
    inside = metrics.ssim(y, ref, data_range=1.0, mask=mask)
    assert inside.item() == pytest.approx(local[3:9, 2:8].mean().item())


def test_mutual_information_of_an_image_with_itself_is_its_entropy():
    x = torch.tensor([[0.1, 0.1, 0.9, 0.9]], dtype=torch.float64).repeat(4, 1)
    assert metrics.mutual_information(x, x, bins=4).item() == pytest.approx(math.log(2))
    assert metrics.mutual_information(x, 1 - x, bins=4).item() == pytest.approx(math.log(2))
    assert metrics.mutual_information(x, x[:, [0, 2, 1, 3]], bins=4).item() == pytest.approx(0)


def test_mutual_information_bias_is_the_documented_one():
    """Independent images have MI = 0; the estimate is (B - 1)^2 / (2 N) above."""
    x, ref = rand(200, 64, 64, seed=5), rand(200, 64, 64, seed=6)
    measured = metrics.mutual_information(x, ref, bins=16).mean().item()
    assert measured == pytest.approx(15 * 15 / (2 * 64 * 64), rel=0.03)


def test_mutual_information_equals_numpy_histograms_and_clips():
    x, ref = 1.4 * rand(30, 30, seed=7) - 0.2, rand(30, 30, seed=8)
    joint = np.histogram2d(x.clamp(0, 1).numpy().ravel(), ref.numpy().ravel(), bins=8, range=[[0, 1], [0, 1]])[0] / 900
    expected = joint[joint > 0] * np.log(joint / (joint.sum(1, keepdims=True) * joint.sum(0)))[joint > 0]
    assert metrics.mutual_information(x, ref, bins=8).item() == pytest.approx(expected.sum())


def test_wrong_arguments_are_named():
    x = rand(16, 16)
    with pytest.raises(ArgumentError, match="data_range"):
        metrics.psnr(x, x, data_range=0.0)
    with pytest.raises(ArgumentError, match="x: got"):
        metrics.rmse(x[:8], x)
    with pytest.raises(ArgumentError, match="mask"):
        metrics.rmse(x, x, x)
    with pytest.raises(ArgumentError, match="at least 11 pixels"):
        metrics.ssim(x[:10], x[:10], data_range=1.0)
    with pytest.raises(ArgumentError, match="value_range"):
        metrics.mutual_information(x, x, value_range=(1.0, 1.0))
    with pytest.raises(TypeError):
        metrics.psnr(x, x)


def test_a_broken_pixel_spoils_the_similarity_of_its_own_windows():
    x, ref = rand(30, 40), rand(30, 40, seed=1)
    sound = metrics.ssim_map(x, ref, data_range=1.0)
    for value in (math.nan, math.inf):
        x[14, 20] = value
        found = metrics.ssim_map(x, ref, data_range=1.0)
        broken = torch.zeros_like(found, dtype=torch.bool)
        broken[4:15, 10:21] = True  # corners too, whose weight is a millionth
        assert torch.equal(found.isnan(), broken)
        assert torch.equal(found[~broken], sound[~broken])
