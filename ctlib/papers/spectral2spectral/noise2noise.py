"""Two independent scans from one, for Noise2Noise: photons dealt out to two halves, or views in turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import FanBeam, ParallelBeam
from ctlib.papers.spectral2spectral.binned import thin


class ThinnedPairs:
    """Reconstructions of two halves of the photons, drawn anew every so often so that no draw can be learned by heart.

    counts       whole photon counts, any shape
    reconstruct  counts of half a scan -> images; the open beam is halved there
    every        calls between two draws

    The halves of a draw are independent; all draws share the photons of the one scan.
    """

    def __init__(self, counts: Tensor, reconstruct: Callable[[Tensor], Tensor], generator: torch.Generator, every: int):
        every = contract.count("every", every, 1)
        self.counts, self.reconstruct, self.generator, self.every = counts, reconstruct, generator, every
        self.calls, self.pair = 0, None

    def __call__(self) -> tuple[Tensor, Tensor]:
        """The pair of images of the present draw."""
        if self.calls % self.every == 0:
            first, second = thin(self.counts, self.generator)
            self.pair = (self.reconstruct(first), self.reconstruct(second))
        self.calls += 1
        return self.pair


def half_views(geometry: ParallelBeam | FanBeam) -> tuple:
    """Two scans of the even and of the odd views; their data are y[..., 0::2, :] and y[..., 1::2, :]."""
    if geometry.num_views < 2:
        raise ArgumentError("geometry", f"{geometry.num_views} view", "at least two views")
    return tuple(replace(geometry, num_views=len(geometry.angles[k::2]), angles=geometry.angles[k::2]) for k in (0, 1))
