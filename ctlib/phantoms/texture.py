"""Fine random texture with stated correlation lengths, for images that must not be piecewise constant."""

import math

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def band_limited_texture(
    shape: tuple[int, int], correlation_px: float, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Gaussian random field with zero mean and unit variance: white noise filtered by exp(-(f L)^2), (Y, X).

    correlation_px  L [pixels]: structures much finer than this do not occur
    """
    shape, dtype = contract.shape("shape", shape, 2), contract.dtype("dtype", dtype)
    correlation_px = contract.number("correlation_px", correlation_px, at_least=0, at_most=1e9)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    fy, fx = torch.fft.fftfreq(shape[0], dtype=torch.float64), torch.fft.rfftfreq(shape[1], dtype=torch.float64)
    response = torch.exp(-(correlation_px**2) * (fy[:, None] ** 2 + fx**2) * math.pi)
    response[0, 0] = 0.0
    field = torch.fft.irfft2(torch.fft.rfft2(noise) * response, s=shape)
    if not field.numel() > 1 or not field.std() > 0:
        raise ArgumentError("shape, correlation_px", f"{shape}, {correlation_px:g}", "a length well below the image's")
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
    shape, lengths = contract.shape("shape", shape, 2), contract.numbers("lengths", lengths, at_least=0)
    weight, turn = (None if v is None else contract.number(n, v) for n, v in (("weight", weight), ("turn", turn)))
    if not lengths:
        raise ArgumentError("lengths", lengths, "at least one")

    def field(length: float) -> Tensor:
        one = band_limited_texture(shape, shape[-1] * length, generator, dtype)
        if turn is None:
            return one
        return math.cos(turn) * one + math.sin(turn) * band_limited_texture(shape, shape[-1] * length, generator, dtype)

    fields = [field(length) for length in lengths]
    return sum(fields) / math.sqrt(len(fields)) if weight is None else sum(weight * f for f in fields)


def soft_mask(x: Tensor, low: float, high: float, width: float) -> Tensor:
    """1 where x lies between low and high, 0 outside, with linear ramps of a width inside both ends."""
    x, width = contract.tensor("x", x), contract.number("width", width, above=0)
    low, high = contract.number("low", low, finite=False), contract.number("high", high, finite=False)
    return ((x - low) / width).clamp(0, 1) * ((high - x) / width).clamp(0, 1)
