"""What a degraded image is a linear function of: low-pass and decimation, masks; each with its exact adjoint.

The four tasks of the deep image prior are one energy |A x - x0|^2 with these operators, {cite}`ulyanov2018`.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.linop import LinearOperator

# 5 x 7 capitals, one integer a row, most significant bit to the left
GLYPHS = {
    "A": (14, 17, 17, 31, 17, 17, 17), "C": (14, 17, 16, 16, 16, 17, 14), "D": (30, 17, 17, 17, 17, 17, 30),
    "E": (31, 16, 16, 30, 16, 16, 31), "I": (14, 4, 4, 4, 4, 4, 14), "L": (16, 16, 16, 16, 16, 16, 31),
    "M": (17, 27, 21, 21, 17, 17, 17), "O": (14, 17, 17, 17, 17, 17, 14), "P": (30, 17, 17, 30, 16, 16, 16),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "T": (31, 4, 4, 4, 4, 4, 4), "G": (14, 17, 16, 23, 17, 17, 14), " ": (0, 0, 0, 0, 0, 0, 0),
}  # fmt: skip


class Identity(LinearOperator):
    """A = I: the observed image itself, (Y, X)."""

    def __init__(self, shape: tuple[int, int]):
        self.domain_shape = self.range_shape = contract.shape("shape", shape, 2)

    def _apply(self, x: Tensor) -> Tensor:
        return x

    _apply_adjoint = _apply


class Mask(LinearOperator):
    """A = diag(m): keeps the known pixels and sets the others to 0.

    mask  (Y, X), 1 or True where a pixel is known
    """

    def __init__(self, mask: Tensor):
        if isinstance(mask, Tensor) and mask.dtype == torch.bool:
            mask = contract.mask("mask", mask, ("Y", "X"))
        else:
            mask = contract.tensor("mask", mask, ("Y", "X"), promote=True)
        if mask.ndim != 2 or not bool(((mask == 0) | (mask == 1)).all()):
            raise ArgumentError("mask", f"shape {tuple(mask.shape)}", "a (Y, X) tensor of zeros and ones")
        if not bool(mask.any()):
            raise ArgumentError("mask", "no known pixel", "at least one 1")
        self.mask = mask
        self.domain_shape = self.range_shape = tuple(mask.shape)
        self.num_observed = int(mask.sum())

    def _apply(self, x: Tensor) -> Tensor:
        return x * self.mask.to(x)

    _apply_adjoint = _apply


def lanczos_kernel(factor: int, lobes: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    """Lanczos low-pass for decimation, centered on the coarse pixel: symmetric, sum 1.

    2 lobes factor taps for an even factor, whose coarse pixels are centered between fine ones; one more for an odd one.

    k(n) ~ sinc(t) sinc(t / lobes),   t = (n - (taps - 1) / 2) / factor,   |t| < lobes
    """
    factor, lobes = contract.count("factor", factor, 1), contract.count("lobes", lobes, 1)
    taps = 2 * lobes * factor + factor % 2
    t = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / factor
    k = torch.sinc(t) * torch.sinc(t / lobes)
    return (k / k.sum()).to(contract.dtype("dtype", dtype))


class Downsample(LinearOperator):
    """The operator d of super-resolution: Lanczos-2 low-pass, then every factor-th pixel; (Y, X) -> (Y/f, X/f).

    The image is continued by its border pixels. d keeps constants and commutes with shifts by whole coarse pixels.
    """

    def __init__(self, shape: tuple[int, int], factor: int):
        shape, factor = contract.shape("shape", shape, 2), contract.count("factor", factor, 1)
        if any(n % factor for n in shape):
            raise ArgumentError("shape", tuple(shape), f"multiples of factor = {factor}")
        self.factor, self.domain_shape = factor, tuple(shape)
        self.range_shape = tuple(n // factor for n in shape)
        self.kernel = lanczos_kernel(factor)
        self.pad = (len(self.kernel) - factor) // 2

    def _apply(self, x: Tensor) -> Tensor:
        rows = _decimate(x, self.kernel, self.factor, self.pad, -2)
        return _decimate(rows, self.kernel, self.factor, self.pad, -1)

    def _apply_adjoint(self, y: Tensor) -> Tensor:
        cols = _decimate_adjoint(y, self.kernel, self.factor, self.pad, -1)
        return _decimate_adjoint(cols, self.kernel, self.factor, self.pad, -2)


def _decimate(x: Tensor, kernel: Tensor, factor: int, pad: int, dim: int) -> Tensor:
    """Filter and decimate along one axis, border pixels repeated."""
    x = x.movedim(dim, -1)
    first, last = x[..., :1].expand(*x.shape[:-1], pad), x[..., -1:].expand(*x.shape[:-1], pad)
    wide = torch.cat([first, x, last], -1)
    y = conv2d(wide.reshape(-1, 1, 1, wide.shape[-1]), kernel.to(x)[None, None, None], stride=(1, factor))
    return y.reshape(*x.shape[:-1], y.shape[-1]).movedim(-1, dim)


def _decimate_adjoint(y: Tensor, kernel: Tensor, factor: int, pad: int, dim: int) -> Tensor:
    """Exact transpose of `_decimate`: what fell on repeated border pixels is added to the border."""
    y = y.movedim(dim, -1)
    wide = conv_transpose2d(y.reshape(-1, 1, 1, y.shape[-1]), kernel.to(y)[None, None, None], stride=(1, factor))
    wide = wide.reshape(*y.shape[:-1], wide.shape[-1])
    x = wide[..., pad:-pad].clone()
    x[..., 0] += wide[..., :pad].sum(-1)
    x[..., -1] += wide[..., -pad:].sum(-1)
    return x.movedim(-1, dim)


def bernoulli_mask(shape: tuple[int, int], keep: float, generator: torch.Generator) -> Tensor:
    """Each pixel known with probability `keep`, independently: (Y, X) of zeros and ones."""
    keep = contract.number("keep", keep, above=0, at_most=1)
    return (torch.rand(contract.shape("shape", shape, 2), generator=generator) < keep).float()


def box_mask(shape: tuple[int, int], size: float = 0.25) -> Tensor:
    """One unknown square in the middle, `size` of the image wide: (Y, X) of zeros and ones."""
    shape, size = contract.shape("shape", shape, 2), contract.number("size", size, above=0, at_most=1)
    mask = torch.ones(shape)
    (y, x), (h, w) = (tuple(round(n * (1 - size) / 2) for n in shape), tuple(max(1, round(n * size)) for n in shape))
    mask[y : y + h, x : x + w] = 0
    return mask


def text_mask(shape: tuple[int, int], text: str = "DEEP IMAGE PRIOR CT", scale: int | None = None) -> Tensor:
    """Unknown pixels in the form of printed words, the overlay that inpainting removes: (Y, X) of zeros and ones.

    text   words of A C D E G I L M P R T, one word a line, centered; lines repeat down the image
    scale  pixels per dot of a letter (default: the widest word fills most of the width)
    """
    shape, words = contract.shape("shape", shape, 2), text.upper().split() if isinstance(text, str) else []
    scale = None if scale is None else contract.count("scale", scale, 1)
    if not words or any(c not in GLYPHS for w in words for c in w):
        raise ArgumentError("text", repr(text), f"words of the letters {''.join(sorted(GLYPHS)).strip()}")
    scale = scale or max(1, math.floor(0.9 * shape[1] / (6 * max(map(len, words)))))
    mask, line = torch.ones(shape), 10 * scale
    for i in range(max(1, (shape[0] - scale) // line)):
        bits = _bitmap(words[i % len(words)]).repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        left, top = max(0, (shape[1] - bits.shape[1]) // 2), scale + i * line
        window = mask[top : top + bits.shape[0], left : left + bits.shape[1]]
        window[bits[: window.shape[0], : window.shape[1]]] = 0
    return mask


def _bitmap(word: str) -> Tensor:
    columns = [torch.tensor([[bool(row >> (4 - c) & 1) for c in range(5)] for row in GLYPHS[g]]) for g in word]
    gap = torch.zeros(7, 1, dtype=torch.bool)
    return torch.cat([part for column in columns for part in (column, gap)], 1)
