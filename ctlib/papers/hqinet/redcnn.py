"""RED-CNN, a residual encoder-decoder for low-dose CT, {cite}`chen2017`."""

from functools import partial

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.blocks import batch
from ctlib.nets.seeded import draw_weights, he_normal, seeded


class REDCNN(nn.Module):
    """Slices (B, num_slices, Y, X) -> image (B, 1, Y, X) for images above 4 depth (kernel - 1) / 2 pixels.

    Unpadded convolutions shrink the image, as many transposed ones enlarge it again; shortcuts add the input of every
    second convolution before the ReLU of its mirror image, and the middle input slice to the output.

    width, depth, kernel  feature channels, convolutions on either side, their size; 96, 5, 5 in the original
    """

    def __init__(self, num_slices: int = 1, width: int = 96, depth: int = 5, kernel: int = 5):
        super().__init__()
        given = ("num_slices", num_slices), ("width", width), ("depth", depth), ("kernel", kernel)
        num_slices, width, depth, kernel = (contract.count(n, v, 1) for n, v in given)
        if kernel % 2 == 0:
            raise ArgumentError("depth, kernel", (depth, kernel), "depth >= 1 and an odd kernel")
        self.num_slices, self.shrink = num_slices, depth * (kernel - 1)
        self.down = nn.ModuleList(nn.Conv2d(width if i else num_slices, width, kernel) for i in range(depth))
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width if i < depth - 1 else 1, kernel) for i in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        batch("x", x, self, self.num_slices, "Y", "X")
        if min(x.shape[2:]) <= self.shrink:
            raise ArgumentError("x", tuple(x.shape), f"(B, {self.num_slices}, Y, X) above {self.shrink} pixels a side")
        h, kept = x, [x[:, self.num_slices // 2 : self.num_slices // 2 + 1]]
        for i, conv in enumerate(self.down):
            h = torch.relu(conv(h))
            if i % 2 == 1 and i < len(self.down) - 1:
                kept.append(h)
        for i, conv in enumerate(self.up):
            h = conv(h)
            mirror = len(self.up) - 2 - i  # index of the convolution whose output has this size; -1: the input
            if mirror % 2 == 1:
                h = h + kept.pop()
            if mirror >= 0:
                h = torch.relu(h)
        return h


def make_redcnn(seed: int, num_slices: int = 1, gain: float = 1.0, **options) -> REDCNN:
    """A `REDCNN` with its own random stream; the global random state is left as it was.

    Kaiming's weights times `gain`, {cite}`he2015`; the last layer starts at 0: the network starts as the middle slice.
    """
    gain = contract.number("gain", gain)
    net = seeded(seed, lambda: draw_weights(REDCNN(num_slices, **options), partial(he_normal, gain=gain)))
    nn.init.zeros_(net.up[-1].weight)
    return net
