"""A back-projector that is not the transpose, written out as a matrix, and what iterations make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from ctlib import contract
from ctlib.backends.tables.footprint import footprint
from ctlib.geometry import FanBeam, ParallelBeam, Volume
from ctlib.linop import FunctionOperator, LinearOperator
from ctlib.phantoms import shepp_logan
from ctlib.projector import Projector
from ctlib.recon import cgls, sirt
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


def residuals_of(solver: Callable, op: LinearOperator, y: Tensor, steps: int, **options) -> Tensor:
    """(steps,) relative residuals |A x - y| / |y| of a solver's iterates."""
    path = []
    solver(op, y, steps, callback=lambda k, x: path.append((op(x) - y).norm() / y.norm()), **options)
    return torch.stack(path)


@dataclass(frozen=True, eq=False)
class Divergence:
    """Relative errors of one solver with the exact adjoint and with another back-projector, on noise-free data.

    paths        {pair: (steps,)}
    pair         the inexact one
    eigenvalues  of its SIRT iteration;  predicted, measured  growth of the error per step, late
    """

    paths: Mapping[str, Tensor]
    pair: FunctionOperator
    eigenvalues: Tensor | None = None
    predicted: float = math.nan
    measured: float = math.nan


def sirt_with_nearest_cell(size: int, steps: int = 1200, relaxation: float = 1.9) -> Divergence:
    """SIRT on cells two pixels wide, with a back-projection that takes the nearest cell."""
    grid = Volume((contract.count("size", size, 8),) * 2, 1.0)
    A = Projector(ParallelBeam(grid, 60, math.ceil(0.75 * size), 2.0))
    pair, truth = nearest_pair(A), _head(grid)
    eigenvalues = sirt_eigenvalues(pair)
    ops = {"exact adjoint": A, "nearest cell": pair}
    paths = {k: errors_of(sirt, op, A(truth), truth, steps, relaxation=relaxation) for k, op in ops.items()}
    late = paths["nearest cell"][-steps // 3 - 1 :]
    measured = float(late[-1] / late[0]) ** (1 / (len(late) - 1))
    return Divergence(paths, pair, eigenvalues, growth(eigenvalues, relaxation), measured)


def cgls_with_interpolation(size: int, steps: int = 100) -> Divergence:
    """CGLS on cells half a pixel wide, with FBP's own back-projection."""
    grid = Volume((contract.count("size", size, 8),) * 2, 1.0)
    A = Projector(ParallelBeam(grid, 30, 3 * size, 0.5))
    pair, truth = interpolating_pair(A), _head(grid)
    ops = {"exact adjoint": A, "linear interpolation": pair}
    return Divergence({k: errors_of(cgls, op, A(truth), truth, steps) for k, op in ops.items()}, pair)


def _head(grid: Volume) -> Tensor:
    return shepp_logan(float(grid.shape[0]), mu_per_mm=1.0).raster(grid, dtype=torch.float64)
