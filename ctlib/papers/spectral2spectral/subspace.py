"""Spectra of a few materials span a few dimensions: coordinates in which the noise of every bin has unit variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.splitting import Prior


@dataclass(frozen=True, eq=False)
class MaterialSubspace:
    """Coordinates c = down x of spectra x (..., E, Y, X) and back, up c; up down is the weighted projection.

    down  (K, E);  up  (E, K);  down up = I
    """

    down: Tensor
    up: Tensor

    @classmethod
    def spanned_by(cls, matrix: Tensor, sigma: Tensor) -> MaterialSubspace:
        """The span of the columns of matrix (E, M), for noise of standard deviations sigma (E,), {eq}`s2s-subspace`.

        W^(1/2) Q = U S V^T,    down = U^T W^(1/2),    up = W^(-1/2) U,    W = diag(1 / sigma^2)

        White noise of the bins becomes white noise of unit variance; the projection is Gauss and Markov's.
        """
        matrix = contract.tensor("matrix", matrix, ("E", "M"))
        sigma = contract.alike("sigma", contract.tensor("sigma", sigma), "matrix", matrix)
        if not bool(matrix.isfinite().all()) or not matrix.numel():
            raise ArgumentError("matrix", f"shape {tuple(matrix.shape)} with values that are none", "finite numbers")
        if (
            not bool(sigma.isfinite().all())
            or matrix.ndim != 2
            or sigma.shape != (len(matrix),)
            or not bool((sigma > 0).all())
        ):
            raise ArgumentError("matrix, sigma", (tuple(matrix.shape), tuple(sigma.shape)), "(E, M), (E,) positive")
        if len(matrix) < matrix.shape[1]:
            raise ArgumentError("matrix", tuple(matrix.shape), "no more materials than bins")
        U = torch.linalg.svd((matrix / sigma[:, None]).double(), full_matrices=False).U
        return cls((U.T / sigma.double()).to(matrix), (sigma.double()[:, None] * U).to(matrix))

    def coordinates(self, x: Tensor) -> Tensor:
        """(..., E, Y, X) -> (..., K, Y, X)."""
        x = contract.tensor("x", x, (self.down.shape[1], "Y", "X"))
        return torch.einsum("ke,...eyx->...kyx", self.down.to(x), x)

    def spectra(self, c: Tensor) -> Tensor:
        """(..., K, Y, X) -> (..., E, Y, X)."""
        c = contract.tensor("c", c, (self.up.shape[1], "Y", "X"))
        return torch.einsum("ek,...kyx->...eyx", self.up.to(c), c)


def within(space: MaterialSubspace, prior: Prior) -> Prior:
    """The prior applied to the coordinates, whose noise has unit variance in all of them, and back."""
    return lambda x, outer: space.spectra(prior(space.coordinates(x), outer))
