"""Atrous spatial pyramid pooling with depthwise separable convolutions, {cite}`chen2018`."""

import warnings

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.nets.blocks import batch, conv_unit


def separable_conv(in_channels: int, out_channels: int, rate: int = 1) -> nn.Sequential:
    """A 3x3 convolution of each channel with holes of `rate`, then 1x1 across channels; batch normalization, ReLU.

    9 C_in + C_in C_out weights instead of 9 C_in C_out; it sees 2 rate + 1 pixels across.
    """
    in_channels, rate = contract.count("in_channels", in_channels, 1), contract.count("rate", rate, 1)
    depthwise = nn.Conv2d(in_channels, in_channels, 3, 1, rate, rate, groups=in_channels, bias=False)
    return nn.Sequential(depthwise, *conv_unit(in_channels, out_channels, 1))


class ASPP(nn.Module):
    """The same features probed at several scales, joined and fused: (B, in, Y, X) -> (B, out, Y, X).

    Branches: 1x1; one separable 3x3 per rate; the mean over the image. All have `out_channels` channels.
    rates  distances of the taps [pixels of this map]: from its size on they read padding alone, with a warning
    """

    def __init__(self, in_channels: int, out_channels: int = 256, rates: tuple[int, ...] = (6, 12, 18)):
        super().__init__()
        in_channels, out_channels = (
            contract.count("in_channels", in_channels, 1),
            contract.count("out_channels", out_channels, 1),
        )
        self.in_channels, self.rates = in_channels, contract.shape("rates", rates)
        self.point = conv_unit(in_channels, out_channels, 1)
        self.atrous = nn.ModuleList(separable_conv(in_channels, out_channels, r) for r in self.rates)
        self.mean = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.ReLU())
        self.fuse = conv_unit((2 + len(self.rates)) * out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch("x", x, self, self.in_channels, "Y", "X")
        if max(self.rates, default=0) >= max(x.shape[2:]):
            warnings.warn(f"rates {self.rates}: some read padding alone on maps of {tuple(x.shape[2:])}", stacklevel=2)
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.fuse(torch.cat([self.point(x), *(branch(x) for branch in self.atrous), mean], 1))
