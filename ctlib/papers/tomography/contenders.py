"""The networks of images that are compared, and what each is trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ctlib.contract import choice
from ctlib.nets.seeded import matched_width, num_parameters, seeded
from ctlib.papers.tomography.bench import Bench
from ctlib.papers.tomography.experiment import Family
from ctlib.papers.tomography.networks import EndToEnd
from ctlib.papers.tomography.noise_networks import MeanNet
from ctlib.papers.tomography.residual_unet import ResidualUNet

BEHIND, APART, JOINT, END = "FBP + U-Net", "FBP of μ + U-Net", "the same, trained jointly", "end to end"
METHODS = (BEHIND, APART, JOINT, END)


@dataclass(frozen=True)
class Size:
    """First channels of g1 and of g2, channels through the back-projection."""

    g1: int
    g2: int
    channels: int


class OneChannel(nn.Module):
    """A network of line integrals (B, V, U) as the one channel of a sinogram, filtered for FBP: (B, 1, V, U)."""

    def __init__(self, mean: MeanNet, ramp: Callable[[Tensor], Tensor]):
        super().__init__()
        self.mean, self.operators = mean, (ramp,)

    def forward(self, features: Tensor) -> Tensor:
        return self.operators[0](self.mean(features).float())[:, None]


@dataclass(frozen=True)
class Contenders:
    """Networks of one bench and size with as many weights each, whatever their parts.

    depths  halvings of g1 and of g2;  blocks  residual blocks in each of their blocks;  positions  of g2
    """

    bench: Bench
    size: Size
    depths: Sequence[int]
    blocks: Sequence[int]
    positions: str

    @property
    def family(self) -> Family:
        n, s = self.bench.geometry.num_cols, self.size
        sizes = [[s.g1, s.g2]], [self.blocks], self.depths, [s.channels]
        return Family(n, *sizes, self.positions, self.bench.back, self.bench.ramp)

    def mean_net(self) -> MeanNet:
        """The network of line integrals, of g1's size; it starts at the table."""
        body = ResidualUNet(3, 1, self.size.g1, self.blocks[0], self.depths[0])
        nn.init.zeros_(body.head.weight)
        nn.init.zeros_(body.head.bias)
        return MeanNet(body)

    def width_behind(self, spent: int) -> int:
        """Width of a U-Net behind FBP that has the end-to-end network's weights less those spent before it."""
        with torch.device("meta"):
            total = num_parameters(self.family.end_to_end())
        make = partial(self.family.post, size=0)
        return matched_width(make, total - spent, math.inf) if total > spent else 2

    def make(self, method: str, seed: int) -> nn.Module:
        """The untrained network of a method: of features (B, 3, V, U) for two of them, behind FBP for the others."""
        family = self.family
        with torch.device("meta"):
            first = num_parameters(self.mean_net())
        makers = {
            END: family.end_to_end,
            BEHIND: lambda: family.post(self.width_behind(0), 0),
            APART: lambda: family.post(self.width_behind(first), 0),
            JOINT: lambda: EndToEnd(
                OneChannel(self.mean_net(), self.bench.ramp), self.bench.back, family.post(self.width_behind(first), 0)
            ),
        }
        return seeded(seed, makers[choice("method", method, METHODS)])

    def before(self, method: str, mean: nn.Module | None = None) -> Callable[[Tensor], Tensor]:
        """What turns features into the network's input: nothing, FBP of the table's mean, FBP of a network's."""
        if method in (END, JOINT):
            return lambda features: features
        if method == BEHIND:
            return lambda features: self.bench.fbp(features[:, 1])

        @torch.no_grad()
        def after_mean(features: Tensor) -> Tensor:
            return self.bench.fbp(mean(features))

        return after_mean

    def weights(self, method: str) -> int:
        """Trained numbers of a method, its first network included."""
        with torch.device("meta"):
            own = num_parameters(partial(self.make, method)(0))
            return own + (num_parameters(self.mean_net()) if method == APART else 0)
