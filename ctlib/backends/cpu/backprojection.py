"""Tables and memory layout for the compiled back-projection; what `backproject` runs on a CPU where numba is installed.

The places of `footprint` and `row_footprint` are ratios of two functions that are linear in the voxel's indices; the
tables hold their coefficients, with one more cell before the first.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib.geometry import ConeBeam, ParallelBeam


def gather(q: Tensor, geometry, view_weights: Tensor) -> Tensor:
    """Back-project (B, V, U) to (B, Y, X), or (B, V, R, U) to (B, Z, Y, X)."""
    out = q.new_empty(q.shape[0], *geometry.volume.shape)
    if isinstance(geometry, ConeBeam):
        from ctlib.backends.cpu.backproject_3d import MARGIN, gather_volume

        data = pad(q.transpose(-1, -2), (1, 1 + MARGIN, 1, 2)).contiguous()
        gather_volume(data.numpy(), *_tables(geometry, view_weights), out.numpy())
    else:
        from ctlib.backends.cpu.backproject_2d import MARGIN, gather

        gather(pad(q, (1, 1 + MARGIN)).numpy(), *_tables(geometry, view_weights), out.numpy())
    return out


def scatter(x: Tensor, geometry, view_weights: Tensor) -> Tensor:
    """The exact transpose of `gather`."""
    inner, views = [n + 3 for n in geometry.sino_shape[:0:-1]], len(view_weights)
    data = x.new_zeros(x.shape[0], views, *inner)  # (B, V, U + 3, [R + 3])
    if isinstance(geometry, ConeBeam):
        from ctlib.backends.cpu.backproject_3d import scatter_volume

        columns = x.detach().movedim(1, -1).contiguous()
        scatter_volume(columns.numpy(), *_tables(geometry, view_weights), data.numpy())
        return data[:, :, 1:-2, 1:-2].transpose(-1, -2).contiguous()
    from ctlib.backends.cpu.backproject_2d import scatter

    scatter(x.detach().contiguous().numpy(), *_tables(geometry, view_weights), data.numpy())
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
    """Coefficients (V, 8) of place and weight under pixel (j, i), in the order that `backproject_kernels` states."""
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
