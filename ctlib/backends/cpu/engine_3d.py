"""CPU engine of the cone beam: packs volumes and sinograms for the compiled loops."""

import math
from functools import cached_property

import numpy as np
from torch import Tensor

from ctlib.backends.cpu import joseph_3d as numba_3d
from ctlib.backends.cpu.backprojection import CompiledBackprojection
from ctlib.backends.cpu.engine_2d import groups, whole_groups
from ctlib.backends.cpu.simd import LANES
from ctlib.backends.cpu.simd_memory import REACH
from ctlib.backends.reference.torch_engine import TorchEngine
from ctlib.backends.tables.columns import columns
from ctlib.backends.tables.runs import SLACK
from ctlib.cpu.threads import share

PRODUCTS = {1: (numba_3d.forward_1, numba_3d.adjoint_1), 4: (numba_3d.forward_4, numba_3d.adjoint_4)}
PLANES = 2  # planes a thread of the adjoint owns at once: their voxels stay in cache


class Numba3D(CompiledBackprojection):
    """Joseph's method on CPU tensors (float32 or float64); volumes (B, Z, Y, X), sinograms (B, rays).

    Rays steeper than some 45 degrees, whose main axis is z, are left to the torch engine, which is slow.
    """

    def __init__(self, geometry):
        self.geometry, self.shape, self.sino_shape = geometry, geometry.volume.shape, geometry.sino_shape
        self.slack = max(SLACK, geometry.num_rows * 2.0**-20)
        self.width = -(-(geometry.num_rows + _taps(geometry, self.slack) + REACH) // LANES) * LANES
        self.stride = -(-(self.shape[0] + 2 + REACH) // LANES) * LANES

    @cached_property
    def tables(self) -> tuple:
        c = columns(self.geometry)
        return c.axis, c.start, c.slope, c.gain, c.source, c.flat, c.rise, c.rows

    @cached_property
    def axes(self) -> list[int]:
        return [axis for axis in (1, 2) if (self.tables[0] == axis).any()]

    @cached_property
    def steep(self) -> TorchEngine | None:
        return TorchEngine(self.geometry, axes=(0,)) if columns(self.geometry).steep else None

    def _grid(self, axis: int) -> tuple[int, int, int, int, int]:
        return self.shape[axis], self.shape[3 - axis], self.shape[0], self.stride, self.sino_shape[1]

    def forward(self, x: Tensor) -> Tensor:
        batch, x = len(x), whole_groups(x)
        sino = self.steep.forward(x) if self.steep else x.new_zeros(len(x), self.geometry.num_rays)
        sino = sino.reshape(-1, *self.sino_shape)
        for per_group, part in groups(len(x)):
            for k in range(part.start, part.stop, per_group):
                self._forward(x[k : k + per_group], sino[k : k + per_group])
        return sino[:batch].flatten(1)

    def _forward(self, x: Tensor, sino: Tensor) -> None:
        views, rows, cols = self.sino_shape
        out = x.new_zeros(views, cols, len(x), rows)
        for axis in self.axes:
            volume = self._lines(x, axis)
            items = views * -(-cols // numba_3d.STRIP)
            share(PRODUCTS[len(x)][0], items, volume, self._grid(axis), axis, self.tables, out.numpy())
        sino += out.permute(2, 0, 3, 1)

    def _lines(self, x: Tensor, axis: int):
        """Volumes (B, Z, Y, X) packed for a main axis: flat (plane, pixel, image, slice)."""
        packed = x.new_zeros(self.shape[axis], self.shape[3 - axis] + 2, len(x), self.stride)
        packed[:, 1:-1, :, 1 : self.shape[0] + 1] = x.permute(1 + axis, 4 - axis, 0, 1)
        return packed.view(-1).numpy()

    def adjoint(self, y: Tensor) -> Tensor:
        batch, y = len(y), whole_groups(y)
        volume = self.steep.adjoint(y) if self.steep else y.new_zeros(len(y), *self.shape)
        y = y.reshape(-1, *self.sino_shape).contiguous()
        for per_group, part in groups(len(y)):
            for k in range(part.start, part.stop, per_group):
                self._adjoint(y[k : k + per_group], volume[k : k + per_group])
        return volume[:batch]

    def _adjoint(self, y: Tensor, volume: Tensor) -> None:
        views, _, cols = self.sino_shape
        packed = np.empty((views, cols, len(y), self.width), y.numpy().dtype)
        share(numba_3d.pack_sinogram, views * cols, y.numpy(), self.tables, packed)
        for axis in self.axes:
            lines = y.new_zeros(self.shape[axis], self.shape[3 - axis] + 2, len(y), self.stride)
            flat, shape, grid = lines.view(-1).numpy(), (len(y), self.width), self._grid(axis)
            args = packed.reshape(-1), grid, shape, axis, self.tables, self.slack, PLANES, flat
            share(PRODUCTS[len(y)][1], -(-grid[0] // PLANES), *args)
            order = (2, 3, 0, 1) if axis == 1 else (2, 3, 1, 0)
            volume += lines[:, 1:-1, :, 1 : self.shape[0] + 1].permute(order)


def _taps(geometry, slack: float) -> int:
    """How many rows of a column may touch one voxel: no voxel is nearer to the source than the grid's circle."""
    farthest = math.hypot(geometry.source_detector_mm, np.abs(geometry.columns()).max())
    nearest = (geometry.source_origin_mm - geometry.volume.reach_mm) / farthest  # share of the way to the detector
    rows_to_slices = geometry.row_pitch_mm / geometry.volume.voxel_mm[0] * nearest
    return min(geometry.num_rows, math.ceil(2 / rows_to_slices + 2 * slack))
