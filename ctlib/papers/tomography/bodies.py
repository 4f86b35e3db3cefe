"""Random bodies of ellipses with organs, gas, bones, texture and inserts that are known one by one."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.data.deeplesion import inscribed_circle
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.phantoms.anatomy import Anatomy
from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.texture import soft_mask, tissue_texture

FIELD_MM = 150.0  # field of view in which rays through the middle have 2.3 to 3.3 nepers
TEXTURE = 0.02  # relative standard deviation of soft tissue
LENGTHS = (0.04, 0.016)  # correlation lengths of the texture, shares of the field of view
CONTRAST = (0.005, 0.010)  # of an insert against what it lies in, either sign [1/mm]
AXES = (0.10, 0.16)  # half axes of an insert in half fields of view
TRIALS = 200  # places at which something is tried before it may touch another


@dataclass(frozen=True)
class Insert:
    """One ellipse to look for: place and half axes (x, y) [mm], rotation, and what it adds to the tissue [1/mm]."""

    center_mm: tuple[float, float]
    axes_mm: tuple[float, float]
    angle_rad: float
    contrast: float


@dataclass(frozen=True, eq=False)
class Body:
    """An image (Y, X) [1/mm], the same without its inserts, and the inserts.

    soft  pixels (Y, X) of soft tissue, away from skin, bones and gas: where inserts lie, and where others might seem to
    """

    image: Tensor
    background: Tensor
    soft: Tensor
    inserts: tuple[Insert, ...]


def body(seed: int, volume: Volume, dtype: torch.dtype = torch.float32) -> Body:
    """The body of a seed, which touches the inscribed circle and is 0 outside it.

    Attenuations are those of tissue at 60 keV. In a field of view of `FIELD_MM` rays through the middle have 2.3 to 3.3
    nepers and none has more than 4: bodies of less than half size, as whole ones let nothing of a few photons pass.
    """
    seed, dtype = contract.count("seed", seed, 0, 2**63 - 1), contract.dtype("dtype", dtype)
    if volume.ndim != 2 or volume.shape[0] != volume.shape[1] or volume.voxel_mm[0] != volume.voxel_mm[1]:
        raise ArgumentError("volume", volume.shape, "a square 2-D volume of square voxels")
    a = _Body(np.random.default_rng(seed), volume.extent_mm[-1] / 2)
    a.grow()
    inserts = tuple(a.insert() for _ in range(a.rng.integers(2, 5)))
    background = a.ellipsoids().raster(volume, dtype=torch.float64)
    added = _as_ellipsoids(inserts).raster(volume, dtype=torch.float64)
    circle = inscribed_circle(volume.shape[0])
    soft = soft_mask(background, 0.012, 0.028, 0.002)
    grain = 1 + TEXTURE * soft * tissue_texture(volume.shape, LENGTHS, torch.Generator().manual_seed(seed))
    images = ((x * grain * circle).clamp_min(0).to(dtype) for x in (background + added, background))
    return Body(*images, _core(soft * circle, volume), inserts)


def bodies(seeds, volume: Volume, dtype: torch.dtype = torch.float32) -> Tensor:
    """The images of the bodies of some seeds, (B, Y, X) [1/mm]."""
    return torch.stack([body(s, volume, dtype).image for s in seeds])


class _Body(Anatomy):
    """Collects ellipses, and circles (x, y, radius) that inserts keep away from, in half fields of view."""

    def grow(self) -> None:
        self.size, self.tilt, self.taken = (0.99, self.jitter(0.80, 0.07)), self.rng.uniform(0, math.pi), []
        wall = self.jitter(0.10, 0.02)
        self.inner = (self.size[0] - wall, self.size[1] - wall)
        self.add("fat", None, (0, 0), self.size, self.tilt)
        self.add("muscle", "fat", (0, 0), self.inner, self.tilt)
        for _ in range(self.rng.integers(2, 5)):  # organs
            size = self.rng.uniform(0.20, 0.35, 2)
            kind = str(self.rng.choice(["liver", "fluid", "fat", "kidney"]))
            self.add(kind, "muscle", self.free(0.9 * size.max()), size, self.rng.uniform(0, math.pi))
        self.bones()
        for _ in range(self.rng.integers(0, 3)):
            size = self.rng.uniform(0.10, 0.18, 2)
            self.hard("gas", "muscle", self.place(size.max() + 0.02), size, self.rng.uniform(0, math.pi))

    def bones(self) -> None:
        """A spine at one end of the short axis, and ribs in the wall."""
        spine = self.turned(0.0, 0.24 - self.inner[1])
        self.hard("cortical bone", "muscle", spine, (0.20, 0.16), self.tilt)
        self.add("spongy bone", "cortical bone", spine, (0.17, 0.13), self.tilt)
        for t in np.linspace(0, 2 * math.pi, self.rng.integers(4, 7), endpoint=False) + self.rng.uniform(0, 1):
            at = self.turned(self.inner[0] * math.cos(t), self.inner[1] * math.sin(t))
            along = self.tilt + math.atan2(self.inner[1] * math.cos(t), -self.inner[0] * math.sin(t))
            self.add("spongy bone", "muscle", at, (self.rng.uniform(0.09, 0.14), 0.06), along)

    def hard(self, tissue: str, inside: str, center, axes, angle: float) -> None:
        """An ellipse that inserts keep away from."""
        self.add(tissue, inside, center, axes, angle)
        self.taken.append((*center, max(axes)))

    def free(self, radius: float) -> tuple[float, float]:
        """A place in the body for a circle of this radius."""
        return self.at(radius, *self.rng.uniform(size=2))

    def at(self, radius: float, share: float, turn: float) -> tuple[float, float]:
        """The place for a circle of this radius that two numbers in [0, 1) stand for."""
        r, t = math.sqrt(share), 2 * math.pi * turn
        u, v = ((s - radius) * r for s in self.inner)
        return self.turned(u * math.cos(t), v * math.sin(t))

    def turned(self, x: float, y: float) -> tuple[float, float]:
        """A place along and across the body's long axis."""
        c, s = math.cos(self.tilt), math.sin(self.tilt)
        return c * x - s * y, s * x + c * y

    def place(self, radius: float) -> tuple[float, float]:
        """The same, away from all that is taken where some trial finds it, else as far away as they do."""
        tried = {}
        for drawn in self.rng.uniform(size=(TRIALS, 2)):
            p = self.at(radius + 0.06, *drawn)
            gap = min((math.dist(p, q[:2]) - q[2] for q in self.taken), default=1.0) - radius
            if gap > 0.06:
                return p
            tried.setdefault(gap, p)
        return tried[max(tried)]

    def insert(self) -> Insert:
        axes = self.rng.uniform(*AXES, 2)
        center = self.place(axes.max())
        self.taken.append((*center, axes.max()))
        contrast = self.rng.uniform(*CONTRAST) * self.rng.choice([-1, 1])
        place, size = ((float(self.unit * v) for v in pair) for pair in (center, axes))
        return Insert(tuple(place), tuple(size), float(self.rng.uniform(0, math.pi)), float(contrast))


def _as_ellipsoids(inserts: tuple[Insert, ...]) -> Ellipsoids:
    columns = zip(*((i.contrast, i.center_mm, i.axes_mm, i.angle_rad) for i in inserts), strict=True)
    return Ellipsoids(*map(np.array, columns))


def _core(soft: Tensor, volume: Volume) -> Tensor:
    """Pixels with nothing but soft tissue within 3 % of the field of view."""
    reach = max(1, round(0.03 * volume.shape[-1]))
    hard = (soft < 0.5).double()[None, None]
    return torch.nn.functional.max_pool2d(hard, 2 * reach + 1, 1, reach)[0, 0] == 0
