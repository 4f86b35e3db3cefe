"""The matrix of an image-domain decomposition, from images of a specimen whose densities are known."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def fit_matrix(images: Tensor, densities: Tensor) -> Tensor:
    """Effective mass attenuation Q (E, M) [cm2/g], float64, by least squares over all pixels, {eq}`s2s-matrix`.

        Q = argmin sum over pixels |10 mu - Q a|^2

    images     mu (..., E, Y, X) [1/mm], without noise, of the specimen's own scanner: beam hardening is then inside Q
    densities  a (..., M, Y, X) [g/cm3], the same leading axes

    Fitted to sharp images; where edges are blurred, blur both alike or mask them first.
    """
    images = contract.tensor("images", images, ("E", "Y", "X"))
    densities = contract.alike("densities", contract.tensor("densities", densities, ("M", "Y", "X")), "images", images)
    if not images.numel() or not bool(images.isfinite().all() & densities.isfinite().all()):
        raise ArgumentError("images, densities", "no pixels, NaN or infinity", "finite numbers")
    if images.shape[:-3] != densities.shape[:-3] or images.shape[-2:] != densities.shape[-2:]:
        raise ArgumentError("images, densities", (tuple(images.shape), tuple(densities.shape)), "(..., E/M, Y, X)")
    mu, a = (t.double().movedim(-3, 0).flatten(1) for t in (images, densities))
    if int(torch.linalg.matrix_rank(a)) < len(a):
        raise ArgumentError("densities", f"rank {int(torch.linalg.matrix_rank(a))}", f"{len(a)} independent materials")
    return 10 * torch.linalg.lstsq(a.T, mu.T).solution.T
