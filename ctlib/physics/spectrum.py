"""Spectra of X-ray tubes, with flat filters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.physics.attenuation import linear_attenuation
from ctlib.physics.tube import parametric_tungsten

TABLES = Path(__file__).parent / "tables"
NEGLIGIBLE = 1e-6  # bins at either end that together hold less than this share of the photons are left out


@dataclass(frozen=True)
class Spectrum:
    """Photons by energy: bins between edges, and the share of the photons in each.

    edges_kev  (N + 1,) ascending [keV];  weights  (N,) >= 0, normalized to sum 1; both float64
    """

    edges_kev: Tensor
    weights: Tensor

    def __post_init__(self):
        edges = torch.as_tensor(self.edges_kev, dtype=torch.float64)
        weights = torch.as_tensor(self.weights, dtype=torch.float64)
        if edges.ndim != 1 or len(edges) < 2 or bool((edges.diff() <= 0).any()) or bool(edges[0] < 0):
            raise ArgumentError("edges_kev", tuple(edges.shape), "(N + 1,) ascending energies >= 0 [keV]")
        if weights.shape != (len(edges) - 1,) or bool((weights < 0).any()) or not bool(weights.sum() > 0):
            raise ArgumentError("weights", tuple(weights.shape), f"({len(edges) - 1},) numbers >= 0, not all 0")
        object.__setattr__(self, "edges_kev", edges)
        object.__setattr__(self, "weights", weights / weights.sum())

    @classmethod
    def tungsten(cls, kvp: float = 120, filters_mm: dict[str, float] | None = None, bin_kev: float = 1.0) -> Spectrum:
        """Tungsten tube, target angle 12 degrees, behind flat filters: {"Al": 3.0} in mm.

        70 and 120 kV are tables computed with SpekPy, {cite}`poludniowski2021`; other voltages (20 to 150) are
        `parametric_tungsten`, whose normalized spectra are 3 to 6 % away from those tables (sum of the differences),
        and whose means are up to 0.7 keV off.
        bin_kev  width of the bins, a multiple of 0.5 keV; filters act before bins are merged
        """
        if not 20 <= kvp <= 150:
            raise ArgumentError("kvp", kvp, "a tube voltage between 20 and 150 kV")
        path = TABLES / f"tungsten_{kvp:g}kv.csv"
        energies, fluence = np.loadtxt(path, delimiter=",").T if path.exists() else parametric_tungsten(kvp)
        fine = cls(np.append(energies - 0.25, energies[-1] + 0.25), fluence)
        return fine.filtered(filters_mm or {}).rebinned(bin_kev).trimmed()

    @property
    def energies_kev(self) -> Tensor:
        """Bin centers (N,)."""
        return 0.5 * (self.edges_kev[1:] + self.edges_kev[:-1])

    @property
    def widths_kev(self) -> Tensor:
        """Bin widths (N,)."""
        return self.edges_kev.diff()

    @property
    def mean_kev(self) -> float:
        """Mean photon energy."""
        return float(self.weights @ self.energies_kev)

    def filtered(self, filters_mm: dict[str, float]) -> Spectrum:
        """Behind flat filters, material -> thickness [mm]: weights exp(-mu t), normalized again."""
        for material, thickness in filters_mm.items():
            if not thickness >= 0:
                raise ArgumentError("filters_mm", {material: thickness}, "thicknesses >= 0 [mm]")
        line = sum(t * linear_attenuation(m, self.energies_kev) for m, t in filters_mm.items())
        return Spectrum(self.edges_kev, self.weights * torch.exp(-torch.as_tensor(line)))

    def rebinned(self, bin_kev: float) -> Spectrum:
        """Merged into bins of `bin_kev`, from the multiple of it below the first edge."""
        first, last = (int(np.floor(float(e) / bin_kev + 1e-9)) for e in (self.edges_kev[0], self.edges_kev[-1] - 1e-6))
        edges = bin_kev * torch.arange(first, last + 2, dtype=torch.float64)
        bins = torch.bucketize(self.energies_kev, edges, right=True) - 1
        return Spectrum(edges, torch.zeros(len(edges) - 1, dtype=torch.float64).index_add(0, bins, self.weights))

    def trimmed(self) -> Spectrum:
        """Without the ends that hold less than a millionth of the photons each."""
        below, above = self.weights.cumsum(0), self.weights.flip(0).cumsum(0).flip(0)
        kept = torch.nonzero((below > NEGLIGIBLE) & (above > NEGLIGIBLE)).flatten()
        first, last = int(kept[0]), int(kept[-1])
        return Spectrum(self.edges_kev[first : last + 2], self.weights[first : last + 1])

    def split(self, energies_kev) -> Spectrum:
        """With bin edges added at these energies (K-edges), each bin's photons shared by width."""
        cuts = torch.as_tensor(tuple(energies_kev), dtype=torch.float64)
        edges = torch.cat([self.edges_kev, cuts[(cuts > self.edges_kev[0]) & (cuts < self.edges_kev[-1])]]).unique()
        centers = 0.5 * (edges[1:] + edges[:-1])
        parent = (torch.bucketize(centers, self.edges_kev, right=True) - 1).clamp(0, len(self.weights) - 1)
        return Spectrum(edges, self.weights[parent] * edges.diff() / self.widths_kev[parent])
