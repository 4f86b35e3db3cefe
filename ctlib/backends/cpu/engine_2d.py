"""CPU engines: compiled loops over the ray tables, the batch in one call."""

import numpy as np
import torch
from torch import Tensor

from ctlib.backends.cpu import joseph_2d as numba_2d
from ctlib.backends.cpu import packing_2d as packing
from ctlib.backends.cpu.backprojection import CompiledBackprojection
from ctlib.backends.cpu.simd_features import has_avx512
from ctlib.backends.cpu.tables_2d import adjoint_tables, forward_tables
from ctlib.backends.tables.runs import APART, LANES, REACH, TILE, Runs, runs
from ctlib.cpu.threads import num_threads, share

FORWARD = {4: numba_2d.forward_4, 1: numba_2d.forward_1}
ADJOINT = {4: numba_2d.adjoint_4, 1: numba_2d.adjoint_1}
if has_avx512():  # registers for eight images, which pay for the adjoint's dearer weights; A is slower with them
    ADJOINT = {8: numba_2d.adjoint_8} | ADJOINT

PARTS = 16  # items a thread has of A for one group of images


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
            apart = runs(self.geometry, APART)
            read = apart if all((r.every == 1).all() for r in apart) else runs(self.geometry)
            self.tables[dtype] = [_Tables(*both, real) for both in zip(read, apart, strict=True)]
        return self.tables[dtype]

    def forward(self, x: Tensor) -> Tensor:
        batch, x = len(x), whole_groups(x).contiguous()
        sino = x.new_empty(len(x), self.num_rays)
        for t in self._tables(x.dtype):
            for images, part in groups(len(x), FORWARD):
                t.forward(x[part].numpy(), images, sino[part].numpy())
        return sino[:batch]

    def adjoint(self, y: Tensor) -> Tensor:
        batch, y = len(y), whole_groups(y).contiguous()
        image = y.new_empty(len(y), *self.shape)
        for k, t in enumerate(self._tables(y.dtype)):
            for images, part in groups(len(y), ADJOINT):
                t.adjoint(y[part].numpy(), images, image[part].numpy(), add=k > 0)
        return image[:batch]


class _Tables:
    """The runs of one main axis in one precision, those of A and those of A.T, and both products for one group size."""

    def __init__(self, read: Runs, r: Runs, real):
        self.axis, self.num, self.size, self.rays, self.length = r.axis, r.num, r.size, r.rays, r.length.astype(real)
        self.forward_tables = forward_tables(read, real)
        self.adjoint_tables, self.kinds = adjoint_tables(r, read, real)

    def forward(self, x: np.ndarray, images: int, sino: np.ndarray) -> None:
        """Write these rays of sino (B, rays); B a multiple of `images`."""
        count, pixels = len(x) // images, _whole(self.size + 2 + REACH)
        packed = np.empty((count, self.num, images, pixels), x.dtype)
        share(packing.pack_images, count * -(-self.num // packing.PLANES), x, self.axis, packed)
        parts = PARTS * num_threads()
        args = packed.reshape(-1), pixels, (self.num, self.size), self.forward_tables, parts, sino
        share(FORWARD[images], count * parts, *args)

    def adjoint(self, y: np.ndarray, images: int, out: np.ndarray, add: bool) -> None:
        """out (B, Y, X) = the adjoint of these rays, or += with `add`; B a multiple of `images`."""
        stride, tiles = self.rays.size + REACH, -(-self.num // TILE)
        packed = np.empty(len(y) * stride, y.dtype)
        items = len(y) * -(-stride // packing.RAYS)
        share(packing.pack_sinogram, items, y, self.rays, self.length, stride, packed)
        args = packed, stride, _whole(self.size, numba_2d.PIXELS), self.adjoint_tables, self.kinds, self.axis, add, out
        share(ADJOINT[images], len(y) // images * tiles, *args)


def _whole(pixels: int, width: int = LANES) -> int:
    """Up to a multiple of the width."""
    return -(-pixels // width) * width
