"""A detector whose response is a measured or simulated table."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.arrays import numbers
from ctlib.physics.detectors.detector import Detector, as_bins, as_thresholds


@dataclass(frozen=True, eq=False)
class TabulatedDetector(Detector, name="tabulated"):
    """A response matrix (N, P): counts per keV >= 0 of pulse height (P,), ascending, per photon of each energy (N,).

    edge_rule     what lies between the samples: "linear", trapezoids that a threshold cuts, nothing beyond the first
                  and the last height; "histogram", each sample fills the cell around it, halfway to its neighbors
    energies_kev  (N,) ascending energies [keV] of the rows, linear between them; beyond the first and last energy half
                  a step is allowed. Without them, rows are those of the spectrum's bins; where the model cuts a bin at
                  a K-edge, both parts have its row. A table with a row for every part is taken as it is.

    Heights may be uneven; arrays of any kind.
    """

    heights_kev: Tensor
    density: Tensor
    edge_rule: str = "linear"
    energies_kev: Tensor | None = None

    def __post_init__(self):
        heights, density = numbers("heights_kev", self.heights_kev), numbers("density", self.density, at_least=0)
        if heights.ndim != 1 or len(heights) < 2 or not bool((heights.detach().diff() > 0).all()):
            raise ArgumentError("heights_kev", tuple(heights.shape), "(P,) two or more ascending pulse heights [keV]")
        if density.ndim != 2 or density.shape[1] != len(heights):
            raise ArgumentError("density", tuple(density.shape), f"(N, {len(heights)})")
        contract.choice("edge_rule", self.edge_rule, ("linear", "histogram"))
        object.__setattr__(self, "heights_kev", heights)
        object.__setattr__(self, "density", density)
        if self.energies_kev is not None:
            object.__setattr__(self, "energies_kev", self._rows_at(numbers("energies_kev", self.energies_kev, above=0)))

    def _rows_at(self, energies: Tensor) -> Tensor:
        if energies.shape != (len(self.density),) or len(energies) < 2 or not bool((energies.diff() > 0).all()):
            needed = f"({len(self.density)},) ascending energies [keV] of the rows, two or more"
            raise ArgumentError("energies_kev", tuple(energies.shape), needed)
        return energies

    def for_parts(self, parent: Tensor, num: int) -> "TabulatedDetector":
        """With a row for each part of the spectrum's bins, if it has one for each bin."""
        whole = self.energies_kev is None and len(self.density) == num != len(parent)
        return replace(self, density=self.density[parent.to(self.density.device)]) if whole else self

    def response(self, energies_kev: Tensor, widths_kev: Tensor) -> "TabulatedResponse":
        energies, _ = as_bins(energies_kev, widths_kev)
        density = self.density.to(energies)
        if self.energies_kev is not None:
            density = between_rows(density, self.energies_kev.to(energies), energies)
        elif len(density) != len(energies):
            needed = f"one for each of the {len(energies)} energies, or energies_kev of the rows"
            raise ArgumentError("density", f"{len(density)} rows", needed)
        return TabulatedResponse(self.heights_kev.to(energies), density, self.edge_rule)


def between_rows(table: Tensor, at_kev: Tensor, energies_kev: Tensor) -> Tensor:
    """Rows of a table (N, P) at ascending energies (N,), linear between them, at others (K,): (K, P)."""
    low, high = at_kev[0] - 0.5 * (at_kev[1] - at_kev[0]), at_kev[-1] + 0.5 * (at_kev[-1] - at_kev[-2])
    if len(energies_kev) and not bool(low <= energies_kev.min() and energies_kev.max() <= high):
        given = f"a table from {at_kev[0]:g} to {at_kev[-1]:g}"
        raise ArgumentError("energies_kev", given, f"rows up to {energies_kev.min():g} and {energies_kev.max():g} keV")
    k = (torch.bucketize(energies_kev, at_kev, right=True) - 1).clamp(0, len(at_kev) - 2)
    part = ((energies_kev - at_kev[k]) / (at_kev[k + 1] - at_kev[k])).clamp(0, 1)
    return torch.lerp(table[k], table[k + 1], part[:, None])


@dataclass(frozen=True, eq=False)
class TabulatedResponse:
    """The table at the energies asked for."""

    heights_kev: Tensor
    density: Tensor
    edge_rule: str

    def above(self, thresholds_kev: Tensor) -> Tensor:
        """Integrals of the interpolated table from the thresholds on."""
        thresholds = as_thresholds(thresholds_kev, self.heights_kev)[..., None]  # (..., D, 1)
        weights = cells_above if self.edge_rule == "histogram" else trapezoids_above
        return weights(thresholds, self.heights_kev) @ self.density.T


def cells_above(thresholds_kev: Tensor, heights_kev: Tensor) -> Tensor:
    """What of the cells around the heights (P,) lies above thresholds (..., D, 1), (..., D, P) [keV].

    Cells end halfway between two heights; the outermost reach as far out as in.
    """
    middle, step = 0.5 * (heights_kev[1:] + heights_kev[:-1]), heights_kev.diff()
    low = torch.cat([heights_kev[:1] - 0.5 * step[:1], middle])
    high = torch.cat([middle, heights_kev[-1:] + 0.5 * step[-1:]])
    return (high - torch.maximum(thresholds_kev, low)).clamp_min(0)


def trapezoids_above(thresholds_kev: Tensor, heights_kev: Tensor) -> Tensor:
    """Weights (..., D, P) [keV] of the samples in the integral of their linear interpolant above thresholds."""
    step = heights_kev.diff()
    part = ((thresholds_kev - heights_kev[:-1]) / step).clamp(0, 1)  # of each interval, (..., D, P - 1)
    left, right, none = 0.5 * step * (1 - part) ** 2, 0.5 * step * (1 - part**2), torch.zeros_like(part[..., :1])
    return torch.cat([left, none], -1) + torch.cat([none, right], -1)
