"""Specimens for spectral CT, as densities of aluminium, water and iodine: five rods, and a mouse with texture."""

import math

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.phantoms.anatomy import Anatomy
from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.materials import MaterialPhantom
from ctlib.phantoms.texture import soft_mask, tissue_texture

BASIS = ("aluminium", "water", "iodine")
ALUMINIUM = 2.699  # density of the metal [g/cm3]
RODS = ((ALUMINIUM, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 1.0, 0.005), (0.0, 1.0, 0.010), (0.0, 1.0, 0.015))  # g/cm3

# Densities [g/cm3] of (aluminium, water, iodine). Bone is its aluminium equivalent: within 1.5 % of cortical bone of
# 1.92 g/cm3 from 22 to 70 keV; adipose tissue likewise within 0.4 %.
TISSUES = {
    "soft": (0.0, 1.04, 0.0), "fat": (-0.0866, 1.001, 0.0), "lung": (0.0, 0.35, 0.0), "fluid": (0.0, 1.0, 0.0),
    "liver": (0.0, 1.06, 0.002), "kidney": (0.0, 1.05, 0.006), "blood": (0.0, 1.02, 0.012),
    "bone": (2.12, -0.068, 0.0), "spongy": (0.70, 0.66, 0.0),
}  # fmt: skip
TEXTURE = 0.04  # relative standard deviation of the density of soft tissue


def _places(slice_number: float, drift: float) -> tuple[float, float]:
    """Where a slice lies, and how far shapes move from one to the next."""
    return tuple(
        contract.number(n, v, at_least=-1e4, at_most=1e4) for n, v in (("slice_number", slice_number), ("drift", drift))
    )


def rods(slice_number: float = 0.0, seed: int = 0, size_mm: float = 82.6, drift: float = 0.0) -> MaterialPhantom:
    """Five rods in air: aluminium, water, 5, 10 and 15 mg/mL iodine in water, {cite}`guo2022`.

    slice_number  distance from the middle slice, in slices
    seed          turns the rods around the axis
    drift         by which the rods lean: they turn by this share of a radian from slice to slice
    """
    centers, axes = _rod_places(slice_number, seed, size_mm, drift)
    maps = []
    for k in range(3):
        kept = [i for i in range(5) if RODS[i][k] > 0]
        maps.append(Ellipsoids([RODS[i][k] for i in kept], centers[kept], axes[kept], np.zeros(len(kept))))
    return MaterialPhantom(tuple(maps))


def _rod_places(slice_number: float, seed: int, size_mm: float, drift: float) -> tuple[np.ndarray, np.ndarray]:
    slice_number, drift = _places(slice_number, drift)
    seed, size_mm = contract.seed("seed", seed), contract.number("size_mm", size_mm, above=0)
    turn = np.random.default_rng(seed).uniform(0, 2 * math.pi) + drift * slice_number
    t = turn + 2 * math.pi * np.arange(5) / 5
    centers = 0.30 * size_mm * np.stack([np.cos(t), np.sin(t)], 1)
    radii = size_mm * np.array([0.085, 0.12, 0.12, 0.12, 0.12])
    return centers, np.stack([radii, radii], 1)


def rod_centers(seed: int = 0, size_mm: float = 82.6) -> tuple[np.ndarray, np.ndarray]:
    """Centers (5, 2) and half axes (5, 2) [mm] of `rods` in the middle slice, x to the right and y up."""
    return _rod_places(0.0, seed, size_mm, 0.0)


def rod_regions(volume: Volume, slice_number: float = 0.0, seed: int = 0, drift: float = 0.0) -> Tensor:
    """Bool masks (5, Y, X) of the voxels well inside each rod of `rods`, two voxels away from its wall."""
    centers, axes = _rod_places(slice_number, seed, volume.extent_mm[-1], drift)
    y, x = volume.axis(0)[:, None], volume.axis(1)[None, :]
    margin = 2 * volume.voxel_mm[0]
    inside = [np.hypot(x - c[0], y - c[1]) <= a[0] - margin for c, a in zip(centers, axes, strict=True)]
    return torch.from_numpy(np.stack(inside))


class _Mouse(Anatomy):
    """Collects ellipses with three densities each, moved and grown by a shift."""

    def __init__(self, seed: int, unit_mm: float, shift: float):
        super().__init__(np.random.default_rng(seed), unit_mm, TISSUES)
        self.shift = shift

    def add(self, tissue: str, inside: str | None, center, axes, angle: float = 0.0, moves: float = 1.0, motion=None):
        """One ellipse; from slice to slice it moves and grows at random speeds, or with another one's `motion`."""
        if motion is None:
            motion = moves * self.rng.normal(size=2), moves * self.rng.normal(), self.rng.uniform(-0.02, 0.02, 2)
        speed, growth, spread = motion
        place = np.asarray(center) + spread + self.shift * speed
        size = np.asarray(axes) * math.exp(2 * self.shift * growth)
        super().add(tissue, inside, place, size, angle)
        return motion


