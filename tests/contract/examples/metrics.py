"""Metrics and losses."""

import torch


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def pair(n=3, m=4, **other):
    return dict(x=rand(2, n, m), ref=rand(2, n, m, seed=1)) | other


def some(*shape, seed=2):
    return rand(*shape, seed=seed) > 0.4


EXAMPLES = {
    "ctlib.metrics.image.rmse": lambda: pair(mask=some(2, 3, 4)),
    "ctlib.metrics.image.psnr": lambda: pair(data_range=1.0, mask=some(3, 4)),
    "ctlib.metrics.image.nmse": lambda: pair(mask=some(2, 3, 4)),
    "ctlib.metrics.image.ssim_map": lambda: pair(9, 10, data_range=1.0, sigma=1.0),
    "ctlib.metrics.image.ssim": lambda: pair(12, 13, data_range=1.0, mask=some(12, 13)),
    "ctlib.metrics.image.histogram_bin": lambda: dict(x=rand(3, 4), bins=5, value_range=(0.0, 1.0)),
    "ctlib.metrics.image.mutual_information": lambda: pair(bins=5, value_range=(0.0, 1.0)),
    "ctlib.metrics.contrast.contrast_to_noise": lambda: dict(
        x=rand(3, 4), inside=some(3, 4, seed=3), around=some(3, 4, seed=4)
    ),
    "ctlib.metrics.paired.paired_interval": lambda: dict(
        difference=rand(3, 4), generator=stream(), level=0.9, draws=20
    ),
    "ctlib.metrics.calibration.standardized_residuals": lambda: dict(
        truth=rand(3, 4), mu=rand(3, 4, seed=1), sigma=rand(3, 4, seed=2), mask=some(3, 4, seed=3)
    ),
    "ctlib.metrics.calibration.calibration": lambda: dict(
        truth=rand(3, 4), mu=rand(3, 4, seed=1), sigma=rand(3, 4, seed=2), mask=some(3, 4, seed=3)
    ),
    "ctlib.metrics.calibration.coverage": lambda: dict(residuals=rand(6) - 0.5, levels=(0.5, 0.9)),
    "ctlib.metrics.calibration.spread_ratio": lambda: dict(
        samples=rand(3, 2, 4), sigma=rand(2, 4, seed=1), mask=some(2, 4)
    ),
    "ctlib.metrics.calibration.pairwise_rmse": lambda: dict(samples=rand(3, 2, 4)),
    "ctlib.losses.l1_ssim_loss": lambda: dict(
        estimate=rand(2, 11, 12), reference=rand(2, 11, 12, seed=1), alpha=0.8, beta=0.2, data_range=1.0
    ),
}
PAIRS = "the first axis is that of the samples: a batch is more of them"
ALLOW = {"ctlib.metrics.calibration.pairwise_rmse": {"missing axis": PAIRS, "batch": PAIRS}}
