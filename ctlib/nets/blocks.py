"""Blocks that networks of several papers are built of."""

import torch
from torch import Tensor, nn

CONVS = {1: nn.Conv1d, 2: nn.Conv2d}
NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}


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
        hidden = max(1, channels // reduction)
        self.squeeze, self.excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def channel_weights(self, x: Tensor) -> Tensor:
        """s in (0, 1), one a channel: (B, C, 1, 1)."""
        return torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.channel_weights(x)