def mouse_shapes(
    slice_number: float = 0.0, seed: int = 0, size_mm: float = 46.0, drift: float = 0.0
) -> MaterialPhantom:
    """A mouse's trunk without texture: skin fat, lungs, liver, kidney, vessels with iodine, spine, thin ribs.

    drift  how far shapes move from slice to slice, as a share of half the field of view
    """
    slice_number, drift = _places(slice_number, drift)
    seed, size_mm = contract.seed("seed", seed), contract.number("size_mm", size_mm, above=0)
    if abs(drift * slice_number) > 100:
        raise ArgumentError("slice_number, drift", (slice_number, drift), "a slice within the specimen")
    m = _Mouse(seed, size_mm / 2, drift * slice_number)
    body = m.add("fat", None, (0, 0), (0.80, 0.64), moves=0.3)
    m.add("soft", "fat", (0, 0), (0.74, 0.58), motion=body)
    liver = m.add("liver", "soft", (-0.26, 0.06), (0.26, 0.24), 0.4)
    for x, y, r in ((-0.32, 0.13, 0.030), (-0.19, 0.01, 0.042), (-0.37, -0.02, 0.026), (-0.24, 0.18, 0.036)):
        m.add("blood", "liver", (x, y), (r, r), motion=liver)
    m.add("lung", "soft", (0.31, 0.19), (0.17, 0.16), -0.3, moves=0.6)
    kidney = m.add("kidney", "soft", (0.32, -0.18), (0.15, 0.11), 0.5)
    m.add("fluid", "kidney", (0.32, -0.18), (0.05, 0.035), 0.5, motion=kidney)
    for x, y, r in ((0.06, -0.10, 0.055), (-0.05, -0.20, 0.045), (0.06, 0.30, 0.065), (0.08, 0.08, 0.030)):
        m.add("blood", "soft", (x, y), (r, r), moves=0.6)
    spine = m.add("bone", "soft", (0.0, -0.38), (0.13, 0.10), moves=0.5)
    m.add("spongy", "bone", (0.0, -0.39), (0.075, 0.045), motion=spine)
    for t in np.linspace(math.radians(-20), math.radians(200), 9):
        along = math.atan2(0.48 * math.cos(t), -0.64 * math.sin(t))
        m.add("bone", "soft", (0.64 * math.cos(t), 0.48 * math.sin(t)), (0.055, 0.020), along, motion=body)
    return MaterialPhantom(tuple(m.ellipsoids(k) for k in range(len(BASIS))))


def mouse(
    volume: Volume, slice_number: float = 0.0, seed: int = 0, drift: float = 0.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Densities (3, Y, X) [g/cm3] of `mouse_shapes`, its soft tissue with smooth random texture of 4 %.

    The texture, too, changes from slice to slice when drift is not 0: its correlation falls as cos(20 drift z).
    """
    slice_number, drift = _places(slice_number, drift)
    seed, dtype = contract.seed("seed", seed), contract.dtype("dtype", dtype)
    d = mouse_shapes(slice_number, seed, volume.extent_mm[-1], drift).densities(volume, 2, dtype)
    generator, turn = torch.Generator().manual_seed(seed), 20 * drift * slice_number
    grain = tissue_texture(volume.shape, (0.025, 0.01), generator, weight=0.7, turn=turn, dtype=dtype)
    soft = soft_mask(d[1], 0.9, math.inf, 0.05) * (1 - soft_mask(d[0].abs(), 0.0, math.inf, 0.05))
    d[1] = d[1] * (1 + TEXTURE * soft * grain)
    return d


def specimen(
    kind: str, volume: Volume, num_slices: int, seed: int, drift: float = 0.0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Densities (Z, 3, Y, X) [g/cm3] of slices of the "rods" or the "mouse", the middle one at slice number 0."""
    contract.choice("kind", kind, ("rods", "mouse"))
    num_slices = contract.count("num_slices", num_slices, 1)
    where = [z - (num_slices - 1) / 2 for z in range(num_slices)]
    if kind == "mouse":
        return torch.stack([mouse(volume, z, seed, drift, dtype) for z in where])
    return torch.stack([rods(z, seed, volume.extent_mm[-1], drift).densities(volume, 4, dtype) for z in where])
