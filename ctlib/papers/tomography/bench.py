"""A world of bodies in one scanner: fresh readings for training, fixed ones for choosing and testing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ctlib.contract import choice
from ctlib.data.images import turn
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.tomography.bodies import FIELD_MM
from ctlib.papers.tomography.experiment import average_of_views
from ctlib.papers.tomography.readings import Readings
from ctlib.papers.tomography.scans import RANGE
from ctlib.papers.tomography.signal_levels import SignalLevels
from ctlib.papers.tomography.worlds import World
from ctlib.projector import Projector
from ctlib.recon.fbp import filter_sinogram

SCANS = ("full", "few views", "short arc")


def scan_geometry(n: int, scan: str, views: int, few_views: int, arc_deg: float) -> ParallelBeam:
    """Parallel rays, as many cells as pixels: all views, few over the half circle, or those of a short arc."""
    volume = Volume((n, n), FIELD_MM / n)
    full = ParallelBeam(volume, views, n, volume.voxel_mm[0])
    if choice("scan", scan, SCANS) == "full":
        return full
    if scan == "few views":
        return ParallelBeam(volume, few_views, n, volume.voxel_mm[0])
    near = round(views * arc_deg / 180)
    return ParallelBeam(volume, near, n, volume.voxel_mm[0], angles=full.angles[:near])


class Bench:
    """A world seen by one scan at several signals.

    turned  training bodies are flipped and turned by quarters, by the seed of a sample: real ones are few
    device  of the training
    """

    def __init__(
        self, world: World, geometry: ParallelBeam, signals: Sequence[float], eps_sd: float, bits: int,
        step: float = 0.0, turned: bool = False, device: str = "cpu",
    ):  # fmt: skip
        self.world, self.geometry, self.turned = world, geometry, turned
        self.A = Projector(geometry)
        self.images = {p: x.to(device) for p, x in world.images.items()}
        self.detectors = [Readings(s, eps_sd, bits) for s in signals]
        self.step, self.seen = step, {}

    @cached_property
    def levels(self) -> SignalLevels:
        """The tables of single readings, with the training bodies as their prior."""
        return SignalLevels(self.detectors, self.A(self.images["train"]), step=self.step)

    @cached_property
    def back(self):
        """Back-projection as an average over views; the spacing of a short arc is that of the full scan."""
        angles = self.geometry.angles
        spacing = float(angles[1] - angles[0]) if len(angles) > 1 else math.pi
        return average_of_views(self.A, spacing)

    def ramp(self, y: Tensor) -> Tensor:
        """The filter of FBP, in gray values."""
        return filter_sinogram(y, self.geometry.pitch_mm) / RANGE

    def fbp(self, y: Tensor) -> Tensor:
        """(B, V, U) -> gray (B, 1, Y, X)."""
        return self.back(self.ramp(y))[:, None]

    def gray(self, part: str) -> Tensor:
        """Images (N, 1, Y, X) as gray values."""
        return self.images[part][:, None] / RANGE

    def drawn(self, indices: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, 3, V, U) of fresh readings, line integrals (B, V, U), gray images (B, 1, Y, X) of bodies."""
        x = self.images["train"][indices.to(self.images["train"].device)]
        if self.turned:
            x = torch.stack([turn(image, seed // 8 % 8) for image, seed in zip(x, seeds, strict=True)])
        y = self.A(x)
        return self.levels.drawn(y, seeds), y, x[:, None] / RANGE

    def features(self, part: str, repeat: int = 0) -> dict[float, Tensor]:
        """Features (N, 3, V, U) of a part's readings by signal, drawn once; other repeats have other noise."""
        if (part, repeat) not in self.seen:
            y, first = self.A(self.images[part]), {"test": 1000, "val": 2000}[part] + 100 * repeat
            read = {s: self.levels.read(y, s, first + i) for i, s in enumerate(self.levels.signals)}
            self.seen[part, repeat] = {s: self.levels.features(r, s) for s, r in read.items()}
        return self.seen[part, repeat]
