"""CPU engine: compiled loops over the ray tables, the batch in one call."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib.backends.plan import plan
from ctlib.errors import MissingDependency


class NumbaEngine:
    """Joseph's method on CPU tensors (float32 or float64); images (B, *shape), sinograms (B, rays)."""

    name = "numba"

    def __init__(self, geometry):
        try:
            from ctlib.backends import numba_kernels as kernels
        except ImportError as error:
            raise MissingDependency("numba", "the compiled CPU engine") from error
        flat = geometry.volume.ndim == 2
        self._forward, self._adjoint = (
            (kernels.forward_2d, kernels.adjoint_2d) if flat else (kernels.forward_3d, kernels.adjoint_3d)
        )
        self.groups, self.shape, self.num_rays = plan(geometry), geometry.volume.shape, geometry.num_rays

    def forward(self, x: Tensor) -> Tensor:
        sino = x.new_zeros(self.num_rays, x.shape[0])
        for g in self.groups:
            planes = x.movedim(0, -1).movedim(g.axis, 0)
            planes = pad(planes, (0, 0) + (1, 1) * (len(self.shape) - 1)).contiguous()
            self._forward(planes.numpy(), g.rays, g.start, g.slope, g.length, sino.numpy())
        return sino.T.contiguous()

    def adjoint(self, y: Tensor) -> Tensor:
        sino, image = y.T.contiguous(), y.new_zeros(y.shape[0], *self.shape)
        for g in self.groups:
            others = [n for i, n in enumerate(self.shape) if i != g.axis]
            planes = y.new_zeros(self.shape[g.axis], *(n + 2 for n in others), y.shape[0])
            self._adjoint(sino.numpy(), g.rays, g.start, g.slope, g.length, planes.numpy())
            inner = planes[(slice(None), *(slice(1, -1),) * len(others))]
            image += inner.movedim(0, g.axis).movedim(-1, 0)
        return image


def supports(x: Tensor) -> bool:
    """Whether this engine takes the tensor: on the CPU, float32 or float64."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
