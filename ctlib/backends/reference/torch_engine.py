"""Readable reference for any device: gather for the forward, add at the same places for the adjoint."""

import torch
from torch import Tensor

from ctlib.backends.reference.backprojection import TorchBackprojection
from ctlib.backends.tables.plan import plan
from ctlib.backends.tables.taps import taps

CHUNK = 1 << 22  # interpolation points held at once


class TorchEngine(TorchBackprojection):
    """Joseph's method in plain torch; images (B, *shape), sinograms (B, rays).

    axes  main axes whose rays are followed: the fast engines leave the steep rays of a cone to this one
    """

    def __init__(self, geometry, axes: tuple[int, ...] = (0, 1, 2)):
        self.geometry, self.axes = geometry, axes
        self.shape, self.num_rays = geometry.volume.shape, geometry.num_rays

    def _chunks(self, like: Tensor):
        for group in (g for g in plan(self.geometry) if g.axis in self.axes):
            step = max(1, CHUNK // (self.shape[group.axis] * 2 ** (len(self.shape) - 1)))
            for first in range(0, group.rays.size, step):
                ray, voxel, weight = taps(group, slice(first, first + step), self.shape, like.device)
                yield ray, voxel, weight.to(like.dtype)

    def forward(self, x: Tensor) -> Tensor:
        flat, sino = x.flatten(1), x.new_zeros(x.shape[0], self.num_rays)
        for ray, voxel, weight in self._chunks(x):
            sino.index_add_(1, ray, flat[:, voxel] * weight)
        return sino

    def adjoint(self, y: Tensor) -> Tensor:
        image = y.new_zeros(y.shape[0], torch.Size(self.shape).numel())
        for ray, voxel, weight in self._chunks(y):
            image.index_add_(1, voxel, y[:, ray] * weight)
        return image.reshape(-1, *self.shape)
