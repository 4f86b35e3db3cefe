"""Physical constants with their source, and the Hounsfield scale.

Lengths are mm, energies keV, attenuation 1/mm, densities g/cm3 everywhere in ctlib.
"""

from torch import Tensor

from ctlib import contract

MU_WATER = 0.02059
"""Linear attenuation of liquid water (1.000 g/cm3) at 60 keV [1/mm]: mu/rho = 0.2059 cm2/g, {cite}`hubbell2004`."""


def hu_from_mu(mu: Tensor, mu_water: float = MU_WATER) -> Tensor:
    """CT number of a linear attenuation: water is 0 HU, vacuum -1000 HU, {cite}`kak2001`.

        HU = 1000 (mu - mu_water) / mu_water

    mu, mu_water  in the same unit, by default 1/mm at 60 keV; integers and half precision are promoted
    """
    mu_water = contract.number("mu_water", mu_water, above=0)
    return 1000.0 * (contract.tensor("mu", mu, promote=True) - mu_water) / mu_water


def mu_from_hu(hu: Tensor, mu_water: float = MU_WATER) -> Tensor:
    """Linear attenuation [unit of mu_water] of a CT number: the inverse of `hu_from_mu`."""
    return contract.number("mu_water", mu_water, above=0) * (1.0 + contract.tensor("hu", hu, promote=True) / 1000.0)
