"""Test objects of two basis materials, water and calcium: the ellipses of a paper, and abdomens."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.phantoms.anatomy import MU, Anatomy, abdomen_of
from ctlib.phantoms.ellipsoids import Ellipsoids

MATERIALS = ("water", "calcium")
WATER_60 = 0.020587  # attenuation of water at 60 keV [1/mm]
FAT = (0.971, -0.0184)  # adipose tissue of 0.95 g/cm3 in the basis [g/cm3], fitted over 40 to 120 keV
CORTICAL = (1.202, 0.4145)  # cortical bone, likewise, of 1.68 g/cm3, which attenuates as `torso` says


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
    inside, half = 0.175 * size_mm, size_mm / 2
    water = Ellipsoids([1.0], [[0.0, 0.0]], [[0.70 * half, 0.25 * half]], [0.0])
    rods = Ellipsoids([calcium] * 2, [[-inside, 0.0], [inside, 0.0]], [[0.10 * half, 0.06 * half]] * 2, [0.0] * 2)
    return MaterialPhantom((water, rods))


def composition(tissue: str) -> np.ndarray:
    """Densities (2,) [g/cm3] of water and calcium that attenuate as a tissue of `torso`.

    Soft tissue is water of another density; bone and marrow are mixtures of water and cortical bone by volume.
    """
    if tissue == "fat":
        return np.array(FAT)
    if MU[tissue] < MU["marrow"]:
        return np.array([MU[tissue] / WATER_60, 0.0])
    share = (MU[tissue] - WATER_60) / (MU["cortical bone"] - WATER_60)
    return (1 - share) * np.array([1.0, 0.0]) + share * np.array(CORTICAL)


class _Tissues(Anatomy):
    """Collects the ellipses of an anatomy with two values, one per basis material, in place of an attenuation."""

    def add(self, tissue: str, inside: str | None, center, axes, angle: float = 0.0) -> None:
        values = composition(tissue) - (composition(inside) if inside else 0.0)
        self.rows.append((*values, *(c * self.unit for c in center), *(a * self.unit for a in axes), angle))

    def phantom(self) -> MaterialPhantom:
        t = np.array(self.rows)
        kept = [t[t[:, k] != 0] for k in range(2)]
        return MaterialPhantom(tuple(Ellipsoids(r[:, k], r[:, 2:4], r[:, 4:6], r[:, 6]) for k, r in enumerate(kept)))


def abdomen(seed: int, size_mm: float = 384.0) -> MaterialPhantom:
    """The body of `torso(seed)`, in water and calcium."""
    a = _Tissues(np.random.default_rng(seed), size_mm / 2)
    abdomen_of(a)
    return a.phantom()
