"""Responses: expected counts above a threshold per incident photon, differentiable in the threshold."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.physics.detectors.sharing import above_noise, shared_counts, whole_share


@dataclass(frozen=True)
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
        total = above_noise(thresholds_kev, self.grid_kev, self.noise_kev) @ self.tail.T
        for energy, counts in zip(self.lines, self.line_counts, strict=True):
            total = total + counts * above_noise(thresholds_kev, energy, self.noise_kev)
        return total


def shared_response(lines, line_counts, grid_kev, tail, cloud_mm, pitch_mm, noise_kev) -> BlurredResponse:
    """Response of deposits, sharp lines (L, N) and a tail (N, C) on a grid, after charge sharing and noise."""
    whole = whole_share(cloud_mm, pitch_mm)
    spread = shared_counts(grid_kev, grid_kev, cloud_mm, pitch_mm)
    collected = whole * tail + tail @ spread
    for energy, counts in zip(lines, line_counts, strict=True):
        collected = collected + counts[:, None] * shared_counts(energy, grid_kev, cloud_mm, pitch_mm)
    return BlurredResponse(lines, whole * line_counts, grid_kev, collected, noise_kev)


@dataclass(frozen=True)
class IdealResponse:
    """Every photon is counted once, at its own energy; what a threshold inside an energy bin does is `edge_rule`."""

    energies_kev: Tensor
    widths_kev: Tensor
    edge_rule: str

    def above(self, thresholds_kev: Tensor) -> Tensor:
        """Counts (..., D, N) above thresholds (..., D) per photon of each energy bin.

        "share": the part of the bin above the threshold, for photons spread evenly over their bin; "centre": the whole
        bin or nothing, as its centre lies, without a gradient.
        """
        distance = (self.energies_kev - thresholds_kev[..., None]) / self.widths_kev
        if self.edge_rule == "centre":
            return (distance > 0).to(distance)
        return (distance + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class TabulatedResponse:
    """A measured or simulated response matrix: density (N, P) of pulse heights (P,), sampled every `step` keV.

    edge_rule  how the samples fill the space between: "linear" (trapezoids cut by the threshold) or "histogram"
               (each sample fills the cell around it)
    """

    heights_kev: Tensor
    density: Tensor
    edge_rule: str

    def above(self, thresholds_kev: Tensor) -> Tensor:
        """Counts (..., D, N) above thresholds (..., D) [keV] per photon of each energy."""
        step, last = self.heights_kev[1] - self.heights_kev[0], len(self.heights_kev) - 1
        position = ((thresholds_kev[..., None] - self.heights_kev[0]) / step).clamp(0, last)  # (..., D, 1)
        if self.edge_rule == "histogram":
            cell = torch.arange(last + 1).to(position)
            return (cell + 0.5 - position).clamp(0, 1) @ (self.density * step).T
        return _trapezoids_above(position, last) @ (self.density * step).T


def _trapezoids_above(position: Tensor, last: int) -> Tensor:
    """Weights (..., D, P) of the samples in the integral of their linear interpolant from `position` to the end."""
    node = torch.arange(last + 1).to(position)
    rising = 1 - (1 + position - node).clamp(0, 1) ** 2  # twice the left half of a node's hat, above the position
    falling = (1 - (position - node).clamp(0, 1)) ** 2  # twice its right half
    return 0.5 * (rising * (node > 0) + falling * (node < last))


def require_rule(rule: str, known: tuple[str, ...]) -> str:
    """The edge rule, if there is one of this name."""
    if rule not in known:
        raise ArgumentError("edge_rule", repr(rule), f"one of {', '.join(known)}")
    return rule
