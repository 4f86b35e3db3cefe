"""Abdomens in three dimensions: the organs of `torso` as ellipsoids, so that neighboring slices show one anatomy."""

import math

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.phantoms.anatomy import Anatomy, organs, ribs, spine, wall
from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.texture import tissue_texture
from ctlib.phantoms.torso import LENGTHS, TEXTURE, soft_tissue

LONG = 50.0  # half axis along z of what does not end within a volume, in half fields of view


class _Solid(Anatomy):
    """Collects ellipsoids. What lies inside something that ends, ends before it: attenuations stay those of tissues."""

    def __init__(self, rng: np.random.Generator, unit_mm: float, height: float):
        super().__init__(rng, unit_mm)
        self.height, self.is_long = height, True  # height of the volume in half fields of view
        self.solids = []  # (tissue, center (x, y), axes (x, y), angle, center z, half axis z)

    def add(self, tissue: str, inside: str | None, center, axes, angle: float = 0.0) -> None:
        super().add(tissue, inside, center, axes, angle)
        self.solids.append((tissue, center, axes, angle, *self._along_z(tissue, inside, center, axes, angle)))

    def _along_z(self, tissue: str, inside: str | None, center, axes, angle: float) -> tuple[float, float]:
        size = float(max(axes))
        for parent, *place, z, half in reversed(self.solids):
            if parent == inside and half < LONG and (reach := _reach(place, center, axes, angle)) < 1:
                room = half * math.sqrt(1 - reach**2)
                concentric = tuple(center) == tuple(place[0])
                own = room if concentric else min(0.9 * room, size * self.rng.uniform(1, 3))
                return z + (0.0 if concentric else self.jitter(0, room - own)), own
        if self.is_long or (tissue == "blood" and inside == "fat"):  # wall, spine; aorta and vena cava
            return 0.0, LONG
        return self.jitter(0, 0.6 * self.height), size * self.rng.uniform(0.5, 1.2)

    def ellipsoids(self) -> Ellipsoids:
        flat, z = super().ellipsoids(), self.unit * np.array([s[-2:] for s in self.solids])
        centers, axes = (np.column_stack([a, b]) for a, b in ((flat.centers_mm, z[:, 0]), (flat.axes_mm, z[:, 1])))
        return Ellipsoids(flat.values, centers, axes, flat.angles_rad)


def _reach(place, center, axes, angle: float) -> float:
    """How far an ellipse reaches in another, place = (center, axes, angle): below 1 where it lies inside."""
    t = np.linspace(0, 2 * math.pi, 32, endpoint=False)
    edge = _turn(np.stack([axes[0] * np.cos(t), axes[1] * np.sin(t)]), angle)
    at, half, turned = place
    inner = _turn(edge + np.reshape(np.subtract(center, at), (2, 1)), -turned) / np.reshape(half, (2, 1))
    return float(np.hypot(*inner).max())


def _turn(xy: np.ndarray, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.stack([c * xy[0] - s * xy[1], s * xy[0] + c * xy[1]])


def torso_solids(seed: int, size_mm: float = 400.0, height_mm: float = 40.0) -> Ellipsoids:
    """Abdomen of ellipsoids in a field of view of size_mm, attenuation at 60 keV [1/mm]; one body per seed.

    height_mm  of the part that is looked at: organs, lesions and ribs begin and end around it
    """
    size_mm, height_mm = contract.number("size_mm", size_mm, above=0), contract.number("height_mm", height_mm, above=0)
    a = _Solid(np.random.default_rng(contract.count("seed", seed)), size_mm / 2, 2 * height_mm / size_mm)
    half_axes = wall(a)
    a.is_long = False
    organs(a)
    ribs(a, *half_axes)
    a.is_long = True
    spine(a)
    return a.ellipsoids()


def torso_volume(
    volume: Volume, seed: int, texture: float = TEXTURE, supersample: int = 2, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Raster of `torso_solids(seed)` that fills the volume: (Z, Y, X) [1/mm], with fine texture in soft tissue.

    texture  relative standard deviation in soft tissue; correlated over 2 % and 0.8 % of the width in the plane, and
             over about two slices across it; air and bone have none
    """
    if volume.ndim != 3:
        raise ArgumentError("volume", volume.shape, "three axes")
    seed, texture = contract.count("seed", seed, 0, 2**62), contract.number("texture", texture, at_least=0, at_most=1)
    dtype = contract.dtype("dtype", dtype)
    depth, _, width = volume.extent_mm
    x = torso_solids(seed, width, depth).raster(volume, supersample, torch.float64)
    if texture:
        x = x * (1 + texture * soft_tissue(x) * _grain(volume.shape, seed))
    return x.to(dtype)


def _grain(shape: tuple[int, int, int], seed: int) -> Tensor:
    """Random field of unit variance (Z, Y, X), float64: planes of texture, mixed over neighbors by (1, 2, 1)."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.stack([tissue_texture(shape[1:], LENGTHS, generator) for _ in range(shape[0] + 2)])
    return (t[:-2] + 2 * t[1:-1] + t[2:]) / math.sqrt(6)
