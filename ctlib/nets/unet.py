"""A plain U-Net, {cite}`ronneberger2015`; with the right arguments, that of Neighbor2Neighbor, {cite}`huang2021`."""

from functools import partial

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.blocks import batch, conv_unit
from ctlib.nets.seeded import draw_weights, he_normal, seeded


class UNet(nn.Module):
    """Images (B, in_channels, Y, X) -> (B, out_channels, Y, X).

    width          feature channels of the encoder, one number for all levels or one per level (depth + 1, finest first)
    depth          number of halvings; Y and X must be multiples of 2^depth
    decoder_width  likewise for the decoder (depth numbers, finest first); None: as the encoder
    residual       add the input to the output; needs in_channels = out_channels
    input_skips    skips carry what enters a level, so the finest one the image itself; otherwise what leaves it
    deep_convs     3x3 convolutions of every encoder level but the first, which has two
    norm           batch normalization after every 3x3 convolution
    slope          of LeakyReLU below zero

    Encoder: 3x3 convolutions, then the maximum over 2x2. Decoder: 2x2 transposed convolution, join with the skip, two
    3x3 convolutions. Head: two 1x1 convolutions. Neighbor2Neighbor's network is width=48, depth=5, decoder_width=96,
    input_skips=True, deep_convs=1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int | tuple[int, ...] = 48,
        depth: int = 2,
        decoder_width: int | tuple[int, ...] | None = None,
        residual: bool = False,
        input_skips: bool = False,
        deep_convs: int = 2,
        norm: bool = False,
        slope: float = 0.2,
    ):
        super().__init__()
        in_channels, out_channels = (
            contract.count(n, v, 1) for n, v in (("in_channels", in_channels), ("out_channels", out_channels))
        )
        depth, deep_convs = contract.count("depth", depth), contract.count("deep_convs", deep_convs, 1)
        slope = contract.number("slope", slope, at_least=0, at_most=1)
        if residual and in_channels != out_channels:
            raise ArgumentError("residual", True, f"out_channels = in_channels, not {out_channels} and {in_channels}")
        down = _per_level("width", width, depth + 1)
        up = _per_level("decoder_width", down[:-1] if decoder_width is None else decoder_width, depth)
        self.depth, self.in_channels, self.residual, self.input_skips = depth, in_channels, residual, input_skips

        def stage(channels: int, out: int, num: int) -> nn.Sequential:
            units = (conv_unit(out if i else channels, out, norm=norm, slope=slope) for i in range(num))
            return nn.Sequential(*units)

        enters = (in_channels, *down[:-1])  # channels that enter each level
        self.encoder = nn.ModuleList(stage(enters[i], down[i], 2 if i == 0 else deep_convs) for i in range(depth + 1))
        self.raises, self.decoder = nn.ModuleList(), nn.ModuleList()
        for i in range(depth):
            below = up[i + 1] if i + 1 < depth else down[depth]
            self.raises.append(nn.ConvTranspose2d(below, below, 2, 2))
            self.decoder.append(stage(below + (enters[i] if input_skips else down[i]), up[i], 2))
        last = up[0] if depth else down[0]
        self.head = nn.Sequential(nn.Conv2d(last, last, 1), nn.LeakyReLU(slope), nn.Conv2d(last, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        step = 2**self.depth
        batch("x", x, self, self.in_channels, "Y", "X")
        if any(n % step or not n for n in x.shape[2:]):
            raise ArgumentError("x", tuple(x.shape), f"(B, {self.in_channels}, Y, X), sizes multiples of {step}")
        h, skips = x, []
        for i, stage in enumerate(self.encoder):
            h = nn.functional.max_pool2d(h, 2) if i else h
            entered, h = h, stage(h)
            skips.append(entered if self.input_skips else h)
        for i in reversed(range(self.depth)):
            h = self.decoder[i](torch.cat([self.raises[i](h), skips[i]], 1))
        h = self.head(h)
        return x + h if self.residual else h


def make_unet(seed: int, in_channels: int, out_channels: int, gain: float = 1.0, **options) -> UNet:
    """A `UNet` with its own random stream; the global random state is left as it was.

    gain     scales Kaiming's initial weights, {cite}`he2015`; Neighbor2Neighbor takes 0.1. Biases start at 0.
    options  of `UNet`; with `residual` the last convolution starts at 0, so the network starts as the identity
    """
    gain, slope = (
        contract.number("gain", gain),
        contract.number("slope", options.get("slope", 0.2), at_least=0, at_most=1),
    )
    draw = partial(he_normal, slope=slope, gain=gain)
    net = seeded(seed, lambda: draw_weights(UNet(in_channels, out_channels, **options), draw))
    if net.residual:
        nn.init.zeros_(net.head[-1].weight)
    return net


def _per_level(name: str, value: int | tuple[int, ...], num: int) -> tuple[int, ...]:
    several = isinstance(value, (tuple, list)) or getattr(value, "ndim", 0) > 0
    values = contract.shape(name, value if several else (value,) * num)
    if len(values) != num:
        raise ArgumentError(name, value, f"a number >= 1, or one for each of the {num} levels")
    return values
