"""Fine random texture with stated correlation lengths, for images that must not be piecewise constant."""

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


def tissue_texture(
    shape: tuple[int, int], lengths: tuple[float, ...], generator: torch.Generator, *,
    weight: float | None = None, turn: float | None = None, dtype: torch.dtype = torch.float64,
) -> Tensor:  # fmt: skip
    """Sum of a `band_limited_texture` for each correlation length, (Y, X).

    lengths  shares of the width of the image
    weight   of each field; None gives their sum unit variance
    turn     [rad] None, or how far every field has turned into another, independent one: textures of one stream
             at two turns have the correlation cos(turn2 - turn1)
    """

    def field(length: float) -> Tensor:
        one = band_limited_texture(shape, shape[-1] * length, generator, dtype)
        if turn is None:
            return one
        return math.cos(turn) * one + math.sin(turn) * band_limited_texture(shape, shape[-1] * length, generator, dtype)

    fields = [field(length) for length in lengths]
    return sum(fields) / math.sqrt(len(fields)) if weight is None else sum(weight * f for f in fields)


def soft_mask(x: Tensor, low: float, high: float, width: float) -> Tensor:
    """1 where x lies between low and high, 0 outside, with linear ramps of a width inside both ends."""
    return ((x - low) / width).clamp(0, 1) * ((high - x) / width).clamp(0, 1)
