"""Metrics of what files hold: integers and half precision are promoted before any difference is taken."""

import numpy as np
import pytest
import torch
from torch import nn

from ctlib import metrics
from ctlib.losses import l1_ssim_loss
from ctlib.metrics.calibration import coverage
from ctlib.metrics.contrast import contrast_to_noise

METRICS = {
    "rmse": metrics.rmse,
    "psnr": lambda x, ref, **options: metrics.psnr(x, ref, data_range=255, **options),
    "nmse": metrics.nmse,
    "ssim": lambda x, ref, **options: metrics.ssim(x, ref, data_range=255, **options),
}


def whole(seed, low=0, high=255, shape=(2, 14, 15)):
    """Whole numbers that every dtype of their range holds."""
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64", "float16", "bfloat16", "float32"])
def test_a_metric_of_any_dtype_is_that_of_the_numbers(metric, masked, dtype):
    x, ref = (whole(seed).to(getattr(torch, dtype)) for seed in (0, 1))
    options = {"mask": whole(2, 0, 1)[0].bool()} if masked else {}
    expected = metric(x.to(torch.float64), ref.to(torch.float64), **options)
    torch.testing.assert_close(metric(x, ref, **options).double(), expected, rtol=2e-5, atol=0)
    torch.testing.assert_close(metric(x, ref.double(), **options), expected, rtol=2e-5, atol=0)


def test_values_by_numpy_where_integers_overflow():
    """8-bit images differ by more than 8 bits hold once squared, CT numbers by more than 16: torchmetrics#2787."""
    x, ref = whole(0).to(torch.uint8), whole(1).to(torch.uint8)
    mse = np.square(x.numpy().astype(float) - ref.numpy().astype(float)).mean((1, 2))
    np.testing.assert_allclose(metrics.psnr(x, ref, data_range=255), 10 * np.log10(255**2 / mse), rtol=1e-5)
    mask, hu = whole(2, 0, 1)[0].bool(), [whole(s, -1024, 1024).to(torch.int16) for s in (3, 4)]
    a, b = (t.numpy().astype(float)[:, mask.numpy()] for t in hu)
    np.testing.assert_allclose(metrics.rmse(*hu, mask=mask), np.sqrt(np.square(a - b).mean(1)), rtol=1e-5)


def test_a_loss_takes_what_a_network_gives_under_autocast():
    net, x = nn.Conv2d(1, 1, 3, padding=1), torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    nn.init.constant_(net.weight, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x)
        inside = l1_ssim_loss(out, x, data_range=1.0)
    assert out.dtype == torch.bfloat16
    assert inside.dtype == torch.float32
    torch.testing.assert_close(inside, l1_ssim_loss(out.float(), x, data_range=1.0))  # not in half precision
    inside.backward()
    assert bool(net.weight.grad.isfinite().all())


def test_what_is_not_a_number_gives_none():
    x, ref = whole(0).double(), whole(1).double()
    x[0, 3, 4] = torch.nan
    for metric in (*METRICS.values(), lambda a, b: metrics.mutual_information(a, b, value_range=(0, 255))):
        found = metric(x, ref)
        assert found.isnan().tolist() == [True, False]
    assert bool(coverage(x[0].flatten()).isnan().all())
    assert bool(contrast_to_noise(x, x.isnan(), x > 100).isnan())


def test_infinity_lies_in_the_end_bins():
    x = torch.tensor([[-torch.inf, -1e30, 0.5, 1e30, torch.inf]])
    assert metrics.image.histogram_bin(x, 4, (0.0, 1.0)).tolist() == [[0, 0, 2, 3, 3]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint16])
def test_similarity_of_images_far_from_zero_keeps_its_digits(dtype):
    """CT numbers stored with an offset of 32768: in float32 their squares leave nothing of a variance of some 100."""
    x, ref = (whole(seed, 32700, 32900) for seed in (3, 4))
    wide = metrics.ssim(x.double(), ref.double(), data_range=400.0)
    found = metrics.ssim(x.to(dtype), ref.to(dtype), data_range=400.0)
    assert found.tolist() == pytest.approx(wide.tolist(), abs=1e-5)
