"""First images: as the paper makes them, by SIRT that is stopped early, or solved to a stated criterion."""

from __future__ import annotations

from torch import Tensor

from ctlib import contract
from ctlib.papers.spectral2spectral.splitting import coupling, data_solution
from ctlib.recon._common import data_of
from ctlib.recon.sirt import sirt

RHO = 0.001  # of the first images: a pull towards zero that is felt where the data say nothing
TOL = 0.001  # what is left of the gradient


def first_images(A, y: Tensor, sirt_iters: int = 0, rho: float = RHO, tol: float = TOL) -> Tensor:
    """Images (..., Y, X) of data y (..., V, U), a linear map of them.

    sirt_iters  SIRT iterations; 0: the minimum of 1/2 |y - A x|_R^2 + lam/2 |x|^2 by `data_solution`

    SIRT stopped early is blurred, and its noise with it: neighbors share what the missing iterations would part.
    """
    y, rho = data_of(A, y), contract.number("rho", rho, above=0)
    tol = contract.number("tol", tol, above=0, at_most=1)
    if contract.count("sirt_iters", sirt_iters):
        return sirt(A, y, sirt_iters)
    zero = y.new_zeros(*y.shape[: y.ndim - len(A.range_shape)], *A.domain_shape)
    return data_solution(A, y, zero, zero, coupling(A, rho, y), tol)[0]
