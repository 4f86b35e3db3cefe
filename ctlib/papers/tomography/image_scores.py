"""Images against the truth, inside the body: scores, and noise and blur told apart."""

from __future__ import annotations

from torch import Tensor

from ctlib import metrics


def scores(x: Tensor, truth: Tensor, region: Tensor) -> dict[str, Tensor]:
    """SSIM, PSNR [dB] and RMSE [gray] of gray images (N, Y, X) inside the bodies, range 1: (N,) each."""
    found = {
        "SSIM": metrics.ssim(x, truth, data_range=1.0, mask=region),
        "PSNR": metrics.psnr(x, truth, data_range=1.0, mask=region),
        "RMSE": metrics.rmse(x, truth, mask=region),
    }
    return {k: v.double().cpu() for k, v in found.items()}


def noise_and_blur(x: Tensor, truth: Tensor, region: Tensor) -> dict[str, float]:
    """What differs between scans (R, N, Y, X) of the same bodies, and what their mean lacks: RMS inside, gray.

    E (x - truth)^2 = noise^2 + blur^2
    """
    inside = region.expand(x.shape[1:])
    variance = x.var(0)[inside].mean()
    off = (x.mean(0) - truth).square()[inside].mean() - variance / len(x)
    return {"noise": float(variance.sqrt()), "blur": float(off.clamp_min(0).sqrt())}
