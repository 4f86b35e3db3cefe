"""Scans of bodies: their readings at every signal, drawn once for tests and anew for each training step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.papers.tomography.signal_levels import SignalLevels

RANGE = 0.04  # 1/mm: gray 0 to 1 in networks, figures and metrics
AT_ONCE = 16  # images or sinograms that a network is given, where nothing is learned


class Scans:
    """Images (N, Y, X) [1/mm] of three parts, "train", "val" and "test", and their readings at every signal.

    project  A: images -> line integrals (N, V, U)
    Test and validation readings are drawn once; those of the training bodies anew from the seeds of each step.
    """

    def __init__(self, project: Callable[[Tensor], Tensor], images: dict[str, Tensor], levels: SignalLevels):
        self.project, self.images, self.levels = project, images, levels
        self.sinograms = {part: project(x) for part, x in images.items()}
        self.readings, self.features = {}, {}
        for part, first_seed in (("test", 1000), ("val", 2000)):
            self.readings[part] = self.read(project, part, first_seed)
            self.features[part] = {s: levels.features(r, s) for s, r in self.readings[part].items()}

    def read(self, project: Callable[[Tensor], Tensor], part: str, first_seed: int) -> dict[float, Tensor]:
        """Readings (N, V, U) of a part's images in any scan, by signal."""
        y = project(self.images[part])
        return {s: self.levels.read(y, s, first_seed + i) for i, s in enumerate(self.levels.signals)}

    def gray(self, part: str) -> Tensor:
        """Images (N, 1, Y, X) as gray values."""
        return self.images[part][:, None] / RANGE

    def fetch_sinograms(self, indices: Tensor, seeds: list[int]) -> tuple[Tensor, Tensor]:
        """Features (B, 3, V, U) of fresh readings of training bodies, and their line integrals (B, V, U)."""
        y = self.sinograms["train"]
        y = y[indices.to(y.device)]
        return self.levels.drawn(y, seeds), y

    def fetch_images(self, indices: Tensor, seeds: list[int]) -> tuple[Tensor, Tensor]:
        """The same with the bodies' images (B, 1, Y, X), as gray values."""
        features = self.fetch_sinograms(indices, seeds)[0]
        return features, self.images["train"][indices.to(features.device)][:, None] / RANGE


def hit(mu: Tensor) -> Tensor:
    """Rays (B, V, U) that cross the body, by the estimate."""
    return contract.tensor("mu", mu) > 0.2


@torch.no_grad()
def both(nets: tuple[nn.Module, nn.Module], features: Tensor) -> tuple[Tensor, Tensor]:
    """mu and sigma (B, V, U) by a mean and a spread network, a few sinograms at a time."""
    parts = [(nets[0](f), nets[1](f)) for f in features.split(AT_ONCE)]
    return tuple(torch.cat(p) for p in zip(*parts, strict=True))


@torch.no_grad()
def predict(net: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """What a network makes of inputs (B, ...), a few at a time."""
    return torch.cat([net(x) for x in inputs.split(AT_ONCE)])
