"""Noise2Sim: a neighboring slice as the second noisy view of the same structure, where it is similar."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ctlib import contract
from ctlib.errors import ArgumentError


def box_distance(x: Tensor, other: Tensor, window: int = 9) -> Tensor:
    """Root mean square difference (B, 1, Y, X) over all bins and a window around each pixel; images (B, E, Y, X)."""
    window, (x, other) = contract.count("window", window, 1), contract.together(("B", "E", "Y", "X"), x=x, other=other)
    if x.shape != other.shape or x.ndim != 4 or not x.numel():
        raise ArgumentError("x, other", f"shapes {tuple(x.shape)}, {tuple(other.shape)}", "equal ones (B, E, Y, X)")
    if window % 2 == 0:
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
    x, reach = contract.tensor("x", x, ("Z", "E", "Y", "X")), contract.count("reach", reach, 1)
    limit, num = contract.number("limit", limit, at_least=0), len(x)
    if not isinstance(index, Tensor) or index.dtype != torch.int64 or index.layout != torch.strided or index.ndim != 1:
        raise ArgumentError("index", type(index).__name__, "slice numbers (B,), an int64 tensor")
    index = index.to(generator.device)
    if not index.numel() or bool(((index < 0) | (index >= num)).any()):
        raise ArgumentError("index", index.tolist(), f"slice numbers of the {num} slices of x, at least one")
    if x.ndim != 4 or bool(x.isnan().any()):
        raise ArgumentError("x", f"shape {tuple(x.shape)}", "slices (Z, E, Y, X) without NaN")
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
