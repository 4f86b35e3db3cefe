"""Tables of what a photon may do in a material, and into which direction it scatters."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.attenuation import TABLES_KEV, Material, mass_attenuation
from ctlib.physics.scatter.angles import angular_density, form_function, free_electron_attenuation, quantiles

LOWEST_KEV = 10.0  # below it a photon is absorbed on the spot: 10 keV reach 2 mm of water
STEP_KEV = 0.5  # linear interpolation of E^-3 between such nodes is 0.2 % too large at 15 keV, less above


@dataclass(frozen=True, eq=False)
class CrossSections:
    """Interaction tables of M materials on a uniform energy grid, linear between nodes.

    rates      (3 M, N) attenuation per density [1/mm per g/cm3]; rows photoelectric, Compton, Rayleigh of each material
    quantiles  (2 M, N, J + 1) cosines of the scattering angle at probabilities j / J; rows Compton, Rayleigh
    norms      (2 M, N) integral of the angular density over the sphere, which `density` divides by
    forms      (2 M, X) S(x) and F(x)^2 per gram at x = k form_step, {cite}`hubbell1975`
    form_step  [1/Angstrom]
    first_kev, step_kev  the energy grid
    """

    materials: tuple[Material, ...]
    rates: Tensor
    quantiles: Tensor
    norms: Tensor
    forms: Tensor
    form_step: float
    first_kev: float
    step_kev: float

    @classmethod
    def of(cls, materials, highest_kev: float = 150.0, bound: bool = True) -> CrossSections:
        """Tables of materials (or their names) from 10 keV to highest_kev, float64.

        bound  Compton scattering on bound electrons, Klein-Nishina times S(x); else on free electrons, with the
               Klein-Nishina total cross section. Doppler broadening and the interference between molecules (which
               takes coherent scatter of water away below 3 degrees) are left out.
        """
        if isinstance(materials, (str, Material)):
            raise ArgumentError("materials", repr(materials), "a sequence of one or more materials")
        materials = tuple(Material.named(m) for m in materials)
        highest_kev = contract.number(
            "highest_kev", highest_kev, above=LOWEST_KEV, at_most=TABLES_KEV[1] - 2 * STEP_KEV
        )
        if not materials:
            raise ArgumentError("materials", materials, "a sequence of one or more materials")
        nodes = LOWEST_KEV + STEP_KEV * np.arange(int(np.ceil((highest_kev - LOWEST_KEV) / STEP_KEV)) + 2)
        step, forms = form_function(materials, nodes[-1], bound)
        curves = [quantiles(k % 2, nodes, forms[k], step) for k in range(2 * len(materials))]
        rates = torch.stack([r for m in materials for r in _rates(m, nodes, bound)])
        cosines, norms = (torch.from_numpy(np.stack(c)) for c in zip(*curves, strict=True))
        return cls(materials, rates, cosines, norms, torch.from_numpy(forms), step, LOWEST_KEV, STEP_KEV)

    @property
    def num_materials(self) -> int:
        return len(self.materials)

    @property
    def highest_kev(self) -> float:
        """Last energy the tables hold."""
        return self.first_kev + self.step_kev * (self.rates.shape[1] - 2)

    @property
    def total(self) -> Tensor:
        """Attenuation per density (M, N), all processes together."""
        return self.rates.unflatten(0, (-1, 3)).sum(1)

    @classmethod
    def for_scan(cls, sections: CrossSections | None, phantom, spectrum) -> CrossSections:
        """The given tables, if they hold a phantom's materials and a spectrum's energies; made if there are none."""
        if not hasattr(spectrum, "edges_kev"):
            raise ArgumentError("spectrum", type(spectrum).__name__, "a Spectrum")
        if not hasattr(phantom, "densities"):
            raise ArgumentError("phantom", type(phantom).__name__, "a VoxelPhantom")
        highest = float(spectrum.edges_kev[-1])
        sections = cls.of(phantom.materials, highest) if sections is None else sections
        if not isinstance(sections, cls) or sections.highest_kev < highest:
            given = f"up to {sections.highest_kev:g} keV" if isinstance(sections, cls) else type(sections).__name__
            raise ArgumentError("sections", given, f"CrossSections up to the spectrum's {highest:g} keV")
        return sections

    def like(self, tensor: Tensor) -> CrossSections:
        """The same tables with a tensor's dtype and device."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{k: v.to(tensor) for k, v in moved.items() if isinstance(v, Tensor)})

    def interpolate(self, table: Tensor, energy: Tensor) -> Tensor:
        """Rows of a table (K, N) at energies (n,) [keV]: (K, n)."""
        node, part = self._position(energy)
        return torch.lerp(table[:, node], table[:, node + 1], part)

    def _position(self, energy: Tensor) -> tuple[Tensor, Tensor]:
        t = ((energy - self.first_kev) / self.step_kev).clamp(0, self.rates.shape[1] - 2)
        return t.long(), t - t.floor()

    def sample_cosine(self, row: Tensor, energy: Tensor, uniform: Tensor) -> Tensor:
        """Cosine of the scattering angle: inverse distribution function of table row (n,) at uniform numbers (n,)."""
        (node, part), num = self._position(energy), self.quantiles.shape[2] - 1
        t = uniform * num
        j = t.long().clamp_max(num - 1)
        at = lambda k: torch.lerp(self.quantiles[row, k, j], self.quantiles[row, k, j + 1], t - j)  # noqa: E731
        return torch.lerp(at(node), at(node + 1), part)

    def density(self, row: Tensor, energy: Tensor, cosine: Tensor) -> Tensor:
        """Probability per solid angle [1/sr] that an event of table row scatters by this angle."""
        (node, part), (value, x) = self._position(energy), angular_density(row % 2, energy, cosine)
        t = (x / self.form_step).clamp_max(self.forms.shape[1] - 2)
        k = t.long()
        form = torch.lerp(self.forms[row, k], self.forms[row, k + 1], t - k)
        return value * form / torch.lerp(self.norms[row, node], self.norms[row, node + 1], part)


def _rates(material: Material, nodes: np.ndarray, bound: bool) -> list[Tensor]:
    """Photoelectric, Compton and Rayleigh attenuation per density [1/mm per g/cm3]."""
    photo, compton, rayleigh = (mass_attenuation(material, nodes, p) for p in ("photo", "compton", "rayleigh"))
    compton = compton if bound else torch.from_numpy(free_electron_attenuation(material, nodes))
    return [0.1 * photo, 0.1 * compton, 0.1 * rayleigh]
