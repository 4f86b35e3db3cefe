"""Spectral scans: counts in energy bins with their geometry, simulated from a specimen of known densities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.geometry import FanBeam, Volume
from ctlib.papers.spectral2spectral.binned import (
    bin_counts,
    bin_line_integrals,
    count_variance,
    log_variance,
    summed_line_integrals,
)
from ctlib.papers.spectral2spectral.specimens import BASIS, specimen
from ctlib.physics import Detector, SpectralModel, Spectrum
from ctlib.projector import Projector

THRESHOLDS_KEV = (20.0, 30.0, 40.0, 50.0, 60.0, 70.0)
SCANNERS = {  # field of view, detector width, source to axis, source to detector [mm]; {cite}`guo2022`
    "rods": (82.6, 204.8, 182.68, 440.5),
    "mouse": (46.0, 77.25, 210.0, 350.0),
}
FINER = 2  # a specimen is projected on a grid this much finer than the image that is reconstructed


@dataclass(frozen=True, eq=False)
class SpectralScan:
    """Counts (Z, E, V, U) behind slices of a specimen, open-beam counts (E,), and the scan's geometry.

    truth     densities (Z, M, Y, X) [g/cm3] of (aluminium, water, iodine), where they are known
    expected  noiseless counts (Z, E, V, U), likewise
    mode      how the bins were counted, see `bin_counts`
    """

    geometry: FanBeam
    counts: Tensor
    open_beam: Tensor
    truth: Tensor | None = None
    expected: Tensor | None = None
    mode: str = "poisson"

    @cached_property
    def A(self) -> Projector:
        """X-ray transform of one slice."""
        return Projector(self.geometry)

    def line_integrals(self, counts: Tensor | None = None) -> Tensor:
        """Log data (Z, E, V, U) [1] of these counts, or of others behind the same open beam."""
        return bin_line_integrals(self.counts if counts is None else counts, self.open_beam)

    def full_spectrum(self) -> Tensor:
        """Log data (Z, 1, V, U) [1] of all photons together."""
        return summed_line_integrals(self.counts, self.open_beam)

    def variance(self) -> Tensor:
        """Variance (Z, E, V, U) [1] of the log data, infinite where nothing was counted."""
        return log_variance(self.counts, count_variance(self.counts, self.mode))

    def full_variance(self) -> Tensor:
        """Variance (Z, 1, V, U) [1] of `full_spectrum`: the sum of all bins is one count in either mode."""
        total = self.counts.sum(1, keepdim=True)
        return log_variance(total, total)

    def to(self, device) -> SpectralScan:
        """The same scan on another device."""
        moved = (t if t is None else t.to(device) for t in (self.counts, self.open_beam, self.truth, self.expected))
        return SpectralScan(self.geometry, *moved, self.mode)


def scanner(kind: str, n: int, num_views: int) -> FanBeam:
    """Fan beam of the phantom scanner ("rods") or the mouse scanner, reconstructed on n x n pixels, n detector bins."""
    if kind not in SCANNERS:
        raise ArgumentError("kind", repr(kind), f"one of {', '.join(SCANNERS)}")
    field, width, source_origin, source_detector = SCANNERS[kind]
    volume = Volume((n, n), field / n)
    return FanBeam(volume, num_views, n, width / n, source_origin, source_detector)


def five_bin_model(counts: float) -> SpectralModel:
    """70 kV tube behind 2.5 mm of aluminium, ideal detector, bins 20-30-40-50-60-70 keV.

    counts  expected in the open beam, all bins of one reading together
    """
    spectrum = Spectrum.tungsten(70, {"Al": 2.5})
    counted = float(spectrum.weights[spectrum.energies_kev > THRESHOLDS_KEV[0]].sum())
    return SpectralModel(spectrum, BASIS, Detector.ideal(), THRESHOLDS_KEV, counts / counted)


def simulate(
    kind: str, n: int, num_views: int, num_slices: int, counts: float, seed: int, drift: float = 0.0,
    mode: str = "poisson", dtype: torch.dtype = torch.float32,
) -> SpectralScan:  # fmt: skip
    """A noisy five-bin scan of the "rods" or the "mouse", polychromatic; seed chooses specimen and noise.

    The specimen is projected on a grid twice as fine, two rays to a bin whose transmissions are averaged.
    mode   see `bin_counts`
    """
    geometry = scanner(kind, n, num_views)
    fine_volume = Volume((n * FINER, n * FINER), geometry.volume.voxel_mm[0] / FINER)
    fine_scan = FanBeam(fine_volume, num_views, n * FINER, geometry.pitch_mm / FINER,
                        geometry.source_origin_mm, geometry.source_detector_mm)  # fmt: skip
    densities = specimen(kind, fine_volume, num_slices, seed, drift)  # (Z, M, 2Y, 2X)
    paths = 0.1 * Projector(fine_scan)(densities)  # g/cm2
    model = five_bin_model(counts)
    expected = model(paths.movedim(1, -1)).movedim(-1, 1)  # (Z, E, V, 2U)
    expected = expected.unflatten(-1, (n, FINER)).mean(-1)
    truth = densities.unflatten(-1, (n, FINER)).mean(-1).unflatten(-2, (n, FINER)).mean(-2)
    noisy = bin_counts(expected, torch.Generator().manual_seed(10_000 + seed), mode)
    open_beam = model(torch.zeros(len(BASIS), dtype=torch.float64))
    return SpectralScan(geometry, noisy.to(dtype), open_beam, truth.to(dtype), expected.to(dtype), mode)
