"""A clinical scanner in two dimensions, bowtie filter, photons, electronic noise, kernel; and a scan at less dose."""

from __future__ import annotations

import torch
from torch import Tensor

from ctlib import contract
from ctlib.geometry import FanBeam, Volume
from ctlib.physics.counts import line_integrals_from_counts, transmission_counts
from ctlib.projector import Projector
from ctlib.recon.fbp import fbp
from ctlib.units import MU_WATER, hu_from_mu, mu_from_hu

DISTANCES = {"source_origin_mm": 570.0, "source_detector_mm": 1040.0}
BOWTIE_MM, BOWTIE_SHARE = 150.0, 0.5  # radius of the water disc that the filter evens out, and how much of it
ELECTRONIC_STD = 10.0  # photons
SOFT_HU = 100.0  # soft tissue: so far from 0 HU at most


class Scanner:
    """Fan-beam scans over a full turn, slice by slice; the detector's cells are one pixel wide at the axis.

    n, pixel_mm  image pixels along a side, and their size
    num_views    over 2 pi
    kernel       window of the filtered back-projection
    """

    def __init__(self, n: int, pixel_mm: float, num_views: int, kernel: str = "hann"):
        self.n, self.pixel_mm = contract.count("n", n, 8), contract.number("pixel_mm", pixel_mm, above=0)
        num_views, self.kernel = contract.count("num_views", num_views, 3), kernel
        pitch_mm = pixel_mm * DISTANCES["source_detector_mm"] / DISTANCES["source_origin_mm"]
        self.detector = {"num_views": num_views, "num_cols": int(1.1 * n), "pitch_mm": pitch_mm, **DISTANCES}
        self.A = Projector(FanBeam(Volume((n, n), pixel_mm), **self.detector))

    def line_integrals(self, hu: Tensor) -> Tensor:
        """Line integrals (Z, V, U) of slices in HU (Z, Y, X), on the scanner's grid or on one twice as fine."""
        mu = mu_from_hu(contract.tensor("hu", hu, ("Y", "X"))).clamp_min(0)
        finer = max(1, round(hu.shape[-1] / self.n))
        volume = Volume((finer * self.n,) * 2, self.pixel_mm / finer)
        A = self.A if finer == 1 else Projector(FanBeam(volume, **self.detector), rays_per_bin=finer)
        return A(mu)

    def open_beam(self, photons: float) -> Tensor:
        """Photons a reading behind the bowtie filter without a body, (U,): `photons` in the middle.

        I0(u) = photons exp(-share mu_w (c(0) - c(u))),    c: chord through a disc of water
        """
        photons = contract.number("photons", photons, above=0, at_most=1e15)
        u = torch.as_tensor(self.A.geometry.columns(), dtype=torch.float32)
        off = DISTANCES["source_origin_mm"] * torch.sin(torch.atan(u / DISTANCES["source_detector_mm"]))
        chord = 2 * (BOWTIE_MM**2 - off**2).clamp_min(0).sqrt()
        return photons * torch.exp(-BOWTIE_SHARE * MU_WATER * (2 * BOWTIE_MM - chord))

    def readings(self, y: Tensor, photons: float, dose: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Line integrals as measured at full dose and at a share `dose` of it, both (Z, V, U), from exact ones.

        The low dose is thinned from the photons of the full dose, as a low-dose scan that is made from a routine one:
        every photon is kept with the probability `dose`. Electronic noise is drawn anew.
        """
        contract.tensor("y", y, self.A.geometry.sino_shape)
        dose, beam = contract.number("dose", dose, above=0, at_most=1), self.open_beam(photons).to(y)
        full = transmission_counts(y, beam, generator)
        low = torch.binomial(full, torch.full_like(full, dose), generator=generator)
        electronic = torch.empty(2, *full.shape, dtype=y.dtype).normal_(0, ELECTRONIC_STD, generator=generator)
        both = ((full + electronic[0], beam), (low + electronic[1], dose * beam))
        full, low = (line_integrals_from_counts(counts, open_beam) for counts, open_beam in both)
        return full, low

    def image(self, y: Tensor) -> Tensor:
        """Slices in HU (Z, Y, X) from line integrals (Z, V, U)."""
        return hu_from_mu(self.change(y) * MU_WATER / 1000)

    def change(self, y: Tensor) -> Tensor:
        """The part of an image [HU] that a part of the line integrals makes: filtered back-projection is linear."""
        return 1000 / MU_WATER * fbp(self.A, y, self.kernel, truncation="ignore")

    def at_low_dose(self, hu: Tensor, photons: float, dose: float, generator: torch.Generator) -> Tensor:
        """A scan that was made, slices in HU (Z, Y, X), as it would be at a share of its dose, {eq}`hqi-insertion`.

            low = full + FBP(y_low - y_full)

        with y_full and y_low two virtual scans of the slices, one thinned from the other: what the scanner's own image
        has of noise stays in both. `photons` are those at which the virtual full dose is as noisy as the slices.
        """
        full, low = self.readings(self.line_integrals(hu), photons, dose, generator)
        return hu + self.change(low - full)

    def photons_for(self, y: Tensor, soft: Tensor, noise_hu: float, seed: int = 0) -> float:
        """Photons a reading at which images have this noise [HU] in soft tissue, as a tube that adapts its current.

        y, soft  line integrals (V, U) of one slice, and where it is soft tissue, (Y, X) bool
        """
        target, photons = contract.number("noise_hu", noise_hu, above=0), 1e5
        stream = torch.Generator().manual_seed(contract.count("seed", seed))
        for _ in range(3):  # the variance is nearly proportional to 1 / photons
            full, _ = self.readings(y[None], photons, 1.0, stream)
            noise = float(self.change(full - y)[0][soft].std())
            photons = min(1e12, photons * (noise / target) ** 2)
        return photons


def soft_tissue_of(hu: Tensor, inside: Tensor) -> Tensor:
    """Where a slice (Y, X) in HU is soft tissue, (Y, X) bool; all of the body where there is none."""
    soft = inside & (hu.abs() < SOFT_HU)
    return soft if int(soft.sum()) > 1 else inside
