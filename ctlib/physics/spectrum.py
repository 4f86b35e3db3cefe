"""Spectra of X-ray tubes, with flat filters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.arrays import numbers
from ctlib.physics.attenuation import linear_attenuation
from ctlib.physics.fixed import Fixed
from ctlib.physics.tube import TABLE_KEV, parametric_tungsten

TABLES = Path(__file__).parent / "tables"
NEGLIGIBLE = 1e-6  # bins at either end that together hold less than this share of the photons are left out


class Spectrum(Fixed):
    """Photons by energy: bins between edges, and the share of the photons in each.

    edges_kev  (N + 1,) ascending [keV];  weights  (N,) >= 0, normalized to sum 1; both float64, of any array

    It does not change; `replace` makes another one. Weights that require a gradient are normalized anew whenever they
    are read, in all spectra that are made of this one: they follow their tensor, and get a gradient every time.
    """

    def __init__(self, edges_kev, weights):
        edges = numbers("edges_kev", edges_kev, at_least=0)
        given = numbers("weights", weights, at_least=0)
        if edges.ndim != 1 or len(edges) < 2 or not bool((edges.diff() > 0).all()):
            raise ArgumentError("edges_kev", tuple(edges.shape), "(N + 1,) ascending energies >= 0 [keV]")
        if given.shape != (len(edges) - 1,) or not bool(given.sum() > 0):
            raise ArgumentError("weights", tuple(given.shape), f"({len(edges) - 1},) numbers >= 0, not all 0")
        double = given.double()
        self._set(edges_kev=edges.detach().to(double.device, torch.float64, copy=True), _matrix=None)
        self._set(_given=given if given.requires_grad else double / double.sum())

    @classmethod
    def tungsten(cls, kvp: float = 120, filters_mm: dict[str, float] | None = None, bin_kev: float = 1.0) -> Spectrum:
        """Tungsten tube, target angle 12 degrees, behind flat filters: {"Al": 3.0} in mm.

        70 and 120 kV are tables computed with SpekPy, {cite}`poludniowski2021`; other voltages (20 to 150) are
        `parametric_tungsten`, whose normalized spectra are 3 to 6 % away from those tables (sum of the differences),
        and whose means are up to 0.7 keV off.
        bin_kev  width of the bins, a multiple of 0.5 keV; filters act before bins are merged
        """
        kvp = contract.number("kvp", kvp, at_least=20, at_most=150)
        bin_kev = contract.number("bin_kev", bin_kev, at_least=TABLE_KEV)
        if abs(bin_kev / TABLE_KEV - round(bin_kev / TABLE_KEV)) > 1e-9:
            raise ArgumentError("bin_kev", bin_kev, f"a multiple of {TABLE_KEV:g} keV")
        path = TABLES / f"tungsten_{kvp:g}kv.csv"
        energies, fluence = np.loadtxt(path, delimiter=",").T if path.exists() else parametric_tungsten(kvp)
        fine = cls(np.append(energies - 0.25, energies[-1] + 0.25), fluence)
        return fine.filtered(filters_mm or {}).rebinned(bin_kev).trimmed()

    @property
    def weights(self) -> Tensor:
        """Share of the photons in each bin (N,)."""
        if not self._given.requires_grad:
            return self._given
        weights = self._given.double() if self._matrix is None else self._matrix @ self._given.double()
        return weights / weights.sum()

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
        return float(self.weights.detach() @ self.energies_kev)

    @property
    def requires_grad(self) -> bool:
        """Whether the weights want a gradient."""
        return self._given.requires_grad

    def replace(self, edges_kev=None, weights=None) -> Spectrum:
        """Another spectrum, with these edges or weights in place of its own."""
        edges = self.edges_kev if edges_kev is None else edges_kev
        return self._made(edges, lambda w: w) if weights is None else Spectrum(edges, weights)

    def filtered(self, filters_mm: dict[str, float]) -> Spectrum:
        """Behind flat filters, material -> thickness [mm]: weights exp(-mu t), normalized again."""
        if not isinstance(filters_mm, dict):
            raise ArgumentError(
                "filters_mm", type(filters_mm).__name__, '{material: thickness [mm]}, such as {"Al": 3}'
            )
        lengths = {m: contract.number("filters_mm", t, at_least=0) for m, t in filters_mm.items()}
        line = sum(t * linear_attenuation(m, self.energies_kev) for m, t in lengths.items())
        through = torch.exp(-torch.as_tensor(line))
        if not bool((self.weights.detach() * through).sum() > 0):
            raise ArgumentError("filters_mm", filters_mm, "filters that let some photons pass")
        return self._made(self.edges_kev, lambda w: w * through)

    def rebinned(self, bin_kev: float) -> Spectrum:
        """Merged into bins of `bin_kev`, no narrower than its own, from the multiple of it below the first edge."""
        bin_kev = contract.number("bin_kev", bin_kev, at_least=float(self.widths_kev.max()) * (1 - 1e-9))
        first, last = (int(np.floor(float(e) / bin_kev + 1e-9)) for e in (self.edges_kev[0], self.edges_kev[-1] - 1e-6))
        edges = bin_kev * torch.arange(first, last + 2).to(self.edges_kev)
        bins = torch.bucketize(self.energies_kev, edges, right=True) - 1
        return self._made(edges, lambda w: w.new_zeros(len(edges) - 1).index_add(0, bins, w))

    def trimmed(self) -> Spectrum:
        """Without the ends that hold less than a millionth of the photons each."""
        weights = self.weights.detach()
        below, above = weights.cumsum(0), weights.flip(0).cumsum(0).flip(0)
        kept = torch.nonzero((below > NEGLIGIBLE) & (above > NEGLIGIBLE)).flatten()
        first, last = int(kept[0]), int(kept[-1])
        return self._made(self.edges_kev[first : last + 2], lambda w: w[first : last + 1])

    def split(self, energies_kev) -> Spectrum:
        """With bin edges added at these energies (K-edges), each bin's photons shared by width."""
        edges, parent = self.cuts(energies_kev)
        return self._made(edges, lambda w: w[parent] * edges.diff() / self.widths_kev[parent])

    def cuts(self, energies_kev) -> tuple[Tensor, Tensor]:
        """Edges (N' + 1,) of `split`, and the bin (N',) that each of its bins is a part of."""
        cuts = numbers("energies_kev", energies_kev).to(self.edges_kev)
        if cuts.ndim != 1:
            raise ArgumentError("energies_kev", f"shape {tuple(cuts.shape)}", "a list of energies [keV]")
        edges = torch.cat([self.edges_kev, cuts[(cuts > self.edges_kev[0]) & (cuts < self.edges_kev[-1])]]).unique()
        centers = 0.5 * (edges[1:] + edges[:-1])
        parent = (torch.bucketize(centers, self.edges_kev, right=True) - 1).clamp(0, len(self.edges_kev) - 2)
        return edges, parent

    def _made(self, edges: Tensor, change: Callable[[Tensor], Tensor]) -> Spectrum:
        """The spectrum of changed weights; `change` is linear, a matrix where a gradient goes through it."""
        made = Spectrum(edges, change(self.weights.detach()))
        if self.requires_grad:
            before = torch.eye(len(self.weights)).to(self.edges_kev) if self._matrix is None else self._matrix
            made._set(_given=self._given, _matrix=torch.stack([change(column) for column in before.T], 1))
        return made

    def __eq__(self, other) -> bool:
        return isinstance(other, Spectrum) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        low, high = self.edges_kev[0], self.edges_kev[-1]
        return f"Spectrum({len(self.edges_kev) - 1} bins, {low:g} to {high:g} keV, mean {self.mean_kev:.4g} keV)"

    def _values(self) -> tuple:
        return tuple(self.edges_kev.tolist()), tuple(self.weights.detach().tolist())
