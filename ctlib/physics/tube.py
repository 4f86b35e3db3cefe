"""A parametric tungsten tube, for voltages without a table."""

import numpy as np

from ctlib import contract
from ctlib.physics.attenuation import linear_attenuation

K_LINES = ((57.98, 0.30), (59.32, 0.52), (67.24, 0.15), (69.07, 0.04))  # keV, share of the K photons
K_BINDING_KEV = 69.525
SELF_ABSORPTION_MM = 0.0085  # tungsten along the way out at 120 kV, fitted to the tables
K_PHOTONS = 0.08  # K photons over continuum photons above 20 keV at 120 kV, fitted to the table
TABLE_KEV = 0.5  # distance of the energies


def parametric_tungsten(kvp: float) -> tuple[np.ndarray, np.ndarray]:
    """Energies [keV], 0.5 keV apart, and relative photons of an unfiltered tungsten tube of 20 to 150 kV.

        (kvp / E - 1) exp(-mu_W(E) t),    plus the K lines above 69.5 kV

    Kramers' continuum {cite}`kramers1923` behind an effective depth t of its own target, which grows as kvp^0.7; K
    photons grow with the overvoltage as (kvp / 69.5 - 1)^1.63.
    """
    kvp = contract.number("kvp", kvp, at_least=20, at_most=150)
    energies = np.arange(1.25, kvp, TABLE_KEV)
    depth_mm = SELF_ABSORPTION_MM * (kvp / 120) ** 0.7
    photons = (kvp / energies - 1) * np.exp(-depth_mm * linear_attenuation("W", energies).numpy())
    if kvp > K_BINDING_KEV:
        growth = ((kvp / K_BINDING_KEV - 1) / (120 / K_BINDING_KEV - 1)) ** 1.63
        strength = K_PHOTONS * growth * photons[energies > 20].sum()
        for line, share in K_LINES:
            photons[np.argmin(abs(energies - line))] += share * strength
    return energies, photons
