"""Other pairs within the method's idea: energy bins, whose noise is independent, teach one another."""

from __future__ import annotations

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def hidden_bins(shape: tuple[int, ...], generator: torch.Generator, most: int = 2) -> Tensor:
    """Mask (B, E, 1, 1) float: 1 where a bin is hidden, one to `most` of them in every image."""
    num, bins = contract.shape("shape", shape, 4)[:2]
    most = contract.count("most", most, 1)
    if most >= bins:
        raise ArgumentError("most", most, f"fewer than the {bins} bins")
    rank = torch.rand(num, bins, generator=generator).argsort(1).argsort(1)
    hide = torch.randint(1, most + 1, (num, 1), generator=generator)
    return (rank < hide).float()[..., None, None]


def _spectra(x: Tensor) -> Tensor:
    x = contract.tensor("x", x, ("B", "E", "Y", "X"))
    if x.ndim != 4 or not x.numel() or x.shape[1] < 2:
        raise ArgumentError("x", f"shape {tuple(x.shape)}", "images (B, E, Y, X) of two bins or more")
    return x


def filled_in(net, x: Tensor, hidden: Tensor) -> Tensor:
    """All bins (B, E, Y, X) as a network makes them from those of x (B, E, Y, X) that are not hidden (B, E, 1, 1).

    The mean of the bins that are seen, each scaled to unit mean, plus what the network (B, 2E, Y, X) -> (B, E, Y, X)
    makes of them and of the mask.
    """
    x = _spectra(x)
    hidden = contract.tensor("hidden", hidden).to(x)
    if hidden.shape != (*x.shape[:2], 1, 1) or bool((hidden.sum(1) >= x.shape[1]).any()):
        raise ArgumentError("hidden", f"shape {tuple(hidden.shape)}", "(B, E, 1, 1), a bin of every image not hidden")
    seen = x * (1 - hidden)
    mean = seen.sum(1, keepdim=True) / (1 - hidden).sum(1, keepdim=True)
    return mean + net(torch.cat([seen, hidden.expand_as(x)], 1))


def bins_loss(net, x: Tensor, generator: torch.Generator, most: int = 2) -> Tensor:
    """Mean |f(other bins) - bin|^2 over the hidden bins of x (B, E, Y, X): Noise2Noise with bins for pairs.

    Counts of two bins are independent, so a hidden bin's noise cannot be predicted, its image can: three materials
    make spectra of three dimensions, whose coordinates the other bins still determine.
    """
    x = _spectra(x)
    hidden = hidden_bins(x.shape, generator, most).to(x)
    error = (filled_in(net, x, hidden) - x) * hidden
    return error.square().sum() / (hidden.sum() * x.shape[2] * x.shape[3])


def fill_bins(net, x: Tensor) -> Tensor:
    """Every bin of x (B, E, Y, X) as a network makes it from all others."""
    x = _spectra(x)
    bins = x.shape[1]
    hidden = torch.eye(bins, dtype=x.dtype, device=x.device)[:, None, :, None, None].expand(-1, len(x), -1, -1, -1)
    made = filled_in(net, x.repeat(bins, 1, 1, 1), hidden.flatten(0, 1)).unflatten(0, (bins, len(x)))
    return torch.stack([made[e, :, e] for e in range(bins)], 1)
