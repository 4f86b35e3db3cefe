"""A detector whose response is a measured or simulated table."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.physics.detectors.detector import Detector, require_rule


@dataclass(frozen=True, eq=False)
class TabulatedDetector(Detector, name="tabulated"):
    """A response matrix (N, P): counts per keV of pulse height (P,), uniform, per photon of each energy bin (N,).

    edge_rule  what lies between the samples: "linear", trapezoids that a threshold cuts; "histogram", each sample
               fills the cell around it
    """

    heights_kev: Tensor
    density: Tensor
    edge_rule: str = "linear"

    def __post_init__(self):
        if self.density.ndim != 2 or self.density.shape[1] != len(self.heights_kev):
            raise ArgumentError("density", tuple(self.density.shape), f"(N, {len(self.heights_kev)})")
        require_rule(self.edge_rule, ("linear", "histogram"))

    def response(self, energies_kev: Tensor, widths_kev: Tensor) -> "TabulatedResponse":
        rows, num = len(self.density), len(energies_kev)
        if rows != num:
            raise ArgumentError("density", f"{rows} rows", f"one for each of the {num} energies")
        return TabulatedResponse(self.heights_kev.to(energies_kev), self.density.to(energies_kev), self.edge_rule)


@dataclass(frozen=True, eq=False)
class TabulatedResponse:
    """The table at the energies asked for."""

    heights_kev: Tensor
    density: Tensor
    edge_rule: str

    def above(self, thresholds_kev: Tensor) -> Tensor:
        """Integrals of the interpolated table from the thresholds on."""
        step, last = self.heights_kev[1] - self.heights_kev[0], len(self.heights_kev) - 1
        position = ((thresholds_kev[..., None] - self.heights_kev[0]) / step).clamp(0, last)  # (..., D, 1)
        weights = cells_above if self.edge_rule == "histogram" else trapezoids_above
        return weights(position, torch.arange(last + 1).to(position)) @ (self.density * step).T


def cells_above(position: Tensor, node: Tensor) -> Tensor:
    """Shares (..., D, P) of the cells around the nodes (P,) that lie above `position` (..., D, 1)."""
    return (node + 0.5 - position).clamp(0, 1)


def trapezoids_above(position: Tensor, node: Tensor) -> Tensor:
    """Weights (..., D, P) of the samples in the integral of their linear interpolant from `position` to the end."""
    rising = 1 - (1 + position - node).clamp(0, 1) ** 2  # twice the left half of a node's hat, above the position
    falling = (1 - (position - node).clamp(0, 1)) ** 2  # twice its right half
    return 0.5 * (rising * (node > 0) + falling * (node < len(node) - 1))
