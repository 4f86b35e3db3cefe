"""Tables and memory layout for the compiled back-projection.

The coefficients are those of `backends.tables.backprojection`, with one more cell before the first.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib.backends.cpu import backproject_2d as plane
from ctlib.backends.cpu import backproject_3d as space
from ctlib.backends.cpu.backproject_2d import MARGIN
from ctlib.backends.tables.backprojection import height_table, view_table
from ctlib.cpu.threads import share
from ctlib.geometry import ConeBeam


class CompiledBackprojection:
    """The interpolating back-projection of the CPU engine and its transpose; needs `self.geometry`."""

    def backproject(self, q: Tensor, view_weights: Tensor) -> Tensor:
        tables = _tables(self.geometry, view_weights)
        *_, num_y, num_x = self.geometry.volume.shape
        out = q.new_empty(q.shape[0], *self.geometry.volume.shape)
        if isinstance(self.geometry, ConeBeam):
            data = pad(q.transpose(-1, -2), (1, 1 + MARGIN, 1, 2)).contiguous()
            items = -(-num_y // space.TILE) * -(-num_x // space.TILE)
            share(space.gather_volume, items, data.numpy(), *tables, out.numpy())
        else:
            share(plane.gather, -(-num_y // plane.ROWS), pad(q, (1, 1 + MARGIN)).numpy(), *tables, out.numpy())
        return out

    def backproject_adjoint(self, x: Tensor, view_weights: Tensor) -> Tensor:
        tables = _tables(self.geometry, view_weights)
        views, *inner = self.geometry.sino_shape
        data = x.new_zeros(len(x), views, *(n + 3 for n in reversed(inner)))  # (B, V, U + 3, [R + 3])
        if isinstance(self.geometry, ConeBeam):
            share(space.scatter_volume, views, x.movedim(1, -1).contiguous().numpy(), *tables, data.numpy())
            return data[:, :, 1:-2, 1:-2].transpose(-1, -2).contiguous()
        share(plane.scatter, views, x.contiguous().numpy(), *tables, data.numpy())
        return data[:, :, 1:-2].contiguous()


def _tables(geometry, view_weights: Tensor) -> tuple:
    """The kernels' arguments (last place, views), for a cone beam (last places, views, heights)."""
    views = view_table(geometry, view_weights.to("cpu", torch.float64).numpy())
    views[:, 0] += 1  # the cell before the first
    if not isinstance(geometry, ConeBeam):
        return geometry.num_cols + 1, views
    heights = height_table(geometry)
    heights[0] += 1
    return (geometry.num_rows + 1, geometry.num_cols + 1), views, heights
