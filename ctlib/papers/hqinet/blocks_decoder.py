"""Decoder and reconstruction blocks: up by two with the encoder's help, and one image from all scales."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.blocks import batch, conv_unit


class DecoderBlock(nn.Module):
    """(B, in, Y, X) and the encoder's (B, skip, 2Y, 2X) -> (B, out, 2Y, 2X).

    Bilinear up; 1x1 convolution that thins the encoder's map to `low` channels; join; two 3x3 convolutions.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int = 256, low: int = 48):
        super().__init__()
        given = ("in_channels", in_channels), ("skip_channels", skip_channels), ("low", low)
        in_channels, skip_channels, low = (contract.count(n, v, 1) for n, v in given)
        self.in_channels, self.skip_channels = in_channels, skip_channels
        self.thin = conv_unit(skip_channels, low, 1)
        self.refine = nn.Sequential(
            conv_unit(in_channels + low, out_channels, 3), conv_unit(out_channels, out_channels, 3)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        batch("x", x, self, self.in_channels, "Y", "X")
        batch("skip", skip, self, self.skip_channels, 2 * x.shape[2], 2 * x.shape[3])
        if len(skip) != len(x):
            raise ArgumentError("skip", f"shape {tuple(skip.shape)}", f"a batch of {len(x)}, as x")
        up = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.refine(torch.cat([up, self.thin(skip)], 1))


class Reconstruction(nn.Module):
    """Maps of several scales, coarse first -> one image (B, 1, Y, X): up to full size, join, 3x3, 1x1.

    multi_scale  False: only the finest map
    """

    def __init__(self, channels: int, num_scales: int = 4, multi_scale: bool = True):
        super().__init__()
        channels, num_scales = contract.count("channels", channels, 1), contract.count("num_scales", num_scales, 1)
        self.channels, self.num_scales, self.multi_scale = channels, num_scales, multi_scale
        self.fuse = conv_unit(channels * (num_scales if multi_scale else 1), channels, 3)
        self.image = nn.Conv2d(channels, 1, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        if len(maps) != self.num_scales:
            raise ArgumentError("maps", len(maps), f"{self.num_scales} of them, coarse first")
        for m in maps:
            batch("maps", m, self, self.channels, "Y", "X")
        if len({len(m) for m in maps}) > 1:
            raise ArgumentError("maps", [tuple(m.shape) for m in maps], "batches of one size")
        size = maps[-1].shape[-2:]
        used = maps if self.multi_scale else maps[-1:]
        full = [m if m.shape[-2:] == size else interpolate(m, size, mode="bilinear", align_corners=False) for m in used]
        return self.image(self.fuse(torch.cat(full, 1)))
