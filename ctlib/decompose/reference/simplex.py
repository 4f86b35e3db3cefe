"""Nelder-Mead, one pixel after the other: a slow reference that uses no derivative."""

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose.likelihood import negative_log_likelihood
from ctlib.decompose.mle import posed, start_paths
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.physics.model import SpectralModel
from ctlib.physics.moments import product, transmission


def decompose_simplex(
    model: SpectralModel,
    counts: Tensor,
    box=((-5, 35), (-5, 10)),
    max_iters: int = 400,
    thresholds_kev=None,
    start: Tensor | None = None,
) -> Tensor:
    """Path lengths (..., M) [g/cm2] of least negative log-likelihood by the simplex method, {cite}`nelder1965`.

    Arguments as in `decompose_mle`; no gradient. Stops at 1e-6 g/cm2 or after `max_iters` iterations a pixel.
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        raise MissingDependency("scipy", "the simplex decomposition") from error
    with torch.no_grad():
        max_iters = contract.count("max_iters", max_iters, 1)
        contract.tensor("counts", counts, (model.num_bins,))
        problem = posed(model, counts.detach().double(), box, max_iters, thresholds_kev)
        if contract.somewhere(~problem.counts.isfinite()):
            raise ArgumentError("counts", "NaN or infinite values", "finite readings")
        first = start_paths(model, problem, start)
        lead, num = first.shape[:-1], first.shape[-1]
        spectra = problem.spectra.expand(*lead, *problem.spectra.shape[-2:]).reshape(-1, *problem.spectra.shape[-2:])
        rows = zip(first.reshape(-1, num), problem.counts.reshape(-1, model.num_bins), spectra, strict=True)
        bounds = list(zip(problem.low.tolist(), problem.high.tolist(), strict=True))
        options = {"xatol": 1e-6, "fatol": 1e-14, "maxiter": max_iters}
        found = [
            minimize(_objective(y, s, problem.attenuation), a, method="Nelder-Mead", bounds=bounds, options=options).x
            for a, y, s in rows
        ]
    return torch.from_numpy(np.array(found, dtype=np.float64)).reshape((*lead, num)).to(counts)


def _objective(counts: Tensor, spectra: Tensor, attenuation: Tensor):
    def value(paths) -> float:
        expected = product(transmission(torch.from_numpy(paths), attenuation), spectra)
        return float(negative_log_likelihood(expected, counts))

    return value
