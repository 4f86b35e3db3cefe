"""Fine random texture with a stated correlation length, for images that must not be piecewise constant."""

import math

import torch
from torch import Tensor


def band_limited_texture(
    shape: tuple[int, int], correlation_px: float, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Gaussian random field with zero mean and unit variance: white noise filtered by exp(-(f L)^2), (Y, X).

    correlation_px  L [pixels]: structures much finer than this do not occur
    """
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    fy, fx = torch.fft.fftfreq(shape[0], dtype=torch.float64), torch.fft.rfftfreq(shape[1], dtype=torch.float64)
    response = torch.exp(-(correlation_px**2) * (fy[:, None] ** 2 + fx**2) * math.pi)
    response[0, 0] = 0.0
    field = torch.fft.irfft2(torch.fft.rfft2(noise) * response, s=shape)
    return (field / field.std()).to(dtype)
