"""Sums of uniform ellipses (2-D) or ellipsoids (3-D): exact line integrals, and rasters that average over voxels."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume


@dataclass(frozen=True, eq=False)
class Ellipsoids:
    """Uniform ellipsoids that add where they overlap.

    values      (K,) attenuation each one adds [1/mm]
    centers_mm  (K, d) in (x, y) or (x, y, z)
    axes_mm     (K, d) half axes before rotation
    angles_rad  (K,) rotation in the (x, y) plane, counter-clockwise
    """

    values: np.ndarray
    centers_mm: np.ndarray
    axes_mm: np.ndarray
    angles_rad: np.ndarray

    def __post_init__(self):
        for name, ndim in (("values", 1), ("centers_mm", 2), ("axes_mm", 2), ("angles_rad", 1)):
            object.__setattr__(self, name, contract.array(name, getattr(self, name), ndim))
        count, d = self.centers_mm.shape
        if (
            d not in (2, 3)
            or self.axes_mm.shape != (count, d)
            or not self.values.shape == self.angles_rad.shape == (count,)
        ):
            shapes = [a.shape for a in (self.values, self.centers_mm, self.axes_mm, self.angles_rad)]
            raise ArgumentError(
                "axes_mm", f"shapes {shapes}", "K rows in values, centers_mm, axes_mm and angles_rad, of 2 or 3 columns"
            )
        if not (self.axes_mm > 0).all():
            raise ArgumentError("axes_mm", float(self.axes_mm.min()), "numbers > 0")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ndim(self) -> int:
        return self.centers_mm.shape[1]

    def _unit_ball(self, k: int, xyz: np.ndarray, is_direction: bool = False) -> np.ndarray:
        """Points (or directions) (..., d) in the frame where ellipsoid k is the unit ball."""
        p = xyz if is_direction else xyz - self.centers_mm[k]
        c, s = math.cos(self.angles_rad[k]), math.sin(self.angles_rad[k])
        turned = np.stack(
            [c * p[..., 0] + s * p[..., 1], -s * p[..., 0] + c * p[..., 1], *np.moveaxis(p[..., 2:], -1, 0)], -1
        )
        return turned / self.axes_mm[k]

    def line_integrals(self, geometry, rays_per_bin: int = 1) -> Tensor:
        """Exact line integrals along a geometry's rays, float64 (V, [R,] U); averages of rays_per_bin rays a cell.

        chord of p + t d through the unit ball: 2 sqrt(b^2 - a c) / a,   a = d.d, b = p.d, c = p.p - 1
        """
        if self.ndim != geometry.volume.ndim:
            raise ArgumentError(
                "geometry", f"a {geometry.volume.ndim}-D geometry", f"a {self.ndim}-D one, as the phantom"
            )
        points, directions = geometry.rays(rays_per_bin)
        total = np.zeros(points.shape[:-1])
        for k, value in enumerate(self.values):
            p, d = self._unit_ball(k, points), self._unit_ball(k, directions, is_direction=True)
            a, b, c = (d * d).sum(-1), (p * d).sum(-1), (p * p).sum(-1) - 1
            total += value * 2 * np.sqrt(np.maximum(b * b - a * c, 0)) / a
        for axis in range(1, total.ndim):  # average the rays of a cell, over columns and rows
            count = geometry.sino_shape[axis]
            total = np.stack(np.split(total, count, axis), axis).mean(axis + 1)
        return torch.from_numpy(total)

    def raster(self, volume: Volume, supersample: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
        """Average over each voxel, from supersample^d points in it: (Y, X) or (Z, Y, X) [1/mm]."""
        if self.ndim != volume.ndim:
            raise ArgumentError("volume", f"a {volume.ndim}-D volume", f"a {self.ndim}-D one, as the phantom")
        supersample, dtype = contract.count("supersample", supersample, 1), contract.dtype("dtype", dtype)
        fine = Volume(tuple(n * supersample for n in volume.shape), tuple(s / supersample for s in volume.voxel_mm))
        axes = [fine.axis(i) for i in range(fine.ndim)]
        out = np.zeros(volume.shape)
        for k, value in enumerate(self.values):
            box = self._box(k, axes, supersample)
            grid = np.meshgrid(*(a[s] for a, s in zip(axes, box, strict=True)), indexing="ij")
            inside = (self._unit_ball(k, np.stack(grid[::-1], -1)) ** 2).sum(-1) <= 1
            shape = [n for s in inside.shape for n in (s // supersample, supersample)]
            coarse = tuple(slice(s.start // supersample, s.stop // supersample) for s in box)
            out[coarse] += value * inside.reshape(shape).mean(tuple(range(1, 2 * fine.ndim, 2)))
        return torch.from_numpy(out).to(dtype)

    def _box(self, k: int, axes: list[np.ndarray], supersample: int) -> list[slice]:
        """Slices of the fine grid, whole voxels, that hold ellipsoid k."""
        c, s = math.cos(self.angles_rad[k]), math.sin(self.angles_rad[k])
        half = self.axes_mm[k].copy()
        half[0], half[1] = math.hypot(half[0] * c, half[1] * s), math.hypot(half[0] * s, half[1] * c)
        out = []
        for i, axis in enumerate(axes):
            j = len(axes) - 1 - i
            hit = np.flatnonzero(np.abs(axis - self.centers_mm[k, j]) <= half[j])
            first, last = (hit[0], hit[-1] + 1) if hit.size else (0, 0)
            out.append(slice(first // supersample * supersample, -(-last // supersample) * supersample))
        return out
