"""The scatter network of end-to-end differentiable photon-counting CT, {cite}`wang2026`, and its two losses.

Direct and Cross are the same network: Direct is trained with the scatter itself, Cross with the images behind the
decomposition and reconstruction, which come as arguments.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.blocks import conv_unit

LAYERS = {1: (nn.Conv1d, nn.MaxPool1d, "linear"), 2: (nn.Conv2d, nn.MaxPool2d, "bilinear")}
FLOOR = 1e-6  # relative counts below it are read as this much
MOST = 0.95  # share of a pixel's counts that may be taken for scatter: what is left stays positive


class ScatterNet(nn.Module):
    """Scatter-to-total ratio (B, E, ...) in (0, 1) on a coarse grid, from counts (B, E, ...) of one view.

    num_bins     E, energy bins
    channels     of the encoder's stages: each two 3-wide convolutions with batch normalization and ReLU, then halved
    ndim         1 for a row of detector columns, 2 for a flat panel (R, U)
    pools        how much every stage is halved along each axis; by default by 2
    last_stride  of the second convolution of the bottleneck
    start        ratio that the network gives about everywhere before training, by the bias of its last layer: from
                 one half, the sigmoid's own, so much is taken for scatter that the decomposition ends on its box

    The paper's: 4 bins, (64, 128, 128, 64), 2-D: 384 x 256 x 4 to 24 x 16 x 64 (printed 32 x 16) to 12 x 8 x 4.
    Counts are relative to the open beam; the network reads their logarithm, as they span five decades. The paper does
    not say how it halves: maximum over pairs. Sizes must be multiples of the product of the pools.
    """

    def __init__(
        self, num_bins: int = 4, channels: tuple[int, ...] = (64, 128, 128, 64), ndim: int = 2, last_stride: int = 2,
        start: float = 0.05, pools: tuple[tuple[int, ...], ...] | None = None,
    ):  # fmt: skip
        super().__init__()
        ndim, num_bins = contract.count("ndim", ndim, 1, 2), contract.count("num_bins", num_bins, 1)
        channels, last_stride = contract.shape("channels", channels), contract.count("last_stride", last_stride, 1)
        start = contract.number("start", start, above=0, below=1)
        if not channels:
            raise ArgumentError("channels", channels, "at least one stage")
        (conv, pool, _), unit = LAYERS[ndim], partial(conv_unit, ndim=ndim, bias=True)
        self.pools = tuple(contract.shape("pools", p) for p in pools or [(2,) * ndim] * len(channels))
        if len(self.pools) != len(channels) or any(len(p) != ndim for p in self.pools):
            raise ArgumentError("pools", pools, f"{len(channels)} stages of {ndim} numbers")
        stages = zip((num_bins, *channels), channels, self.pools, strict=False)
        self.encoder = nn.Sequential(*(nn.Sequential(unit(i, o), unit(o, o), pool(p)) for i, o, p in stages))
        last = conv(channels[-1], num_bins, 3, last_stride, 1)
        nn.init.constant_(last.bias, math.log(start / (1 - start)))
        self.bottleneck = nn.Sequential(unit(channels[-1], channels[-1]), last, nn.Sigmoid())
        self.ndim, self.num_bins = ndim, num_bins

    def forward(self, counts: Tensor) -> Tensor:
        contract.alike("counts", contract.tensor("counts", counts), "the network", next(self.parameters()))
        steps, sizes = [math.prod(p) for p in zip(*self.pools, strict=True)], counts.shape[2:]
        fits = counts.ndim == self.ndim + 2 and counts.shape[1] == self.num_bins
        if not fits or any(n % step or not n for n, step in zip(sizes, steps, strict=True)):
            raise ArgumentError("counts", tuple(counts.shape), f"(B, {self.num_bins}, ...), sizes multiples of {steps}")
        return self.bottleneck(self.encoder(-counts.clamp_min(FLOOR).log()))


def scatter_ratio(net: ScatterNet, counts: Tensor, spread: str = "scatter") -> Tensor:
    """Scatter-to-total ratio of scans (N, E, V, [R,] U), every view by itself, at the detector's resolution.

    spread  how the network's coarse ratio gets there, which the paper does not say. "scatter": times the counts of its
            cell it is scatter, which is smooth and interpolated linearly; at most 95 % of a pixel's counts. "ratio":
            the ratio is interpolated, although it jumps at the edge of a body.
    """
    contract.choice("spread", spread, ("scatter", "ratio"))
    if contract.tensor("counts", counts).ndim != net.ndim + 3:
        raise ArgumentError("counts", f"shape {tuple(counts.shape)}", "(N, E, V, [R,] U)")
    views = counts.transpose(1, 2).flatten(0, 1)  # (N V, E, [R,] U)
    coarse, size = net(views).to(views), views.shape[2:]
    fine = partial(nn.functional.interpolate, size=size, mode=LAYERS[net.ndim][2], align_corners=False)
    if spread == "ratio":
        ratio = fine(coarse)
    else:
        cells = nn.functional.interpolate(views, coarse.shape[2:], mode="area")
        ratio = (fine(coarse * cells) / views.clamp_min(FLOOR)).clamp_max(MOST)
    return ratio.unflatten(0, (counts.shape[0], counts.shape[2])).transpose(1, 2)


def without_scatter(counts: Tensor, ratio: Tensor) -> Tensor:
    """Counts less their scatter, counts (1 - ratio): positive, as the ratio lies in (0, 1)."""
    _require_same(counts=counts, ratio=ratio)
    return counts * (1 - ratio)


def _require_same(**values: Tensor) -> None:
    """Raise unless these tensors have one shape, dtype and device."""
    contract.together(**values)
    (first, like), *others = values.items()
    for name, value in others:
        if value.shape != like.shape:
            raise ArgumentError(name, f"shape {tuple(value.shape)}", f"that of {first}, {tuple(like.shape)}")


def direct_loss(ratio: Tensor, counts: Tensor, scatter: Tensor) -> Tensor:
    """Mean absolute error of the scatter-to-total ratio, for which the scatter must be known."""
    _require_same(ratio=ratio, counts=counts, scatter=scatter)
    return (ratio - scatter / counts).abs().mean()


class _Limited(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, limit: float) -> Tensor:
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.limit = inputs[1]

    @staticmethod
    def backward(ctx, gradient: Tensor):
        return gradient.clamp(-ctx.limit, ctx.limit), None

    @staticmethod
    def jvp(ctx, tangent: Tensor, _):
        return tangent.clone()  # forward mode goes through the value, which is x itself


def limit_gradient(x: Tensor, limit: float) -> Tensor:
    """x itself; every entry of the gradient that comes back is cut off at +-limit."""
    return _Limited.apply(contract.tensor("x", x), contract.number("limit", limit, above=0))


def cross_loss(
    ratio: Tensor, counts: Tensor, reference: Tensor, decompose: Callable[[Tensor], Tensor],
    reconstruct: Callable[[Tensor], Tensor], gradient_limit: float | None = 5e-4,
) -> Tensor:  # fmt: skip
    """Mean absolute error of the material images, for which no scatter need be known.

        | reconstruct(decompose(counts (1 - ratio))) - reference |

    ratio, counts   (N, E, V, [R,] U), counts relative to the open beam
    reference       quantitative images (N, M, ...)
    decompose       (..., E) relative counts -> (..., M) path lengths, differentiable
    reconstruct     (N, M, V, [R,] U) -> images of the same kind
    gradient_limit  of the loss with respect to each relative count, which diverges where few photons arrive
    """
    corrected = without_scatter(counts, ratio)
    if gradient_limit is not None:
        corrected = limit_gradient(corrected, contract.number("gradient_limit", gradient_limit, above=0))
    paths = decompose(corrected.movedim(1, -1)).movedim(-1, 1)
    images = reconstruct(paths)
    _require_same(images=images, reference=reference)
    return (images - reference).abs().mean()
