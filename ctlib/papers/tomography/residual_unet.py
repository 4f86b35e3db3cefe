"""The residual U-Net in sizes XXS to XXL that reconstructs in the sinogram and in the image, {cite}`ronchetti2020`."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.blocks import ChannelAttention, batch

# first channels as in the paper; residual blocks per U-Net block are ours, the paper's table being lost
SIZES = {
    "XXS": (32, 1), "XS": (32, 2), "S": (32, 3), "S-64": (64, 3),
    "M": (64, 4), "L": (64, 6), "XL": (64, 8), "XXL": (64, 12),
}  # fmt: skip
LATENT_BLOCK = 2  # the third-last block takes z: the last works at full size, this one at a quarter


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalization in at most 8 groups, {cite}`wu2018group`: the batch, which may be small, does not matter."""
    channels = contract.count("channels", channels, 1)
    return nn.GroupNorm(math.gcd(channels, 8), channels)


class ResidualBlock(nn.Module):
    """x + conv(PReLU(norm(conv(x)))), 3x3, {cite}`he2016`: (B, C, Y, X) to itself."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels = contract.count("channels", channels, 1)
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            group_norm(channels),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(batch("x", x, self, self.channels, "Y", "X"))


def residual_blocks(channels: int, num: int) -> nn.Sequential:
    """`num` residual blocks one after another."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(contract.count("num", num))))


class DownBlock(nn.Module):
    """Strided 3x3 convolution and residual blocks: (B, C, Y, X) -> (B, out, ceil(Y/stride), ceil(X/stride))."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int, stride: int = 2):
        super().__init__()
        given = ("in_channels", in_channels), ("out_channels", out_channels), ("stride", stride)
        self.in_channels, out_channels, stride = (contract.count(n, v, 1) for n, v in given)
        num_blocks = contract.count("num_blocks", num_blocks)
        self.conv = nn.Conv2d(self.in_channels, out_channels, 3, stride, padding=1)
        self.blocks = residual_blocks(out_channels, num_blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.conv(batch("x", x, self, self.in_channels, "Y", "X")))


def join(h: Tensor, skip: Tensor) -> Tensor:
    """h (B, C, y, x) enlarged bilinearly to the size of the skip connection (B, D, Y, X), and both concatenated."""
    for name, t in (("h", h), ("skip", skip)):
        batch(name, t, nn.Identity(), "C", "Y", "X")
    if not torch.is_autocast_enabled(h.device.type):  # which mixes types
        contract.alike("skip", skip, "h", h)
    if len(h) != len(skip):
        raise ArgumentError("skip", f"shape {tuple(skip.shape)}", f"a batch of {len(h)}, as h")
    return torch.cat([interpolate(h, skip.shape[-2:], mode="bilinear", align_corners=False), skip], 1)


class UpBlock(nn.Module):
    """Join with the skip connection, channel attention, 1x1 convolution, residual blocks: at the skip's size."""

    def __init__(self, below: int, skip: int, out_channels: int, num_blocks: int):
        super().__init__()
        num_blocks = contract.count("num_blocks", num_blocks)
        given = ("below", below), ("skip", skip), ("out_channels", out_channels)
        self.below, skip, out_channels = (contract.count(n, v, 1) for n, v in given)
        below = self.below
        self.attention = ChannelAttention(below + skip)
        self.shrink = nn.Conv2d(below + skip, out_channels, 1)
        self.blocks = residual_blocks(out_channels, num_blocks)

    def forward(self, h: Tensor, skip: Tensor) -> Tensor:
        batch("h", h, self, self.below, "Y", "X")
        batch("skip", skip, self, self.shrink.in_channels - self.below, "Y", "X")
        return self.blocks(self.shrink(self.attention(join(h, skip))))


