"""Blocks that networks of several papers are built of."""

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError

CONVS = {1: nn.Conv1d, 2: nn.Conv2d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


def batch(name: str, x: object, net: nn.Module, *shape: int | str, leading: int = 1) -> Tensor:
    """What enters a network: a tensor (B, *shape) of its weights' dtype, on their device; under autocast any.

    shape    a length, or a name for any length
    leading  batch axes before it
    """
    weight = next(net.parameters(), None)
    if not isinstance(x, Tensor) or x.layout != torch.strided or not x.is_floating_point():
        contract.tensor(name, x, shape)  # says what is wrong with it, but for half precision, which networks take
    contract.trailing(name, x, shape)
    if x.ndim != len(shape) + leading:
        raise ArgumentError(name, f"shape {tuple(x.shape)}", f"a batch (B, {', '.join(map(str, shape))})")
    if 0 in x.shape[leading:]:
        raise ArgumentError(name, f"shape {tuple(x.shape)}, no pixel", "at least one")
    if weight is not None and (x.dtype != weight.dtype or x.device != weight.device):
        autocast = torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)
        if not autocast or x.device != weight.device:
            raise ArgumentError(
                name,
                f"{x.dtype} on {x.device}",
                f"the dtype and device of the weights: {weight.dtype} on {weight.device}",
            )
    return x


def conv_unit(
    in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, *, ndim: int = 2, norm: bool = True,
    bias: bool | None = None, slope: float = 0.0, padding_mode: str = "zeros",
) -> nn.Sequential:  # fmt: skip
    """Convolution that keeps the size (up to the stride), batch normalization, ReLU.

    ndim          1 for (B, C, U), 2 for (B, C, Y, X)
    norm          False: without normalization
    bias          of the convolution; by default where no normalization follows, which would take it away again
    slope         below zero: 0 is ReLU, else LeakyReLU
    padding_mode  of torch, for kernels larger than 1
    """
    counts = ("in_channels", in_channels), ("out_channels", out_channels), ("kernel", kernel), ("stride", stride)
    in_channels, out_channels, kernel, stride = (contract.count(n, v, 1) for n, v in counts)
    ndim, slope = contract.count("ndim", ndim, 1, 2), contract.number("slope", slope, at_least=0, at_most=1)
    bias, mode = not norm if bias is None else bias, padding_mode if kernel > 1 else "zeros"
    conv = CONVS[ndim](in_channels, out_channels, kernel, stride, kernel // 2, bias=bias, padding_mode=mode)
    normalized = [NORMS[ndim](out_channels)] if norm else []
    return nn.Sequential(conv, *normalized, nn.LeakyReLU(slope) if slope else nn.ReLU())


class ChannelAttention(nn.Module):
    """Channels weighted by what they hold as a whole, {cite}`hu2018`: (B, C, Y, X) to itself.

    x sigmoid(W2 relu(W1 mean(x))),    W1 maps C to max(1, C // reduction) channels
    """

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        channels, reduction = contract.count("channels", channels, 1), contract.count("reduction", reduction, 1)
        hidden = max(1, channels // reduction)
        self.squeeze, self.excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def channel_weights(self, x: Tensor) -> Tensor:
        """s in (0, 1), one a channel: (B, C, 1, 1)."""
        batch("x", x, self, self.squeeze.in_channels, "Y", "X")
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.channel_weights(x)
