"""Synthetic patients at two doses: one anatomy, two scans with independent photons, filtered back-projection."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ctlib import contract
from ctlib.data.images import window
from ctlib.data.pairs import DosePair
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.hqinet.volume import torso_volume
from ctlib.phantoms.torso import TEXTURE
from ctlib.physics.counts import line_integrals_from_counts, transmission_counts
from ctlib.projector import Projector
from ctlib.recon.fbp import fbp
from ctlib.units import hu_from_mu

WINDOW_HU = (-1000.0, 1000.0)


def gray_of(mu: Tensor) -> Tensor:
    """Attenuation [1/mm] at 60 keV as gray value: -1000 to 1000 HU mapped to [0, 1], clipped."""
    return window(hu_from_mu(mu), *WINDOW_HU)


class DoseScanner:
    """Parallel-beam scans of volumes slice by slice; the anatomy has half the pixel size of the images.

    n, size_mm   image pixels along a side, and the side
    num_views    over 180 degrees; the detector's bins are as wide as a pixel, two rays a bin
    window       of the filtered back-projection
    """

    def __init__(self, n: int, num_views: int, size_mm: float = 400.0, window: str = "ram-lak"):
        n, num_views = contract.count("n", n, 1), contract.count("num_views", num_views, 1)
        size_mm = contract.number("size_mm", size_mm, above=0)
        pixel = size_mm / n
        fine, coarse = (Volume((k * n, k * n), pixel / k) for k in (2, 1))
        detector = {"num_views": num_views, "num_cols": round(1.1 * n), "pitch_mm": pixel}
        self.forward = Projector(ParallelBeam(fine, **detector), rays_per_bin=2)
        self.image = Projector(ParallelBeam(coarse, **detector))
        self.n, self.size_mm, self.window = n, size_mm, window

    def reconstruct(self, line_integrals: Tensor, photons: float, generator: torch.Generator) -> Tensor:
        """One noisy scan: line integrals (Z, V, U) -> gray (Z, Y, X); `photons` per reading in the open beam."""
        geometry, photons = self.image.geometry, contract.number("photons", photons, above=0, at_most=1e15)
        line_integrals = contract.tensor("line_integrals", line_integrals, (geometry.num_views, geometry.num_cols))
        counts = transmission_counts(line_integrals, photons, generator)
        return gray_of(fbp(self.image, line_integrals_from_counts(counts, photons), self.window))

    def patient(
        self, seed: int, photons: float, dose: float, num_slices: int = 8, slice_mm: float = 5.0,
        texture: float = TEXTURE, name: str | None = None,
    ) -> DosePair:  # fmt: skip
        """One body at `photons` and at the fraction `dose` of it; the noise of the two is independent.

        seed     of the body; the two noises have streams of their own, derived from it
        texture  as in `torso_volume`
        """
        dose, photons = (
            contract.number("dose", dose, above=0, at_most=1),
            contract.number("photons", photons, above=0, at_most=1e15),
        )
        seed, num_slices = contract.count("seed", seed, 0, 2**62), contract.count("num_slices", num_slices, 1)
        slice_mm = contract.number("slice_mm", slice_mm, above=0)
        fine = Volume((num_slices, 2 * self.n, 2 * self.n), (slice_mm, *(self.size_mm / (2 * self.n),) * 2))
        mu = torso_volume(fine, seed, texture, supersample=1)
        y = self.forward(mu)
        low, full = (
            self.reconstruct(y, share * photons, torch.Generator().manual_seed(2 * seed + k))
            for k, share in ((0, dose), (1, 1.0))
        )
        truth = gray_of(avg_pool2d(mu[:, None], 2)[:, 0])
        return DosePair(name or f"S{seed:04d}", low, full, truth)
