"""Noise2Sim: a neighboring slice as the second noisy view of the same structure, where it is similar."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ctlib.errors import ArgumentError


def box_distance(x: Tensor, other: Tensor, window: int = 9) -> Tensor:
    """Root mean square difference (B, 1, Y, X) over all bins and a window around each pixel; images (B, E, Y, X)."""
    if window < 1 or window % 2 == 0:
        raise ArgumentError("window", window, "an odd number >= 1")
    square = (x - other).square().mean(1, keepdim=True)
    half = window // 2
    return F.avg_pool2d(F.pad(square, (half,) * 4, mode="replicate"), window, 1).sqrt()


def similar_slices(
    x: Tensor, index: Tensor, generator: torch.Generator, reach: int = 2, limit: float = 0.2, window: int = 9
) -> tuple[Tensor, Tensor]:
    """A slice near each of these, drawn at distance 1 to `reach`, and where it is similar, {cite}`niu2022`.

    x      all slices (Z, E, Y, X), each bin scaled to unit mean, Z > 1
    index  (B,) slice numbers
    limit  largest `box_distance` that counts as similar, relative to the root mean square of x

    Returns images (B, E, Y, X) and a bool mask (B, 1, Y, X). Slices beyond the ends are reflected.
    """
    num = len(x)
    if num < 2:
        raise ArgumentError("x", tuple(x.shape), "at least two slices")
    distance = torch.randint(1, min(reach, num - 1) + 1, index.shape, generator=generator)
    sign = 2 * torch.randint(2, index.shape, generator=generator) - 1
    place = index + sign * distance
    place = torch.where((place < 0) | (place >= num), index - sign * distance, place).clamp(0, num - 1)
    place = torch.where(place == index, (index + 1) % num, place)
    other = x[place]
    scale = x.square().mean().sqrt()
    return other, box_distance(x[index], other, window) <= limit * scale
