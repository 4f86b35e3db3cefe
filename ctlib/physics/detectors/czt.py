"""Cadmium zinc telluride, simplified: full deposits and K fluorescence that leaves its pixel."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.physics.attenuation import Material, mass_attenuation, xray_tables
from ctlib.physics.detectors.response import SharingDetector

CZT = Material("CZT", (("Cd", 0.4322), ("Te", 0.5398), ("Zn", 0.0280)), 5.78)
"""Cd0.9 Zn0.1 Te by mass, density [g/cm3]."""


def fluorescence(symbol: str, energies_kev: Tensor) -> tuple[float, Tensor]:
    """Energy [keV] of an element's K-alpha line, and K-alpha or K-beta photons per photon absorbed in CZT (N,).

        w (mu/rho)_photo / (mu/rho)_photo,CZT (1 - 1 / J) omega_K    above the K-edge

    w mass fraction, J jump ratio, omega_K fluorescence yield; K-beta counts as K-alpha.
    """
    tables = xray_tables()
    z = tables.SymbolToAtomicNumber(symbol)
    per_photon = (1 - 1 / tables.JumpFactor(z, tables.K_SHELL)) * tables.FluorYield(z, tables.K_SHELL)
    share = dict(CZT.mass_fractions)[symbol] * mass_attenuation(symbol, energies_kev, "photo")
    share = share / mass_attenuation(CZT, energies_kev, "photo")
    above = energies_kev >= tables.EdgeEnergy(z, tables.K_SHELL)
    return tables.LineEnergy(z, tables.KA_LINE), (share * per_photon).to(energies_kev) * above


@dataclass(frozen=True, eq=False)
class CZTDetector(SharingDetector, name="czt"):
    """Cadmium zinc telluride, Cd0.9 Zn0.1 Te: full deposit, K-fluorescence escape, charge sharing, noise.

    depth_mm, pitch_mm, cloud_mm, noise_kev  as of `SiliconDetector`
    escape  share of the K-fluorescence photons that leave their pixel and are counted in another one

    A stand-in of the right kind, not a model of any product.
    """

    depth_mm: float | Tensor = 2.0
    pitch_mm: float | Tensor = 0.3
    cloud_mm: float | Tensor = 0.018
    noise_kev: float | Tensor = 2.5
    escape: float | Tensor = 0.4

    def deposits(self, energies_kev: Tensor, grid_kev: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Full peak, escape peaks and fluorescence lines (L, N), their counts, and an empty tail (N, C), per photon."""
        mu = 0.1 * CZT.density * mass_attenuation(CZT, energies_kev).to(energies_kev)
        seen = -torch.expm1(-mu * self.depth_mm)
        lines, counts = [energies_kev], [seen]
        for symbol in ("Cd", "Te"):
            line, photons = fluorescence(symbol, energies_kev)
            lost = seen * photons * self.escape
            counts[0] = counts[0] - lost
            lines += [(energies_kev - line).clamp_min(0), torch.full_like(energies_kev, line)]
            counts += [lost, lost]
        return torch.stack(lines), torch.stack(counts), energies_kev.new_zeros(len(energies_kev), len(grid_kev))
