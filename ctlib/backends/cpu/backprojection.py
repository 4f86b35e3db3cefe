"""Tables and memory layout for the compiled back-projection.

The places of `footprint` and `row_footprint` are ratios of two functions that are linear in the voxel's indices; the
tables hold their coefficients, with one more cell before the first.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib.backends.cpu import backproject_2d as plane
from ctlib.backends.cpu import backproject_3d as space
from ctlib.backends.cpu.backproject_2d import MARGIN
from ctlib.geometry import ConeBeam, ParallelBeam


class CompiledBackprojection:
    """The interpolating back-projection of the CPU engine and its transpose; needs `self.geometry`."""

    def backproject(self, q: Tensor, view_weights: Tensor) -> Tensor:
        tables = _tables(self.geometry, view_weights)
        out = q.new_empty(q.shape[0], *self.geometry.volume.shape)
        if isinstance(self.geometry, ConeBeam):
            data = pad(q.transpose(-1, -2), (1, 1 + MARGIN, 1, 2)).contiguous()
            space.gather_volume(data.numpy(), *tables, out.numpy())
        else:
            plane.gather(pad(q, (1, 1 + MARGIN)).numpy(), *tables, out.numpy())
        return out

    def backproject_adjoint(self, x: Tensor, view_weights: Tensor) -> Tensor:
        tables = _tables(self.geometry, view_weights)
        views, *inner = self.geometry.sino_shape
        data = x.new_zeros(len(x), views, *(n + 3 for n in reversed(inner)))  # (B, V, U + 3, [R + 3])
        if isinstance(self.geometry, ConeBeam):
            space.scatter_volume(x.movedim(1, -1).contiguous().numpy(), *tables, data.numpy())
            return data[:, :, 1:-2, 1:-2].transpose(-1, -2).contiguous()
        plane.scatter(x.contiguous().numpy(), *tables, data.numpy())
        return data[:, :, 1:-2].contiguous()


def _tables(geometry, view_weights: Tensor) -> tuple:
    """The kernels' arguments (last place, views), for a cone beam (last places, views, heights)."""
    views = view_table(geometry, view_weights.to("cpu", torch.float64).numpy())
    if not isinstance(geometry, ConeBeam):
        return geometry.num_cols + 1, views
    rate = geometry.source_detector_mm / geometry.source_origin_mm / geometry.row_pitch_mm
    first, step = geometry.volume.axis(0)[0], geometry.volume.voxel_mm[0]
    heights = np.array([(geometry.num_rows + 1) / 2, rate * first, rate * step])
    return (geometry.num_rows + 1, geometry.num_cols + 1), views, heights


def view_table(geometry, view_weights: np.ndarray) -> np.ndarray:
    """Coefficients (V, 8) of place and weight under pixel (j, i), in the order that `backproject_2d` states."""
    volume, t = geometry.volume, np.asarray(geometry.angles)
    x, dx, y, dy = volume.axis(-1)[0], volume.voxel_mm[-1], volume.axis(-2)[0], -volume.voxel_mm[-2]
    bend, rate = 0.0, 1 / geometry.pitch_mm
    if not isinstance(geometry, ParallelBeam):
        bend, rate = 1 / geometry.source_origin_mm, rate * geometry.source_detector_mm / geometry.source_origin_mm
    cos, sin = np.cos(t), np.sin(t)
    start = (geometry.num_cols + 1) / 2 - geometry.detector_offset_mm / geometry.pitch_mm
    lateral = rate * (x * cos + y * sin), rate * dx * cos, rate * dy * sin
    depth = 1 - bend * (x * sin - y * cos), -bend * dx * sin, bend * dy * cos
    return np.stack([np.full_like(t, start), *lateral, *depth, view_weights], -1)
