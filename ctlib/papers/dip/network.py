"""The networks of the deep image prior, with skip branches and as an hourglass without, {cite}`ulyanov2018`."""

from functools import partial

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.blocks import batch, conv_unit
from ctlib.nets.seeded import seeded

# convolution with bias and reflection padding, batch normalization, LeakyReLU
unit = partial(conv_unit, bias=True, slope=0.2, padding_mode="reflect")


UPSAMPLING = ("bilinear", "nearest")


class Scale(nn.Module):
    """One scale: down, whatever is deeper, up, joined with the skip branch, and two convolutions.

    down  3x3 stride 2, 3x3     skip  1x1     join  concatenation, batch normalization, 3x3, 1x1
    """

    def __init__(self, in_channels: int, channels: int, skip_channels: int, deeper: nn.Module | None, up: str):
        super().__init__()
        self.down = nn.Sequential(unit(in_channels, channels, 3, stride=2), unit(channels, channels, 3))
        self.deeper = deeper if deeper is not None else nn.Identity()
        deep = deeper.out_channels if deeper is not None else channels
        self.up = nn.Upsample(scale_factor=2, mode=up, align_corners=False if up == "bilinear" else None)
        self.skip = unit(in_channels, skip_channels, 1) if skip_channels else None
        joined = deep + skip_channels
        self.join = nn.Sequential(nn.BatchNorm2d(joined), unit(joined, channels, 3), unit(channels, channels, 1))
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.deeper(self.down(x)))  # (B, deep, Y, X)
        y = y if self.skip is None else torch.cat([self.skip(x), y], 1)
        return self.join(y)


class SkipNet(nn.Module):
    """x = f_theta(z): (B, in_channels, Y, X) -> (B, out_channels, Y, X) in (0, 1).

    channels       feature channels, one number for all scales or one per scale (first the finest)
    skip_channels  channels of the skip branches, likewise; 0 for an hourglass
    scales         number of halvings; Y and X must be multiples of 2^scales with at least 2 pixels left
    up             "bilinear" or "nearest"
    """

    def __init__(
        self,
        in_channels: int = 32,
        out_channels: int = 1,
        channels: int | tuple[int, ...] = 128,
        skip_channels: int | tuple[int, ...] = 4,
        scales: int = 5,
        up: str = "bilinear",
    ):
        super().__init__()
        widths, skips = (
            _per_scale("channels", channels, scales, 1),
            _per_scale("skip_channels", skip_channels, scales, 0),
        )
        out_channels, up = contract.count("out_channels", out_channels, 1), contract.choice("up", up, UPSAMPLING)
        self.in_channels = contract.count("in_channels", in_channels, 1)
        net = None
        for i in reversed(range(scales)):
            net = Scale(widths[i - 1] if i else in_channels, widths[i], skips[i], net, up)
        self.body, self.scales = net, scales
        self.head = nn.Sequential(nn.Conv2d(widths[0], out_channels, 1), nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        batch("z", z, self, self.in_channels, "Y", "X")
        step = 2**self.scales
        if any(n % step or n < 2 * step for n in z.shape[-2:]):
            raise ArgumentError("z", f"size {tuple(z.shape[-2:])}", f"multiples of {step}, at least {2 * step}")
        y = self.body(z)
        with contract.full_precision(y):  # an image in steps of 2^-8 would be one with noise
            return self.head(y.to(self.head[0].weight))


def hourglass(in_channels: int = 2, channels: int = 128, scales: int = 5, up: str = "nearest") -> SkipNet:
    """The same network without skip branches, as used for large holes."""
    return SkipNet(in_channels, 1, channels, 0, scales, up)


def _per_scale(name: str, value: int | tuple[int, ...], scales: int, least: int) -> tuple[int, ...]:
    scales = contract.count("scales", scales, 1)
    several = isinstance(value, (tuple, list)) or getattr(value, "ndim", 0) > 0
    values = tuple(contract.count(name, v, least) for v in (value if several else (value,) * scales))
    if len(values) != scales:
        raise ArgumentError(name, value, f"one number, or one for each of the {scales} scales")
    return values


def skip_prior(
    shape: tuple[int, int], seed: int, in_channels: int = 32, device: str = "cpu", **options
) -> tuple[SkipNet, Tensor]:
    """(network, input) of a deep image prior: weights and the fixed input z ~ U(0, 0.1) from separate random streams.

    options  of `SkipNet`; the global random state is left as it was
    """
    shape, seed = contract.shape("shape", shape, 2), contract.count("seed", seed, 0, 2**62)
    in_channels = contract.count("in_channels", in_channels, 1)
    net = seeded(seed, SkipNet, in_channels, **options).to(device)
    z = torch.rand(1, in_channels, *shape, generator=torch.Generator().manual_seed(seed + 10_000)) * 0.1
    return net, z.to(device)
