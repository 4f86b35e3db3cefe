"""How much noise an image holds, and how much of it neighboring pixels share."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def noise_level(x: Tensor) -> Tensor:
    """Standard deviation (..., 1, 1) of white noise in images (..., Y, X), from the finest diagonal differences.

    median |d| / 0.6745,  d = (x00 - x01 - x10 + x11) / 2;  too small for noise that neighbors share
    """
    x = contract.tensor("x", x, ("Y", "X"))
    if min(x.shape[-2:]) < 2:
        raise ArgumentError("x", f"shape {tuple(x.shape)}", "images of 2 x 2 pixels or more")
    d = (x[..., :-1, :-1] - x[..., :-1, 1:] - x[..., 1:, :-1] + x[..., 1:, 1:]) / 2
    return (d.flatten(-2).abs().median(-1).values / 0.6745)[..., None, None]


def neighbor_correlation(noise: Tensor, mask: Tensor | None = None) -> Tensor:
    """Correlation (...) of horizontal and vertical neighbors in images (..., Y, X) of noise alone, mean taken off.

        sum over pairs n_p n_q / sqrt(sum n_p^2 sum n_q^2)

    mask  bool (Y, X): pairs count where both pixels lie inside
    """
    noise = contract.tensor("noise", noise, ("Y", "X"))
    if mask is not None and contract.mask("mask", mask, noise.shape[-2:]).ndim != 2:
        raise ArgumentError("mask", f"shape {tuple(mask.shape)}", f"one image {tuple(noise.shape[-2:])}")
    inside = torch.ones(noise.shape[-2:], dtype=torch.bool) if mask is None else mask
    inside = inside.to(noise.device)
    n = (noise - (noise * inside).sum((-2, -1), keepdim=True) / inside.sum()) * inside
    pairs = ((n[..., 1:, :], n[..., :-1, :], inside[1:] & inside[:-1]),
             (n[..., :, 1:], n[..., :, :-1], inside[:, 1:] & inside[:, :-1]))  # fmt: skip
    product, first, second = (sum((f(p, q) * m).sum((-2, -1)) for p, q, m in pairs)
                              for f in (torch.mul, lambda p, _: p * p, lambda _, q: q * q))  # fmt: skip
    return product / (first * second).sqrt()


def detrended(x: Tensor, mask: Tensor) -> Tensor:
    """Images (..., Y, X) inside a mask (Y, X) less the quadratic surface that fits best there; 0 outside.

    What is left of a uniform region is noise: cupping and slow shading go with the surface.
    """
    x, mask = contract.tensor("x", x, ("Y", "X")), contract.mask("mask", mask, ("Y", "X"))
    if mask.device != x.device or mask.shape != x.shape[-2:] or int(mask.sum()) < 12:
        raise ArgumentError("mask", (tuple(mask.shape), int(mask.sum())), f"{tuple(x.shape[-2:])}, at least 12 pixels")
    row, col = (t.to(torch.float64) for t in torch.nonzero(mask, as_tuple=True))
    u, v = ((t - t.mean()) / t.std() for t in (row, col))
    basis, _ = torch.linalg.qr(torch.stack([torch.ones_like(u), u, v, u * u, u * v, v * v], 1))
    values = x[..., mask].double()
    out = torch.zeros_like(x)
    out[..., mask] = (values - (values @ basis) @ basis.T).to(x)
    return out
