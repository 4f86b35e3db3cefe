"""Interpolating (pixel-driven) back-projection: what filtered back-projection sums over.

It is not the transpose of the projector; chapter 1 shows what that does to an iteration. Its own exact transpose is
here too, so that its gradient needs no graph through the views.
"""

import math

import torch
from torch import Tensor

from ctlib.geometry import FanBeam, ParallelBeam


def backproject(q: Tensor, geometry: ParallelBeam | FanBeam, view_weights: Tensor) -> Tensor:
    """Sum over views of the projection value under each pixel, linear between bins, zero beyond the detector.

        b(r) = sum_v view_weights_v c_v(r) q_v(u_v(r))
        parallel: u = r . e, c = 1;     fan: u = SD (r . e) / L, c = (SO / L)^2, L = SO - r . d

    q             (..., V, U)
    view_weights  (V,) [rad]
    e, d          detector axis (cos t, sin t) and direction from the axis to the source (sin t, -cos t), y up

    Returns (..., Y, X). Differentiable any number of times: {cite}`kak2001`, sections 3.3 and 3.4.
    """
    flat = q.reshape(-1, *q.shape[-2:])
    return _Gather.apply(flat, geometry, view_weights).reshape(*q.shape[:-2], *geometry.volume.shape)


def footprint(geometry: ParallelBeam | FanBeam, view: int, like: Tensor) -> tuple[Tensor, Tensor | float]:
    """Fractional bin under every pixel (Y, X), bin 0 at its centre, and the distance weight (SO / L)^2 of a fan."""
    y, x = (torch.as_tensor(geometry.volume.axis(i), dtype=like.dtype, device=like.device) for i in (0, 1))
    angle = float(geometry.angles[view])
    cos, sin = math.cos(angle), math.sin(angle)
    lateral, weight = x * cos + y[:, None] * sin, 1.0
    if isinstance(geometry, FanBeam):
        inverse = geometry.source_origin_mm / (geometry.source_origin_mm - x * sin + y[:, None] * cos)  # SO / L
        lateral = lateral * inverse * (geometry.source_detector_mm / geometry.source_origin_mm)
        weight = inverse**2
    return (lateral - geometry.detector_offset_mm) / geometry.pitch_mm + (geometry.num_cols - 1) / 2, weight


def _taps(geometry, view: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor | float]:
    """Lower bin and fraction per pixel, flat, in a row padded by one zero bin at either end; and the pixel weight."""
    bins, weight = footprint(geometry, view, like)
    bins = (bins + 1).clamp(0, geometry.num_cols + 1)
    lower = bins.floor().clamp_max(geometry.num_cols)
    return lower.to(torch.int32).flatten(), (bins - lower).flatten(), weight


class _Gather(torch.autograd.Function):
    """(B, V, U) -> (B, Y, X)."""

    @staticmethod
    def forward(ctx, q, geometry, view_weights):
        ctx.geometry, ctx.view_weights = geometry, view_weights
        padded = torch.nn.functional.pad(q, (1, 1))
        out = q.new_zeros(q.shape[0], math.prod(geometry.volume.shape))
        for v, scale in enumerate(view_weights.tolist()):
            lower, fraction, weight = _taps(geometry, v, q)
            a, b = padded[:, v].index_select(1, lower), padded[:, v].index_select(1, lower + 1)
            value = torch.lerp(a, b, fraction.expand_as(a)).unflatten(1, geometry.volume.shape)
            out += (scale * weight * value).flatten(1)
        return out.unflatten(1, geometry.volume.shape)

    @staticmethod
    def backward(ctx, grad):
        return _Scatter.apply(grad.contiguous(), ctx.geometry, ctx.view_weights), None, None


class _Scatter(torch.autograd.Function):
    """The exact transpose of `_Gather`: (B, Y, X) -> (B, V, U)."""

    @staticmethod
    def forward(ctx, x, geometry, view_weights):
        ctx.geometry, ctx.view_weights = geometry, view_weights
        padded = x.new_zeros(x.shape[0], len(view_weights), geometry.num_cols + 2)
        for v, scale in enumerate(view_weights.tolist()):
            lower, fraction, weight = _taps(geometry, v, x)
            value = (scale * weight * x).flatten(1)
            padded[:, v].index_add_(1, lower, (1 - fraction) * value)
            padded[:, v].index_add_(1, lower + 1, fraction * value)
        return padded[..., 1:-1].clone()

    @staticmethod
    def backward(ctx, grad):
        return _Gather.apply(grad.contiguous(), ctx.geometry, ctx.view_weights), None, None
