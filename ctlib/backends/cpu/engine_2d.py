"""CPU engines: compiled loops over the ray tables, the batch in one call."""

import numba
import numpy as np
import torch
from torch import Tensor

from ctlib.backends.cpu import joseph_2d as numba_2d
from ctlib.backends.cpu.backprojection import CompiledBackprojection
from ctlib.backends.cpu.simd_features import has_avx512
from ctlib.backends.tables.runs import LANES, REACH, TILE, Runs, runs

FORWARD = {4: numba_2d.forward_4, 1: numba_2d.forward_1}
ADJOINT = {4: numba_2d.adjoint_4, 1: numba_2d.adjoint_1}
if has_avx512():  # registers for eight images, which pay for the adjoint's dearer weights; A is slower with them
    ADJOINT = {8: numba_2d.adjoint_8} | ADJOINT


def groups(batch: int, sizes=(4, 1)):
    """(images per group, slice of the batch): as many of the largest size as fit, then of the next; the last is 1."""
    start = 0
    for size in sizes:
        stop = batch - (batch - start) % size
        if stop > start:
            yield size, slice(start, stop)
        start = stop


def whole_groups(t: Tensor) -> Tensor:
    """The batch, or with one image of zeros more where a group of four is then complete: three ones cost more."""
    return torch.cat([t, torch.zeros_like(t[:1])]) if len(t) % 4 == 3 else t


class Numba2D(CompiledBackprojection):
    """Joseph's method on CPU tensors (float32 or float64); images (B, Y, X), sinograms (B, rays)."""

    def __init__(self, geometry):
        self.geometry, self.shape, self.num_rays = geometry, geometry.volume.shape, geometry.num_rays
        self.tables = {}  # dtype -> tables of each main axis in that type

    def _tables(self, dtype):
        if dtype not in self.tables:
            real = torch.empty(0, dtype=dtype).numpy().dtype
            self.tables[dtype] = [_Tables(r, real) for r in runs(self.geometry)]
        return self.tables[dtype]

    def forward(self, x: Tensor) -> Tensor:
        batch, x = len(x), whole_groups(x)
        sino = x.new_zeros(len(x), self.num_rays)
        for t in self._tables(x.dtype):
            for images, part in groups(len(x), FORWARD):
                t.forward(x[part], images, sino[part].numpy())
        return sino[:batch]

    def adjoint(self, y: Tensor) -> Tensor:
        batch, y = len(y), whole_groups(y).contiguous()
        image = y.new_zeros(len(y), *self.shape)
        for t in self._tables(y.dtype):
            for images, part in groups(len(y), ADJOINT):
                t.add_adjoint(y[part].numpy(), images, image[part])
        return image[:batch]


class _Tables:
    """The runs of one main axis in one precision, and the two products for one group size."""

    def __init__(self, r: Runs, real):
        self.axis, self.num, self.size, self.slack = r.axis, r.num, r.size, r.slack
        start, slope, length, inverse = (t.astype(real) for t in (r.start, r.slope, r.length, r.inverse))
        self.rays, self.length = r.rays, length
        self.forward_tables = (r.rays, start, slope, length, r.span, r.close)
        self.adjoint_tables = (start, slope, r.first, r.count, inverse, r.taps, r.near)
        self.reach = -(-int(r.taps.max()) // LANES) * LANES + REACH  # zeros behind the last ray
        self.width = -(-int(r.count.max()) // LANES) * LANES + self.reach

    def forward(self, x: Tensor, images: int, sino: np.ndarray) -> None:
        """sino (B, rays) of these rays; B a multiple of `images`."""
        grouped = x.reshape(-1, images, *x.shape[1:]).movedim(2 + self.axis, 1)  # (groups, planes, images, pixels)
        packed = x.new_zeros(len(grouped), self.num, images, -(-(self.size + 2 + REACH) // LANES) * LANES)
        packed[..., 1 : self.size + 1] = grouped
        grid = (len(grouped), self.num, self.size)
        parts = 4 * numba.get_num_threads()
        FORWARD[images](packed.view(-1).numpy(), packed.shape[-1], grid, self.forward_tables, parts, sino)

    def add_adjoint(self, y: np.ndarray, images: int, out: Tensor) -> None:
        """out (B, Y, X) += the adjoint of these rays; B a multiple of `images`."""
        stride, pixels, count = self.rays.size + self.reach, -(-self.size // LANES) * LANES, len(y) // images
        packed = np.empty(len(y) * stride, y.dtype)
        numba_2d.pack_sinogram(y, self.rays, self.length, stride, packed)
        planes = out.new_zeros(count, self.num, images, pixels)
        grid = (pixels, self.num, self.size, self.width, self.reach, self.slack)
        items = count * -(-self.num // TILE)
        ADJOINT[images](packed, stride, grid, self.adjoint_tables, TILE, items, planes.view(-1).numpy())
        out.view(count, images, *out.shape[1:]).add_(planes[..., : self.size].movedim(1, 2 + self.axis))
