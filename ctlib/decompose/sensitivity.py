"""What the likelihood says about a decomposition: derivatives, the Cramer-Rao bound, where the model folds."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose import engine
from ctlib.decompose.mle import posed
from ctlib.errors import ArgumentError
from ctlib.physics.model import SpectralModel


def counts_jacobian(
    model: SpectralModel, counts: Tensor, paths: Tensor, box=((-5, 35), (-5, 10)), thresholds_kev=None
) -> Tensor:
    """dA/dcounts (..., M, E) [g/cm2 per count] of the solution `paths` (..., M) for `counts` (..., E), {eq}`pcct-ift`.

    H^-1 J^T diag(1 / lambda) on the components that the box leaves free, 0 on the others; NaN for readings that are.
    """
    with torch.no_grad():
        problem = posed(model, counts, box, 1, thresholds_kev)
        contract.alike("paths", contract.tensor("paths", paths, (model.num_materials,)), "counts", counts)
        if paths.shape[:-1] != counts.shape[:-1]:
            raise ArgumentError("paths", f"shape {tuple(paths.shape)}", f"leading axes {tuple(counts.shape[:-1])}")
        units = torch.eye(model.num_materials).to(paths)
        rows = [engine.vjp(problem, paths, unit.expand_as(paths), (True, False))[0] for unit in units]
        known = (counts.isfinite().all(-1) & paths.isfinite().all(-1))[..., None, None]
        return torch.where(known, torch.stack(rows, -2) / model.photons_as(counts)[..., None, None], torch.nan)


def fisher_information(model: SpectralModel, paths: Tensor, thresholds_kev=None) -> Tensor:
    """F_kl = sum_i J_ik J_il / lambda_i (..., M, M) of Poisson counts at path lengths (..., M)."""
    expected, jacobian, _ = model.derivatives(paths, thresholds_kev)
    return jacobian.mT @ (jacobian / expected[..., None])


def cramer_rao(model: SpectralModel, paths: Tensor, thresholds_kev=None) -> Tensor:
    """Least covariance (..., M, M) [g/cm2 squared] of any unbiased estimate of the path lengths: F^-1."""
    return torch.linalg.inv(fisher_information(model, paths, thresholds_kev))


def jacobian_determinant(model: SpectralModel, paths: Tensor, thresholds_kev=None) -> Tensor:
    """det of d log lambda / dA (...), for as many bins as materials: its sign changes where the model folds."""
    if model.num_bins != model.num_materials:
        raise ArgumentError("model", f"{model.num_bins} bins", f"as many bins as materials, {model.num_materials}")
    expected, jacobian, _ = model.derivatives(paths, thresholds_kev)
    return torch.linalg.det(jacobian / expected[..., None])
