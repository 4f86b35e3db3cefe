"""Readable reference: the system matrix itself, stored as sparse rows."""

import warnings
from functools import lru_cache

import torch
from torch import Tensor

from ctlib.backends.plan import plan
from ctlib.backends.taps import taps


def sparse_rows(rows: Tensor, cols: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """CSR matrix from coordinates; torch's notes that CSR is beta and unchecked say nothing about our data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
        return torch.sparse_coo_tensor(torch.stack([rows, cols]), values, shape).coalesce().to_sparse_csr()


@lru_cache(maxsize=4)
def system_matrix(geometry) -> tuple[Tensor, Tensor]:
    """The X-ray transform and its transpose as float64 CSR matrices, (rays, voxels) and (voxels, rays)."""
    shape = geometry.volume.shape
    parts = [taps(group, slice(None), shape) for group in plan(geometry)]
    rows, cols, values = (torch.cat(p) for p in zip(*parts, strict=True))
    size = (geometry.num_rays, torch.Size(shape).numel())
    return sparse_rows(rows, cols, values, size), sparse_rows(cols, rows, values, size[::-1])


class MatrixEngine:
    """Products with a stored matrix and its transpose, on any device; images (B, *shape), sinograms (B, rays)."""

    name = "sparse"

    def __init__(self, geometry):
        self.matrices, self.shape = self.build(geometry), geometry.volume.shape
        self.cast = {}  # (dtype, device) -> the pair, converted once

    def build(self, geometry) -> tuple[Tensor, Tensor]:
        return system_matrix(geometry)

    def _pair(self, like: Tensor) -> tuple[Tensor, Tensor]:
        key = like.dtype, like.device
        if key not in self.cast:
            self.cast[key] = tuple(m.to(device=like.device, dtype=like.dtype) for m in self.matrices)
        return self.cast[key]

    def forward(self, x: Tensor) -> Tensor:
        return (self._pair(x)[0] @ x.flatten(1).T).T.contiguous()

    def adjoint(self, y: Tensor) -> Tensor:
        return (self._pair(y)[1] @ y.T).T.reshape(-1, *self.shape)
