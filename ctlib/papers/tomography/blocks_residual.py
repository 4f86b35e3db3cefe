"""Blocks of a residual U-Net: residual block, and one block down and one up."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ctlib.nets.blocks import ChannelAttention


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalization in at most 8 groups, {cite}`wu2018group`: the batch, which may be small, does not matter."""
    return nn.GroupNorm(math.gcd(channels, 8), channels)


class ResidualBlock(nn.Module):
    """x + conv(PReLU(norm(conv(x)))), 3x3, {cite}`he2016`: (B, C, Y, X) to itself."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            group_norm(channels),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def residual_blocks(channels: int, num: int) -> nn.Sequential:
    """`num` residual blocks one after another."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(num)))


class DownBlock(nn.Module):
    """Strided 3x3 convolution and residual blocks: (B, C, Y, X) -> (B, out, ceil(Y/stride), ceil(X/stride))."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int, stride: int = 2):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
        self.blocks = residual_blocks(out_channels, num_blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.conv(x))


def join(h: Tensor, skip: Tensor) -> Tensor:
    """h enlarged bilinearly to the size of the skip connection, and both concatenated."""
    return torch.cat([interpolate(h, skip.shape[-2:], mode="bilinear", align_corners=False), skip], 1)


class UpBlock(nn.Module):
    """Join with the skip connection, channel attention, 1x1 convolution, residual blocks: at the skip's size."""

    def __init__(self, below: int, skip: int, out_channels: int, num_blocks: int):
        super().__init__()
        self.attention = ChannelAttention(below + skip)
        self.shrink = nn.Conv2d(below + skip, out_channels, 1)
        self.blocks = residual_blocks(out_channels, num_blocks)

    def forward(self, h: Tensor, skip: Tensor) -> Tensor:
        return self.blocks(self.shrink(self.attention(join(h, skip))))


class LatentUpBlock(nn.Module):
    """The block that takes z, Fig. 1 of {cite}`ronchetti2020`: (B, below, ...), (B, skip, Y, X), z (B, Z, y, x).

        [f, l] = PReLU(conv3x3(join(h, skip))),    blocks([f, exp(l) z])

    l has the Z last channels, so that features say how much z matters where; z is enlarged bilinearly to (Y, X).
    exp(l) is held below e^8, which float16 can hold too.
    """

    def __init__(self, below: int, skip: int, out_channels: int, num_blocks: int, z_channels: int):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(below + skip, out_channels, 3, padding=1), nn.PReLU())
        self.blocks, self.split = residual_blocks(out_channels, num_blocks), (out_channels - z_channels, z_channels)

    def forward(self, h: Tensor, skip: Tensor, z: Tensor) -> Tensor:
        f, scale = self.first(join(h, skip)).split(self.split, 1)
        z = interpolate(z, f.shape[-2:], mode="bilinear", align_corners=False)
        return self.blocks(torch.cat([f, scale.clamp_max(8).exp() * z], 1))
