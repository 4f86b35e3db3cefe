"""Readable reference: the system matrix itself, stored as sparse rows."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from ctlib.backends.reference.backprojection import TorchBackprojection
from ctlib.backends.tables.plan import plan
from ctlib.backends.tables.taps import taps


def sparse_rows(rows: Tensor, cols: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """CSR matrix from coordinates; torch's notes that CSR is beta and unchecked say nothing about our data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_coo_tensor(torch.stack([rows, cols]), values, shape).coalesce().to_sparse_csr()


@lru_cache(maxsize=4)
def system_entries(geometry) -> tuple[Tensor, Tensor, Tensor]:
    """(ray, voxel, weight) of every nonzero entry of the X-ray transform, float64; equal places add."""
    parts = [taps(group, slice(None), geometry.volume.shape) for group in plan(geometry)]
    return tuple(torch.cat(p) for p in zip(*parts, strict=True))


class MatrixEngine(TorchBackprojection):
    """Products with a stored matrix and its transpose, on any device; images (B, *shape), sinograms (B, rays)."""

    entries = staticmethod(system_entries)  # what the matrix of a geometry holds

    def __init__(self, geometry):
        self.geometry, self.shape = geometry, geometry.volume.shape
        self.size = (geometry.num_rays, torch.Size(self.shape).numel())
        self.stored = {}  # (transposed, dtype, device) -> matrix, made when first needed

    def _matrix(self, like: Tensor, transposed: bool) -> Tensor:
        key = transposed, like.dtype, like.device
        if key not in self.stored:
            rays, voxels, weights = self.entries(self.geometry)
            order = (voxels, rays) if transposed else (rays, voxels)
            matrix = sparse_rows(*order, weights, self.size[::-1] if transposed else self.size)
            self.stored[key] = matrix.to(device=like.device, dtype=like.dtype)
        return self.stored[key]

    def forward(self, x: Tensor) -> Tensor:
        return (self._matrix(x, False) @ x.flatten(1).T).T.contiguous()

    def adjoint(self, y: Tensor) -> Tensor:
        return (self._matrix(y, True) @ y.T).T.reshape(-1, *self.shape)
