"""Decomposition of reconstructed bin images by least squares."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.model import SpectralModel


def effective_attenuation(model: SpectralModel) -> Tensor:
    """Mean mass attenuation (E, M) [cm2/g] of the photons that each bin counts without an object, float64."""
    spectra = model.bin_spectra()
    return (spectra / spectra.sum(-2, keepdim=True)).mT @ model.attenuation.to(spectra)


def decompose_images(images: Tensor, matrix: Tensor, weights: Tensor | None = None) -> Tensor:
    """Densities (..., M, Y, X) [g/cm3] of bin images (..., E, Y, X) [1/mm], {cite}`alvarez1976`.

        a = argmin sum_i w_i (mu_i - sum_k Q_ik a_k / 10)^2 = (Q^T W Q)^-1 Q^T W 10 mu

    matrix   Q (E, M) mass attenuation of the materials in the bins [cm2/g], such as `effective_attenuation`
    weights  w (E,), such as the inverse variances of the bins; all alike by default
    """
    matrix = contract.tensor("matrix", matrix, ("E", "M"))
    contract.tensor("images", images, (len(matrix), "Y", "X"))
    if matrix.ndim != 2 or len(matrix) < matrix.shape[1] or contract.somewhere(~matrix.isfinite()):
        raise ArgumentError("matrix", f"shape {tuple(matrix.shape)}", "(E, M) of finite numbers, E >= M")
    if weights is not None:
        contract.tensor("weights", weights, (len(matrix),))
        if weights.ndim != 1 or contract.somewhere(~((weights > 0) & weights.isfinite())):
            raise ArgumentError("weights", weights.tolist(), f"({len(matrix)},) positive numbers")
    root = torch.ones(len(matrix)).to(images) if weights is None else weights.to(images).sqrt()
    if contract.somewhere(torch.linalg.matrix_rank(matrix) < matrix.shape[1]):
        raise ArgumentError("matrix", "columns that depend on each other", "materials that the bins tell apart")
    inverse = torch.linalg.pinv(root[:, None] * matrix.to(images)) * root
    return 10 * torch.einsum("ke,...eyx->...kyx", inverse, images)
