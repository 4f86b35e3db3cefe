"""Test objects of two basis materials, water and calcium: the ellipses of a paper, and abdomens."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.phantoms.anatomy import MU, Anatomy, abdomen_of
from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.torso import torso, torso_texture
from ctlib.units import MU_WATER

MATERIALS = ("water", "calcium")
CORTICAL = (1.202, 0.4145)  # cortical bone of 1.68 g/cm3 in the basis [g/cm3], fitted over 40 to 120 keV


@dataclass(frozen=True, eq=False)
class MaterialPhantom:
    """A phantom of basis materials: one sum of ellipses each, with values in g/cm3."""

    maps: tuple[Ellipsoids, ...]

    def __post_init__(self):
        if not self.maps or any(m.ndim != self.maps[0].ndim for m in self.maps):
            raise ArgumentError("maps", [m.ndim for m in self.maps], "one or more phantoms of the same dimension")

    def paths(self, geometry, rays_per_bin: int = 1) -> Tensor:
        """Exact path lengths (V, [R,] U, M) [g/cm2] along a geometry's rays, float64."""
        return 0.1 * torch.stack([m.line_integrals(geometry, rays_per_bin) for m in self.maps], -1)

    def densities(self, volume: Volume, supersample: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
        """Averages over the voxels (M, [Z,] Y, X) [g/cm3]."""
        return torch.stack([m.raster(volume, supersample, dtype) for m in self.maps])


def ellipse_phantom(size_mm: float = 384.0, calcium: float = 0.62) -> MaterialPhantom:
    """Water ellipse with two calcium ellipses in a field of view of size_mm, {cite}`wang2026`.

    Full widths are 0.70 x 0.25 (water, 1 g/cm3) and 0.10 x 0.06 (calcium) of the field of view; the calcium lies at a
    quarter of the water's width on either side.
    """
    size_mm, calcium = contract.number("size_mm", size_mm, above=0), contract.number("calcium", calcium)
    inside, half = 0.175 * size_mm, size_mm / 2
    water = Ellipsoids([1.0], [[0.0, 0.0]], [[0.70 * half, 0.25 * half]], [0.0])
    rods = Ellipsoids([calcium] * 2, [[-inside, 0.0], [inside, 0.0]], [[0.10 * half, 0.06 * half]] * 2, [0.0] * 2)
    return MaterialPhantom((water, rods))


def composition(tissue: str) -> np.ndarray:
    """Densities (2,) [g/cm3] of water and calcium that attenuate as a tissue of `torso`.

    Soft tissue is water of another density; bone and marrow are mixtures of water and cortical bone by volume. None is
    negative, so that photons can be followed through them: fat, which would need calcium below 0, attenuates 8 % more
    than adipose tissue at 40 keV and 4 % less at 120 keV.
    """
    if MU[contract.choice("tissue", tissue, tuple(MU))] < MU["marrow"]:
        return np.array([MU[tissue] / MU_WATER, 0.0])
    share = (MU[tissue] - MU_WATER) / (MU["cortical bone"] - MU_WATER)
    return (1 - share) * np.array([1.0, 0.0]) + share * np.array(CORTICAL)


def abdomen(seed: int, size_mm: float = 384.0) -> MaterialPhantom:
    """The body of `torso(seed)`, in water and calcium."""
    seed, half = contract.seed("seed", seed), contract.number("size_mm", size_mm, above=0) / 2
    a = Anatomy(np.random.default_rng(seed), half, {tissue: composition(tissue) for tissue in MU})
    abdomen_of(a)
    return MaterialPhantom(tuple(a.ellipsoids(k) for k in range(len(MATERIALS))))


def abdomen_densities(volume: Volume, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Raster (2, Y, X) [g/cm3] of `abdomen(seed)` that fills the volume's width, with the texture of `torso_slice`."""
    dtype = contract.dtype("dtype", dtype)
    plain = torso(seed, volume.extent_mm[-1]).raster(volume, dtype=torch.float64)
    densities = abdomen(seed, volume.extent_mm[-1]).densities(volume) * torso_texture(plain, seed)
    return densities.clamp_min(0).to(dtype)  # rounding leaves values of -1e-17
