"""Photon-counting detectors: what is registered above a threshold when a photon arrives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.physics.detectors import czt, silicon
from ctlib.physics.detectors.response import IdealResponse, TabulatedResponse, require_rule, shared_response

GRID_KEV = 0.5  # step of the deposited-energy grid


@dataclass(frozen=True)
class Detector:
    """A detector: `response(energies, widths).above(thresholds)` are counts per photon, differentiable in the
    thresholds and in every parameter given as a tensor. Make one by `ideal`, `silicon`, `czt` or `tabulated`.

    kind        name of the model
    parameters  its numbers, floats or scalar tensors that may require a gradient
    """

    kind: str
    parameters: dict

    @classmethod
    def ideal(cls, edge_rule: str = "share") -> Detector:
        """Counts every photon once at its own energy.

        edge_rule  a threshold inside an energy bin of the spectrum takes its "share" of the bin, or the whole bin
                   goes where its "centre" lies (no gradient)
        """
        return cls("ideal", {"edge_rule": require_rule(edge_rule, ("share", "centre"))})

    @classmethod
    def silicon(
        cls, depth_mm=60.0, dead_mm=0.0, pitch_mm=0.5, cloud_mm=0.012, noise_kev=1.6, rescatter=0.0
    ) -> Detector:
        """Edge-on silicon strips: photo peak, Compton recoil, charge sharing, electronic noise, {cite}`bornefalk2010`.

        depth_mm   silicon along the ray; dead_mm of it in front counts nothing
        pitch_mm   width of a strip;  cloud_mm: standard deviation of the charge cloud
        noise_kev  standard deviation of the electronic noise
        rescatter  share of the Compton-scattered photons that reach other strips: 0 with perfect foils between the
                   strips, 1 without foils and without lateral end; a real detector lies between
        """
        return cls("silicon", _positive(depth_mm=depth_mm, pitch_mm=pitch_mm, noise_kev=noise_kev)
                   | _nonnegative(dead_mm=dead_mm, cloud_mm=cloud_mm, rescatter=rescatter))  # fmt: skip

    @classmethod
    def czt(cls, depth_mm=2.0, pitch_mm=0.3, cloud_mm=0.018, noise_kev=2.5, escape=0.4) -> Detector:
        """Cadmium zinc telluride, Cd0.9 Zn0.1 Te: full deposit, K-fluorescence escape, charge sharing, noise.

        escape  share of the K-fluorescence photons that leave their pixel and are counted in another one

        A stand-in of the right kind, not a model of any product.
        """
        return cls("czt", _positive(depth_mm=depth_mm, pitch_mm=pitch_mm, noise_kev=noise_kev)
                   | _nonnegative(cloud_mm=cloud_mm, escape=escape))  # fmt: skip

    @classmethod
    def tabulated(cls, heights_kev: Tensor, density: Tensor, edge_rule: str = "linear") -> Detector:
        """A response matrix (N, P): counts per keV of pulse height (P,), uniform, per photon of each energy bin (N,).

        edge_rule  "linear": trapezoids between the samples, cut by the threshold; "histogram": cells around them
        """
        if density.ndim != 2 or density.shape[1] != len(heights_kev):
            raise ArgumentError("density", tuple(density.shape), f"(N, {len(heights_kev)})")
        require_rule(edge_rule, ("linear", "histogram"))
        return cls("tabulated", {"heights_kev": heights_kev, "density": density, "edge_rule": edge_rule})

    @property
    def requires_grad(self) -> bool:
        """Whether any parameter is a tensor that wants a gradient."""
        return any(isinstance(p, Tensor) and p.requires_grad for p in self.parameters.values())

    def response(self, energies_kev: Tensor, widths_kev: Tensor):
        """The response (an object with `above`) for photons of energies (N,) in bins of these widths, all float64."""
        p = self.parameters
        if self.kind == "ideal":
            return IdealResponse(energies_kev, widths_kev, p["edge_rule"])
        if self.kind == "tabulated":
            return _tabulated(p, energies_kev)
        p = {name: torch.as_tensor(value).to(energies_kev) for name, value in p.items()}
        size = int(1.1 * float(energies_kev.max()) / GRID_KEV) + 2
        grid = GRID_KEV * torch.arange(size).to(energies_kev)
        deposits = {"silicon": silicon.deposits, "czt": czt.deposits}[self.kind]
        lines, counts, tail = deposits(p, energies_kev, grid)
        return shared_response(lines, counts, grid, tail, p["cloud_mm"], p["pitch_mm"], p["noise_kev"])


def _tabulated(p: dict, energies_kev: Tensor) -> TabulatedResponse:
    density = p["density"].to(energies_kev)
    if len(density) != len(energies_kev):
        raise ArgumentError("density", f"{len(density)} rows", f"one for each of the {len(energies_kev)} energies")
    return TabulatedResponse(p["heights_kev"].to(energies_kev), density, p["edge_rule"])


def _positive(**numbers) -> dict:
    for name, value in numbers.items():
        if not float(torch.as_tensor(value).detach()) > 0:
            raise ArgumentError(name, value, "a positive number")
    return numbers


def _nonnegative(**numbers) -> dict:
    for name, value in numbers.items():
        if not float(torch.as_tensor(value).detach()) >= 0:
            raise ArgumentError(name, value, "a number >= 0")
    return numbers