class LatentUpBlock(nn.Module):
    """The block that takes z, Fig. 1 of {cite}`ronchetti2020`: (B, below, ...), (B, skip, Y, X), z (B, Z, y, x).

        [f, l] = PReLU(conv3x3(join(h, skip))),    blocks([f, exp(l) z])

    l has the Z last channels, so that features say how much z matters where; z is enlarged bilinearly to (Y, X).
    exp(l) is held below e^8, which float16 can hold too.
    """

    def __init__(self, below: int, skip: int, out_channels: int, num_blocks: int, z_channels: int):
        super().__init__()
        given = ("below", below), ("skip", skip), ("out_channels", out_channels), ("z_channels", z_channels)
        below, skip, out_channels, z_channels = (contract.count(n, v, 1) for n, v in given)
        num_blocks = contract.count("num_blocks", num_blocks)
        if z_channels >= out_channels:
            raise ArgumentError("z_channels", z_channels, f"fewer than out_channels = {out_channels}")
        self.below = below
        self.first = nn.Sequential(nn.Conv2d(below + skip, out_channels, 3, padding=1), nn.PReLU())
        self.blocks, self.split = residual_blocks(out_channels, num_blocks), (out_channels - z_channels, z_channels)

    def forward(self, h: Tensor, skip: Tensor, z: Tensor) -> Tensor:
        batch("h", h, self, self.below, "Y", "X")
        batch("skip", skip, self, self.first[0].in_channels - self.below, "Y", "X")
        batch("z", z, self, self.split[1], "y", "x")
        if len(z) != len(h):
            raise ArgumentError("z", f"shape {tuple(z.shape)}", f"a batch of {len(h)}, as h")
        f, scale = self.first(join(h, skip)).split(self.split, 1)
        z = interpolate(z, f.shape[-2:], mode="bilinear", align_corners=False)
        return self.blocks(torch.cat([f, scale.clamp_max(8).exp() * z], 1))


class ResidualUNet(nn.Module):
    """(B, in_channels, Y, X) -> (B, out_channels, Y, X), any Y and X.

    width         channels of the first block; doubled after every `double_every` strided convolutions
    num_blocks    residual blocks in every block
    depth         number of halvings
    z_channels    0, or channels of a latent z that enters the third-last block

    Down: strided convolution, residual blocks. Up: enlarge, join, channel attention, 1x1 convolution, residual blocks.
    """

    def __init__(
        self, in_channels: int, out_channels: int, width: int = 32, num_blocks: int = 1, depth: int = 4,
        double_every: int = 2, z_channels: int = 0,
    ):  # fmt: skip
        super().__init__()
        given = {"in_channels": in_channels, "out_channels": out_channels, "width": width, "num_blocks": num_blocks}
        given |= {"depth": depth, "double_every": double_every}
        in_channels, out_channels, width, num_blocks, depth, double_every = (
            contract.count(n, v, 1) for n, v in given.items()
        )
        z_channels = contract.count("z_channels", z_channels)
        widths = [width * 2 ** (i // double_every) for i in range(depth + 1)]
        if z_channels and (depth <= LATENT_BLOCK or not 0 < z_channels < widths[LATENT_BLOCK]):
            raise ArgumentError("z_channels", z_channels, f"depth > {LATENT_BLOCK}, fewer than the block's channels")
        self.in_channels, self.z_channels, self.depth = in_channels, z_channels, depth
        self.down = nn.ModuleList(
            DownBlock(widths[i - 1] if i else in_channels, widths[i], num_blocks, 2 if i else 1)
            for i in range(depth + 1)
        )
        self.up = nn.ModuleList(  # finest first
            LatentUpBlock(widths[i + 1], widths[i], widths[i], num_blocks, z_channels)
            if z_channels and i == LATENT_BLOCK
            else UpBlock(widths[i + 1], widths[i], widths[i], num_blocks)
            for i in range(depth)
        )
        self.head = nn.Conv2d(width, out_channels, 1)

    def deep(self, x: Tensor) -> list[Tensor]:
        """What does not depend on z: the skips that are still needed, finest first, and the features below them."""
        batch("x", x, self, self.in_channels, "Y", "X")
        maps = []
        for block in self.down:
            x = block(x)
            maps.append(x)
        stop = LATENT_BLOCK if self.z_channels else self.depth - 1
        for i in range(self.depth - 1, stop, -1):
            h, skip = maps.pop(), maps.pop()
            maps.append(self.up[i](h, skip))
        return maps

    def late(self, maps: list[Tensor], z: Tensor | None = None) -> Tensor:
        """The image from `deep`'s maps and z: few layers, so that gradients to z are cheap."""
        if (z is not None) != bool(self.z_channels):
            raise ArgumentError("z", None if z is None else "a z", f"{self.z_channels} channels, None for 0")
        *skips, h = maps
        for i in range(len(skips) - 1, -1, -1):
            h = self.up[i](h, skips[i], z) if z is not None and i == LATENT_BLOCK else self.up[i](h, skips[i])
        return self.head(h)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        return self.late(self.deep(x), z)


def unet_of_size(size: str, in_channels: int, out_channels: int, **options) -> ResidualUNet:
    """The U-Net of a size of `SIZES`."""
    contract.choice("size", size, tuple(SIZES))
    width, num_blocks = SIZES[size]
    return ResidualUNet(in_channels, out_channels, width, num_blocks, **options)
