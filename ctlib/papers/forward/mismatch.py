"""A back-projector that is not the transpose, written out as a matrix, and what iterations make of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib import contract
from ctlib.backends.tables.footprint import footprint
from ctlib.geometry import FanBeam, ParallelBeam
from ctlib.linop import FunctionOperator, LinearOperator
from ctlib.projector import Projector
from ctlib.recon.backproject import backproject
from ctlib.recon.sirt import sirt_scaling


def nearest_back_projection(y: Tensor, geometry: ParallelBeam | FanBeam) -> Tensor:
    """Every pixel takes, in every view, the value of the cell nearest to it: (..., V, U) -> (..., Y, X)."""
    y, x = contract.tensor("y", y, geometry.sino_shape), 0
    padded = pad(y, (1, 1))
    for v in range(geometry.num_views):
        cell = footprint(geometry, v, y)[0].round().long().clamp(-1, geometry.num_cols) + 1
        x = x + padded[..., v, :][..., cell]
    return x * math.prod(geometry.volume.voxel_mm) / geometry.pitch_mm


def unit_images(shape: tuple[int, ...]) -> Tensor:
    """All images with a single one in them, (N, *shape) float64."""
    return torch.eye(math.prod(contract.shape("shape", shape)), dtype=torch.float64).reshape(-1, *shape)


def nearest_pair(A: Projector) -> FunctionOperator:
    """A with the nearest-cell back-projection in the place of its transpose, both written out as matrices."""
    forward = A(unit_images(A.domain_shape)).flatten(1).T
    backward = nearest_back_projection(unit_images(A.range_shape), A.geometry).flatten(1).T
    return FunctionOperator(
        lambda x: (x.flatten(-2) @ forward.T).unflatten(-1, A.range_shape),
        lambda y: (y.flatten(-2) @ backward.T).unflatten(-1, A.domain_shape),
        A.domain_shape,
        A.range_shape,
    )


def interpolating_pair(A: Projector) -> FunctionOperator:
    """A with the back-projection of FBP, which interpolates linearly between cells, as its adjoint."""
    shares = torch.full((A.geometry.num_views,), 1 / A.geometry.pitch_mm, dtype=torch.float64)
    shares = shares * math.prod(A.volume.voxel_mm)
    return FunctionOperator(A, lambda y: backproject(y, A.geometry, shares), A.domain_shape, A.range_shape)


def sirt_eigenvalues(op: LinearOperator) -> Tensor:
    """Eigenvalues of C B R A, {eq}`fm-unmatched`, of a pair written out; complex where B is not the transpose."""
    pixels = unit_images(op.domain_shape)
    R, C = sirt_scaling(op, pixels)
    return torch.linalg.eigvals((C * op.T(R * op(pixels))).flatten(1))


def growth(eigenvalues: Tensor, relaxation: float) -> float:
    """Factor per step of the component of the error that grows most, max |1 - relaxation lambda|."""
    return float((1 - contract.number("relaxation", relaxation, above=0) * eigenvalues).abs().max())


def errors_of(solver: Callable, op: LinearOperator, y: Tensor, truth: Tensor, steps: int, **options) -> Tensor:
    """(steps, ...) relative errors of a solver's iterates against the truth, one for every image of the batch."""
    path = []
    solver(
        op, y, steps, callback=lambda k, x: path.append((x - truth).flatten(-2).norm(dim=-1) / truth.norm()), **options
    )
    return torch.stack(path)
