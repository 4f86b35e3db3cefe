"""Networks of images of every size, and the back-projection between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ctlib import contract, linop
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor
from ctlib.papers.tomography.residual_unet import ResidualUNet


def average_of_views(A, spacing: float):
    """Back-projection A.T in units where a sinogram of ones gives pi times the share of the half circle it saw."""
    spacing = contract.number("spacing", spacing, above=0)
    return linop.scaled(A.T, spacing * A.geometry.pitch_mm / A.volume.voxel_mm[0] ** 2)


@dataclass(frozen=True)
class Family:
    """Networks of every size: first channels and residual blocks of g1 and g2, and what lies between them.

    back, ramp  back-projection (B, V, U) -> (B, Y, X) and the filter before it
    """

    n: int
    widths: Sequence[Sequence[int]]
    blocks: Sequence[Sequence[int]]
    depths: Sequence[int]
    bp_channels: Sequence[int]
    positions: str
    back: Callable
    ramp: Callable

    def unet(self, inputs: int, width: int, size: int, positions: str, z_channels: int = 0) -> PostProcessor:
        place = Positions(positions, (self.n, self.n))
        net = ResidualUNet(inputs + place.num, 1, width, self.blocks[size][1], self.depths[1], z_channels=z_channels)
        return PostProcessor(net, place)

    def end_to_end(
        self, size: int = 0, channels: int | None = None, positions: str | None = None, with_ramp: bool = False,
        kind: type[EndToEnd] = EndToEnd, z_channels: int = 0, back: Callable | None = None,
    ) -> EndToEnd:  # fmt: skip
        """g2(A.T g1(r)) without training; kind `Sampler` for one with a latent of z_channels."""
        channels = channels or self.bp_channels[size]
        g2 = self.unet(channels, self.widths[size][1], size, positions or self.positions, z_channels)
        g1 = ResidualUNet(3, channels, self.widths[size][0], self.blocks[size][0], self.depths[0])
        return kind(g1, back or self.back, g2, self.ramp if with_ramp else None)

    def post(self, width: int, size: int) -> PostProcessor:
        """A U-Net behind FBP, as deep as g2."""
        return self.unet(1, width, size, self.positions)


def paper_rates(steps: int, lr: float) -> dict[str, float]:
    """Options of a "warm-up" schedule as in the paper: an exponential rise, then the halvings of its ten epochs."""
    return {"start_lr": 1e-3 * lr, "rise": max(1, steps // 20), "halve": max(1, steps // 7)}
