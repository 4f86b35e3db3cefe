"""Atrous spatial pyramid pooling with depthwise separable convolutions, {cite}`chen2018`."""

import torch
from torch import Tensor, nn

from ctlib.errors import ArgumentError
from ctlib.nets.blocks import conv_unit


def separable_conv(in_channels: int, out_channels: int, rate: int = 1) -> nn.Sequential:
    """A 3x3 convolution of each channel with holes of `rate`, then 1x1 across channels; batch normalization, ReLU.

    9 C_in + C_in C_out weights instead of 9 C_in C_out; it sees 2 rate + 1 pixels across.
    """
    if rate < 1:
        raise ArgumentError("rate", rate, "a whole number >= 1")
    depthwise = nn.Conv2d(in_channels, in_channels, 3, 1, rate, rate, groups=in_channels, bias=False)
    return nn.Sequential(depthwise, *conv_unit(in_channels, out_channels, 1))


class ASPP(nn.Module):
    """The same features probed at several scales, joined and fused: (B, in, Y, X) -> (B, out, Y, X).

    Branches: 1x1; one separable 3x3 per rate; the mean over the image. All have `out_channels` channels.
    rates  distances of the taps [pixels of this map]: beyond half its size they read padding alone
    """

    def __init__(self, in_channels: int, out_channels: int = 256, rates: tuple[int, ...] = (6, 12, 18)):
        super().__init__()
        self.point = conv_unit(in_channels, out_channels, 1)
        self.atrous = nn.ModuleList(separable_conv(in_channels, out_channels, r) for r in rates)
        self.mean = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.ReLU())
        self.fuse = conv_unit((2 + len(rates)) * out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.fuse(torch.cat([self.point(x), *(branch(x) for branch in self.atrous), mean], 1))
