"""Exact path lengths of rays through voxels, all rays at once: no sampling, so attenuation along them has no bias."""

import torch
from torch import Tensor

from ctlib.physics.scatter.media import Media

CHECK = 16  # voxels between two looks at which rays have left


def material_paths(media: Media, start: Tensor, direction: Tensor) -> Tensor:
    """Mass per area (M, n) [g/cm3 mm] along rays from start (n, 3) [mm] along unit directions to infinity.

    The rays walk from voxel wall to voxel wall, {cite}`amanatides1987`; multiply by attenuation per density.
    """
    near, far = media.crossing(start, direction)
    total = media.densities.new_zeros(len(media.densities), len(start))
    hit = torch.nonzero(far > near).flatten()
    if len(hit):
        total[:, hit] = _walk(media, start[hit], direction[hit], near[hit], far[hit])
    return total


def _walk(media: Media, start: Tensor, direction: Tensor, near: Tensor, far: Tensor) -> Tensor:
    flat, walls, pitches, strides = _first_walls(media, start, direction, near)
    total, at = media.densities.new_zeros(len(media.densities), len(start)), near
    left, most = torch.arange(len(start), device=start.device), sum(media.counts) + 3
    for k in range(most):
        to = torch.minimum(torch.minimum(walls[0], walls[1]), torch.minimum(walls[2], far))
        total[:, left] += media.densities[:, flat] * (to - at).clamp_min(0)
        for wall, pitch, stride in zip(walls, pitches, strides, strict=True):
            met = wall <= to
            wall += pitch * met
            flat += stride * met
        flat, at = flat.clamp_(0, media.densities.shape[1] - 1), torch.maximum(at, to)
        if k % CHECK == CHECK - 1:
            on = torch.nonzero(at < far).flatten()
            if not len(on):
                break
            left, flat, at, far = left[on], flat[on], at[on], far[on]
            walls, pitches, strides = ([t[on] for t in three] for three in (walls, pitches, strides))
    return total


def _first_walls(media: Media, start: Tensor, direction: Tensor, near: Tensor):
    """Voxels the rays begin in (n,); per axis: distance to its wall, distance between walls, step of the index."""
    low, size, flat, jump = media.low.tolist(), media.size.tolist(), 0, 1
    walls, pitches, strides = [], [], []
    for k, count in enumerate(media.counts):
        d, p = direction[:, k], start[:, k] - low[k]
        cell, forward = ((p + near * d) / size[k]).long().clamp(0, count - 1), d >= 0
        slope, sign = d.abs().clamp_min(1e-9), forward.long() * 2 - 1
        walls.append(sign * ((cell + forward.long()) * size[k] - p) / slope)
        pitches.append(size[k] / slope)
        strides.append(sign * jump)
        flat, jump = flat + cell * jump, jump * count
    return flat, walls, pitches, strides


def attenuation_along(media: Media, paths: Tensor, energy: Tensor) -> Tensor:
    """Optical depth (n,) of material paths (M, n) at energies (n,) [keV]."""
    return (media.sections.interpolate(media.sections.total, energy) * paths).sum(0)
