"""The object in the beam: mass densities of materials in voxels, and what particles and rays need of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.physics.attenuation import Material
from ctlib.physics.scatter.cross_sections import CrossSections

LEAST = 1e-6  # [1/mm] majorant of a vacuum: flights stay finite


@dataclass(frozen=True, eq=False)
class VoxelPhantom:
    """Materials mixed in every voxel of a grid centered on the rotation axis; outside it is vacuum.

    volume     Volume with three axes
    materials  M names or Materials
    densities  (M, Z, Y, X) mass of each material per volume of the voxel [g/cm3]; its dtype and device are those of
               the simulation
    """

    volume: Volume
    materials: tuple[Material, ...]
    densities: Tensor

    def __post_init__(self):
        materials = tuple(Material.named(m) for m in self.materials)
        if not isinstance(self.volume, Volume):
            raise ArgumentError("volume", type(self.volume).__name__, "a Volume with 3 axes")
        contract.tensor("densities", self.densities)
        needed = (len(materials), *self.volume.shape)
        if self.volume.ndim != 3 or tuple(self.densities.shape) != needed:
            raise ArgumentError("densities", tuple(self.densities.shape), f"{needed}: (M, Z, Y, X) of a 3-D volume")
        if not bool(((self.densities >= 0) & self.densities.isfinite()).all()):
            raise ArgumentError("densities", "negative, infinite or NaN values", "finite numbers >= 0 [g/cm3]")
        object.__setattr__(self, "materials", materials)

    @classmethod
    def extruded(cls, volume: Volume, materials, densities: Tensor, height_mm: float) -> VoxelPhantom:
        """A slice (M, Y, X) of a 2-D volume, the same over a height along the rotation axis: one layer of voxels."""
        if not isinstance(volume, Volume) or volume.ndim != 2:
            raise ArgumentError("volume", volume, "a Volume with 2 axes")
        contract.tensor("densities", densities, (None, *volume.shape))
        if densities.ndim != 3:
            raise ArgumentError("densities", tuple(densities.shape), f"(M, {volume.shape[0]}, {volume.shape[1]})")
        height_mm = contract.number("height_mm", height_mm, above=0)
        solid = Volume((1, *volume.shape), (height_mm, *volume.voxel_mm))
        return cls(solid, tuple(materials), densities[:, None])


@dataclass(frozen=True, eq=False)
class Media:
    """A phantom with its tables, axes ascending in (x, y, z), on the phantom's device.

    densities  (M, Z * Y * X);  majorant (N,): the largest attenuation [1/mm] anywhere, per node of the energy grid
    low, size  (3,) corner of the grid and size of a voxel [mm];  counts (X, Y, Z)
    """

    sections: CrossSections
    densities: Tensor
    majorant: Tensor
    low: Tensor
    size: Tensor
    counts: tuple[int, int, int]

    @classmethod
    def of(cls, phantom: VoxelPhantom, sections: CrossSections) -> Media:
        """Bring phantom and tables together; the tables' materials must be the phantom's."""
        if sections.materials != phantom.materials:
            raise ArgumentError("sections", [m.name for m in sections.materials], "the phantom's materials, in order")
        densities = phantom.densities.flip(-2).flatten(1).contiguous()  # rows of the image descend in y
        sections = sections.like(densities)
        present = torch.unique(densities, dim=1).T  # each mixture once
        largest = torch.stack([(part @ sections.total).amax(0) for part in present.split(65536)]).amax(0)
        extent, size = (densities.new_tensor(v[::-1]) for v in (phantom.volume.extent_mm, phantom.volume.voxel_mm))
        return cls(sections, densities, largest.clamp_min(LEAST), -extent / 2, size, phantom.volume.shape[::-1])

    @property
    def high(self) -> Tensor:
        """Upper corner (3,) [mm]."""
        return self.low + self.size * self.size.new_tensor(self.counts)

    def voxel(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Flat index of the voxel at positions (n, 3) [mm], and whether they lie in the grid; beyond it the nearest."""
        cell = ((position - self.low) / self.size).floor()
        inside = ((cell >= 0) & (cell < cell.new_tensor(self.counts))).all(1)
        return self.flat(cell.long()), inside

    def flat(self, cell: Tensor) -> Tensor:
        """Flat index of cells (n, 3) in (x, y, z), moved to the nearest in the grid."""
        x, y, z = (cell[:, k].clamp(0, n - 1) for k, n in enumerate(self.counts))
        return (z * self.counts[1] + y) * self.counts[0] + x

    def crossing(self, start: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Distances [mm] from start to where rays (n, 3) enter and leave the grid; leave <= enter where they miss it.

        Slab test; distances behind the start are cut off at 0.
        """
        inverse = 1 / torch.where(direction.abs() < 1e-9, torch.full_like(direction, 1e-9), direction)
        a, b = (self.low - start) * inverse, (self.high - start) * inverse
        return torch.minimum(a, b).amax(1).clamp_min(0), torch.maximum(a, b).amin(1)
