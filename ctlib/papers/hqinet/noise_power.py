"""Noise of CT images where they are flat: its standard deviation and its power spectrum, measured from the images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ctlib import contract
from ctlib.errors import ArgumentError

FLAT_HU = (-40.0, 160.0)  # mean of what is around a pixel of soft tissue


def flat_tiles(hu: Tensor, size: int = 16, num_spread: float = 1.5) -> Tensor:
    """Tiles (N, size, size) of soft tissue of slices (Z, Y, X) in HU, each less its own plane.

    Overlapping by half. A tile is kept where all 5 x 5 means in it are those of soft tissue and its variance is at most
    `num_spread` times the median of these: vessels and edges are in the others.
    """
    hu, size = contract.tensor("hu", hu, ("Z", "Y", "X")), contract.count("size", size, 6)
    mean = avg_pool2d(hu[:, None], 5, 1, 2)
    soft = ((mean > FLAT_HU[0]) & (mean < FLAT_HU[1])).to(hu)
    kept = avg_pool2d(soft, size, size // 2)[:, 0] > 0.999
    tiles = hu.unfold(1, size, size // 2).unfold(2, size, size // 2)[kept]
    if not len(tiles):
        return hu.new_zeros(0, size, size)
    tiles = _without_plane(tiles)
    variance = tiles.square().mean((1, 2))
    return tiles[variance <= contract.number("num_spread", num_spread, above=0) * variance.median()]


def _without_plane(tiles: Tensor) -> Tensor:
    t = torch.linspace(-1, 1, tiles.shape[-1], dtype=tiles.dtype, device=tiles.device)
    tiles, norm = tiles - tiles.mean((1, 2), keepdim=True), t.square().mean()
    y, x = t[:, None], t[None, :]
    slopes = ((tiles * y).mean((1, 2), keepdim=True) / norm, (tiles * x).mean((1, 2), keepdim=True) / norm)
    return tiles - slopes[0] * y - slopes[1] * x


def noise_of(hu: Tensor, size: int = 16) -> float:
    """Standard deviation [HU] of the noise of slices (Z, Y, X): root of the median variance of their flat tiles.

    Texture of the tissue counts as noise, so that it is an upper bound.
    """
    tiles = flat_tiles(hu, size)
    if not len(tiles):
        raise ArgumentError("hu", "no flat tile", f"slices with {size} x {size} pixels of soft tissue somewhere")
    return float(tiles.square().mean((1, 2)).median().sqrt())


def tile_pixels(pixel_mm: float) -> int:
    """Side [pixels] of tiles of 16 mm, at least 6."""
    return max(6, round(16 / contract.number("pixel_mm", pixel_mm, above=0)))


def noise_power(tiles: Tensor, pixel_mm: float) -> tuple[Tensor, Tensor]:
    """Radial noise-power spectrum of tiles (N, S, S) [HU]: (frequencies [1/mm], power [HU^2 mm^2]), S // 2 each.

    NPS(f) = pixel^2 / S^2 mean |DFT(tile)|^2,    averaged over rings of equal |f|
    """
    tiles, pixel_mm = contract.tensor("tiles", tiles, ("Y", "X")), contract.number("pixel_mm", pixel_mm, above=0)
    if tiles.ndim != 3 or tiles.shape[-1] != tiles.shape[-2] or not tiles.numel():
        raise ArgumentError("tiles", tuple(tiles.shape), "(N, S, S), at least one")
    size = tiles.shape[-1]
    power = torch.fft.fft2(tiles).abs().square().mean(0) * pixel_mm**2 / size**2
    f = torch.fft.fftfreq(size, dtype=tiles.dtype, device=tiles.device)
    ring = (torch.hypot(f[:, None], f[None, :]) * size).round().long()
    radial = torch.stack([power[ring == k].mean() for k in range(1, size // 2 + 1)])
    return torch.arange(1, size // 2 + 1, dtype=tiles.dtype) / (size * pixel_mm), radial


def mean_frequency(frequencies: Tensor, power: Tensor) -> float:
    """Mean frequency [1/mm] of a radial noise-power spectrum: where the noise's power lies, sum f^2 P / sum f P."""
    frequencies, power = contract.together(("F",), frequencies=frequencies, power=power)
    return float((frequencies**2 * power).sum() / (frequencies * power).sum())
