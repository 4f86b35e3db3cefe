"""The response of a real detector: deposits of energy after charge sharing, blurred by electronic noise."""

from abc import abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.detectors.detector import Detector, as_bins, as_thresholds
from ctlib.physics.detectors.sharing import above_noise, shared_counts, whole_share

GRID_KEV = 0.5  # step of the deposited-energy grid


@dataclass(frozen=True, eq=False)
class BlurredResponse:
    """Lines and a tail of registered energies, blurred by Gaussian noise at the threshold itself.

    lines, line_counts  (L, N) energies [keV] and counts per photon of sharp deposits
    grid_kev, tail      (C,) and (N, C) counts per photon of everything else
    noise_kev           standard deviation of the electronic noise
    """

    lines: Tensor
    line_counts: Tensor
    grid_kev: Tensor
    tail: Tensor
    noise_kev: Tensor

    def above(self, thresholds_kev: Tensor) -> Tensor:
        """Counts (..., D, N) above thresholds (..., D) [keV] per photon of each energy; smooth in the thresholds."""
        thresholds = as_thresholds(thresholds_kev, self.grid_kev)
        total = above_noise(thresholds, self.grid_kev, self.noise_kev) @ self.tail.T
        for energy, counts in zip(self.lines, self.line_counts, strict=True):
            total = total + counts * above_noise(thresholds, energy, self.noise_kev)
        return total


class SharingDetector(Detector):
    """A detector given by its `deposits` and by charge sharing and noise: `pitch_mm`, `cloud_mm`, `noise_kev`.

    All parameters are numbers or scalar tensors >= 0; depth, pitch and noise are not 0, shares not above 1, and the
    cloud not wider than an eighth of the pitch, beyond which it would reach a pixel that is not modeled.
    """

    def __post_init__(self):
        found = {}
        for name, value in vars(self).items():
            least = {"above": 0} if name in ("depth_mm", "pitch_mm", "noise_kev") else {"at_least": 0}
            most = {"at_most": 1} if name in ("rescatter", "escape") else {}
            tensor = isinstance(value, torch.Tensor)
            found[name] = contract.number(name, value.detach() if tensor else value, **least, **most)
            object.__setattr__(self, name, value if tensor else found[name])
        if 8 * found["cloud_mm"] > found["pitch_mm"]:
            raise ArgumentError("cloud_mm", found["cloud_mm"], f"at most pitch_mm / 8 = {found['pitch_mm'] / 8:g}")

    @abstractmethod
    def deposits(self, energies_kev: Tensor, grid_kev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sharp lines (L, N), their counts (L, N) and a tail (N, C) on the grid, per incident photon."""

    def response(self, energies_kev: Tensor, widths_kev: Tensor) -> BlurredResponse:
        energies_kev, _ = as_bins(energies_kev, widths_kev)
        here = replace(self, **{name: torch.as_tensor(value).to(energies_kev) for name, value in vars(self).items()})
        sharing = here.cloud_mm, here.pitch_mm
        grid = GRID_KEV * torch.arange(int(1.1 * float(energies_kev.max()) / GRID_KEV) + 2).to(energies_kev)
        lines, line_counts, tail = here.deposits(energies_kev, grid)
        whole = whole_share(*sharing)
        collected = whole * tail + tail @ shared_counts(grid, grid, *sharing)
        for energy, counts in zip(lines, line_counts, strict=True):
            collected = collected + counts[:, None] * shared_counts(energy, grid, *sharing)
        return BlurredResponse(lines, whole * line_counts, grid, collected, here.noise_kev)
