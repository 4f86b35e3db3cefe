"""A detector that counts every photon once, at its own energy."""

from dataclasses import dataclass

from torch import Tensor

from ctlib import contract
from ctlib.physics.detectors.detector import Detector, as_bins, as_thresholds


@dataclass(frozen=True, eq=False)
class IdealDetector(Detector, name="ideal"):
    """Counts every photon once, at its own energy.

    edge_rule  a threshold inside an energy bin of the spectrum takes its "share" of the bin, or the whole bin goes
               where its "center" lies (no gradient)
    """

    edge_rule: str = "share"

    def __post_init__(self):
        contract.choice("edge_rule", self.edge_rule, ("share", "center"))

    def response(self, energies_kev: Tensor, widths_kev: Tensor) -> "IdealResponse":
        return IdealResponse(*as_bins(energies_kev, widths_kev), self.edge_rule)


@dataclass(frozen=True, eq=False)
class IdealResponse:
    """Photons of energies (N,), spread evenly over bins of widths (N,)."""

    energies_kev: Tensor
    widths_kev: Tensor
    edge_rule: str

    def above(self, thresholds_kev: Tensor) -> Tensor:
        """The part of each bin above a threshold; with "center" the whole bin or nothing."""
        thresholds = as_thresholds(thresholds_kev, self.energies_kev)
        distance = (self.energies_kev - thresholds[..., None]) / self.widths_kev
        return (distance > 0).to(distance) if self.edge_rule == "center" else (distance + 0.5).clamp(0, 1)
