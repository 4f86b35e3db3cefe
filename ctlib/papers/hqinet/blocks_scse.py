"""Spatial and channel squeeze and excitation, and the residual block that ends with it, {cite}`roy2018`."""

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.nets.blocks import ChannelAttention, batch, conv_unit


class SCSE(ChannelAttention):
    """Recalibrated features: what each channel and each place is worth, (B, C, Y, X) -> (B, C, Y, X).

        s = sigmoid(W2 relu(W1 mean(x))),   q = sigmoid(w x),   scSE(x) = s x + q x, or max(s x, q x)

    reduction  W1 maps C to C // reduction channels (at least 1)
    fusion     "add" or "max"
    """

    def __init__(self, channels: int, reduction: int = 16, fusion: str = "add"):
        super().__init__(channels, reduction)
        self.place = nn.Conv2d(self.squeeze.in_channels, 1, 1)
        self.fusion = contract.choice("fusion", fusion, ("add", "max"))

    def place_weights(self, x: Tensor) -> Tensor:
        """q in (0, 1), one a pixel: (B, 1, Y, X)."""
        batch("x", x, self, self.place.in_channels, "Y", "X")
        return torch.sigmoid(self.place(x))

    def forward(self, x: Tensor) -> Tensor:
        s, q = self.channel_weights(x), self.place_weights(x)
        return x * (s + q) if self.fusion == "add" else torch.maximum(x * s, x * q)


class Bottleneck(nn.Module):
    """Residual block 1x1, 3x3, 1x1 with scSE before the sum, {cite}`he2016`: (B, in, Y, X) -> (B, 4 mid, Y/s, X/s)."""

    def __init__(self, in_channels: int, mid: int, stride: int = 1, scse: bool = True, reduction: int = 16):
        super().__init__()
        given = ("in_channels", in_channels), ("mid", mid), ("stride", stride)
        in_channels, mid, stride = (contract.count(n, v, 1) for n, v in given)
        self.in_channels, out = in_channels, 4 * mid
        self.body = nn.Sequential(
            conv_unit(in_channels, mid, 1),
            conv_unit(mid, mid, 3, stride),
            *conv_unit(mid, out, 1)[:2],  # no ReLU before the sum
        )
        self.recalibrate = SCSE(out, reduction) if scse else nn.Identity()
        same = stride == 1 and in_channels == out
        self.shortcut = nn.Identity() if same else conv_unit(in_channels, out, 1, stride)[:2]

    def forward(self, x: Tensor) -> Tensor:
        batch("x", x, self, self.in_channels, "Y", "X")
        return torch.relu(self.recalibrate(self.body(x)) + self.shortcut(x))
