"""Interpolating (pixel-driven) back-projection: what filtered back-projection sums over.

It is not the transpose of the projector; chapter 1 shows what that does to an iteration. Its own exact transpose is
here too, so that its gradient needs no graph through the views. Compiled on a CPU where numba is installed; the loops
over the views below say the same in torch, and serve every other device.
"""

import itertools
import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib import backends
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam


def backproject(q: Tensor, geometry: ParallelBeam | FanBeam | ConeBeam, view_weights: Tensor) -> Tensor:
    """Sum over views of the projection value under each voxel, linear between cells, zero beyond the detector.

        b(r) = sum_v view_weights_v c_v(r) q_v(u_v(r))
        parallel: u = r . e, c = 1;     fan: u = SD (r . e) / L, c = (SO / L)^2, L = SO - r . d
        cone: as fan, and bilinear with the height SD z / L along the detector's rows

    q             (..., V, U), or (..., V, R, U) for a cone beam
    view_weights  (V,) [rad]
    e, d          detector axis (cos t, sin t) and direction from the axis to the source (sin t, -cos t), y up

    Returns (..., Y, X) or (..., Z, Y, X). Differentiable any number of times: {cite}`kak2001`, sections 3.3 to 3.6.
    """
    ndim = len(geometry.sino_shape)
    flat = q.reshape(-1, *q.shape[-ndim:])
    return _Gather.apply(flat, geometry, view_weights).reshape(*q.shape[:-ndim], *geometry.volume.shape)


def footprint(geometry: ParallelBeam | FanBeam | ConeBeam, view: int, like: Tensor) -> tuple[Tensor, Tensor | float]:
    """Fractional column under every pixel (Y, X), column 0 at its centre, and SO / L (1 for parallel rays)."""
    y, x = (torch.as_tensor(geometry.volume.axis(i), dtype=like.dtype, device=like.device) for i in (-2, -1))
    angle = float(geometry.angles[view])
    cos, sin = math.cos(angle), math.sin(angle)
    lateral, near = x * cos + y[:, None] * sin, 1.0
    if not isinstance(geometry, ParallelBeam):
        near = geometry.source_origin_mm / (geometry.source_origin_mm - x * sin + y[:, None] * cos)  # SO / L
        lateral = lateral * near * (geometry.source_detector_mm / geometry.source_origin_mm)
    return (lateral - geometry.detector_offset_mm) / geometry.pitch_mm + (geometry.num_cols - 1) / 2, near


def row_footprint(geometry: ConeBeam, near: Tensor) -> Tensor:
    """Fractional detector row under every voxel (Z, Y, X) of a cone beam; near = SO / L, (Y, X)."""
    z = torch.as_tensor(geometry.volume.axis(0), dtype=near.dtype, device=near.device)
    height = z[:, None, None] * near * (geometry.source_detector_mm / geometry.source_origin_mm)
    return height / geometry.row_pitch_mm + (geometry.num_rows - 1) / 2


class _Gather(torch.autograd.Function):
    """(B, V, [R,] U) -> (B, [Z,] Y, X)."""

    @staticmethod
    def forward(ctx, q, geometry, view_weights):
        ctx.geometry, ctx.view_weights = geometry, view_weights
        return _engine(q).gather(q, geometry, view_weights)

    @staticmethod
    def backward(ctx, grad):
        return _Scatter.apply(grad, ctx.geometry, ctx.view_weights), None, None


class _Scatter(torch.autograd.Function):
    """The exact transpose of `_Gather`."""

    @staticmethod
    def forward(ctx, x, geometry, view_weights):
        ctx.geometry, ctx.view_weights = geometry, view_weights
        return _engine(x).scatter(x, geometry, view_weights)

    @staticmethod
    def backward(ctx, grad):
        return _Gather.apply(grad, ctx.geometry, ctx.view_weights), None, None


def _engine(t: Tensor):
    """What runs `gather` and `scatter` for this tensor: the compiled loops, or those below."""
    if backends.resolve("auto", t.device.type) == "numba" and t.dtype in (torch.float32, torch.float64):
        from ctlib.backends.cpu import backprojection as backproject_compiled

        return backproject_compiled
    return _TorchLoops


class _TorchLoops:
    """A loop over the views on any device; the data with a border of zeros, each view flat."""

    @staticmethod
    def gather(q: Tensor, geometry, view_weights: Tensor) -> Tensor:
        padded = pad(q, (1, 1) * (q.ndim - 2)).flatten(2)
        out = q.new_zeros(q.shape[0], math.prod(geometry.volume.shape))
        for v, scale in enumerate(view_weights.tolist()):
            for cell, weight in _corners(geometry, v, q):
                out += scale * weight * padded[:, v].index_select(1, cell)
        return out.unflatten(1, geometry.volume.shape)

    @staticmethod
    def scatter(x: Tensor, geometry, view_weights: Tensor) -> Tensor:
        shape = [n + 2 for n in geometry.sino_shape[1:]]
        padded = x.new_zeros(x.shape[0], len(view_weights), math.prod(shape))
        for v, scale in enumerate(view_weights.tolist()):
            for cell, weight in _corners(geometry, v, x):
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
