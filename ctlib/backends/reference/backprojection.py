"""Readable reference of the interpolating back-projection, on any device: what engines without their own inherit."""

import itertools
import math

from torch import Tensor
from torch.nn.functional import pad

from ctlib.backends.tables.footprint import footprint, row_footprint
from ctlib.geometry import ConeBeam


class TorchBackprojection:
    """A loop over the views; the data with a border of zeros, each view flat. Needs `self.geometry`."""

    def backproject(self, q: Tensor, view_weights: Tensor) -> Tensor:
        padded, shape = pad(q, (1, 1) * (q.ndim - 2)).flatten(2), self.geometry.volume.shape
        out = q.new_zeros(q.shape[0], math.prod(shape))
        for v, scale in enumerate(view_weights.tolist()):
            for cell, weight in _corners(self.geometry, v, q):
                out += scale * weight * padded[:, v].index_select(1, cell)
        return out.unflatten(1, shape)

    def backproject_adjoint(self, x: Tensor, view_weights: Tensor) -> Tensor:
        shape = [n + 2 for n in self.geometry.sino_shape[1:]]
        padded = x.new_zeros(x.shape[0], len(view_weights), math.prod(shape))
        for v, scale in enumerate(view_weights.tolist()):
            for cell, weight in _corners(self.geometry, v, x):
                padded[:, v].index_add_(1, cell, scale * weight * x.flatten(1))
        return padded.unflatten(2, shape)[(..., *(slice(1, -1),) * len(shape))].contiguous()


def _corners(geometry, view: int, like: Tensor):
    """(cell, weight) of the 2 or 4 detector cells around every voxel's projection, flat, in the padded detector."""
    bins, near = footprint(geometry, view, like)
    places = (row_footprint(geometry, near), bins) if isinstance(geometry, ConeBeam) else (bins,)
    sizes = geometry.sino_shape[1:]
    places = [(p + 1).clamp(0, n + 1) for p, n in zip(places, sizes, strict=True)]
    lower = [p.floor().clamp_max(n) for p, n in zip(places, sizes, strict=True)]
    for corner in itertools.product((0, 1), repeat=len(sizes)):
        cell, weight = 0, near**2
        for up, place, low, n in zip(corner, places, lower, sizes, strict=True):
            cell = cell * (n + 2) + low.long() + up
            weight = weight * ((place - low) if up else 1 - (place - low))
        yield cell.flatten(), weight.flatten()
