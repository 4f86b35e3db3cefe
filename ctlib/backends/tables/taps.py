"""Joseph's interpolation points of some rays as flat indices and weights: what the two reference engines share."""

import itertools

import torch
from torch import Tensor

from ctlib.backends.tables.plan import RayGroup


def taps(group: RayGroup, rays: slice, shape: tuple[int, ...], device="cpu") -> tuple[Tensor, Tensor, Tensor]:
    """(ray, voxel, weight) of every interpolation point of rays[...] inside the grid, flattened.

    ray     position in the flattened sinogram, int64
    voxel   position in the flattened image, int64
    weight  path length times the interpolation weight [mm], float64
    """
    start, slope, length, number = (
        torch.from_numpy(t[rays]).to(device) for t in (group.start, group.slope, group.length, group.rays)
    )
    others = [i for i in range(len(shape)) if i != group.axis]
    stride = [torch.Size(shape[i + 1 :]).numel() for i in range(len(shape))]
    q = torch.arange(shape[group.axis], device=device)
    index = start[:, None, :] + slope[:, None, :] * q[:, None]  # (n, Q, d-1)
    low = index.floor()
    fraction, low = index - low, low.long()
    out = []
    for corner in itertools.product((0, 1), repeat=len(others)):
        voxel, weight = (q * stride[group.axis]).expand(index.shape[:2]), length[:, None].expand(index.shape[:2])
        inside = torch.ones_like(voxel, dtype=torch.bool)
        for k, (axis, up) in enumerate(zip(others, corner, strict=True)):
            i = low[..., k] + up
            inside = inside & (i >= 0) & (i < shape[axis])
            voxel = voxel + i * stride[axis]
            weight = weight * (fraction[..., k] if up else 1 - fraction[..., k])
        out.append((number[:, None].expand_as(voxel)[inside], voxel[inside], weight[inside]))
    return tuple(torch.cat(part) for part in zip(*out, strict=True))
