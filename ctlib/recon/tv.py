"""Total-variation reconstruction by monotone FISTA."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.prox import gradient_adjoint, total_variation, tv_dual
from ctlib.recon._common import data_of, inner, problem


def tv_objective(A, x: Tensor, y: Tensor, weight: float | Tensor) -> Tensor:
    """1/2 |A x - y|^2 + weight TV(x), over the leading axes: (..., 1, 1) with one axis of length 1 per image axis."""
    y, ndim = (
        contract.alike("y", data_of(A, y), "x", contract.tensor("x", x, tuple(A.domain_shape))),
        len(A.domain_shape),
    )
    if not contract.fit(x.shape[:-ndim], y.shape[: y.ndim - len(A.range_shape)]):
        raise ArgumentError(
            "x, y", f"shapes {tuple(x.shape)}, {tuple(y.shape)}", "leading axes that spread over each other"
        )
    residual = A(x) - y
    return _objective(residual, x, _weight(weight, residual, len(A.range_shape), ndim), ndim)


def _weight(weight: float | Tensor, y: Tensor, range_ndim: int, ndim: int) -> float | Tensor:
    """The weight, if it is one number >= 0 or one for each entry of the batch."""
    like = y.new_empty(*y.shape[: y.ndim - range_ndim], *(1,) * ndim)
    return contract.factor("weight", weight, "y", like, at_least=0)


def _objective(residual: Tensor, x: Tensor, weight: float | Tensor, ndim: int) -> Tensor:
    fit = inner(residual, residual, ndim) / 2
    return fit + weight * total_variation(x, ndim)[(..., *[None] * ndim)]


def tv_reconstruct(
    A,
    y: Tensor,
    weight: float | Tensor,
    num_iters: int = 100,
    x0: Tensor | None = None,
    nonneg: bool = False,
    norm: float | None = None,
    prox_iters: int = 10,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """TV-regularized least squares, min 1/2 |A x - y|^2 + weight TV(x), by monotone FISTA, {cite}`beck2009tv`.

        v = prox_{weight TV / L}( z - A^T(A z - y) / L ),    L = |A|^2
        x' = v if F(v) <= F(x) else x,    z = x' + (t / t')(v - x') + ((t - 1) / t')(x' - x)

    y           data (..., V, U), or (..., V, R, U) for a volume; leading axes are independent problems
    weight      >= 0; unit of |A x - y|^2 over x, so mm for attenuation in 1/mm; a float, or a tensor (..., 1, 1)
    nonneg      minimize over x >= 0
    norm        |A| if known (A.norm() otherwise)
    prox_iters  dual steps of the inner TV prox, which continues from the previous one

    The objective never rises. weight=0 without nonneg is plain (accelerated) least squares.
    """
    (x, num_iters), ndim = problem(A, y, x0, num_iters), len(A.domain_shape)
    weight, prox_iters = _weight(weight, y, len(A.range_shape), ndim), contract.count("prox_iters", prox_iters, 1)
    norm = float(A.norm()) if norm is None else contract.number("norm", norm, above=0)
    lipschitz = 1.01 * norm * norm or 1.0  # a power method stops below the norm
    x = z = x.clamp_min(0) if nonneg else x
    Ax = Az = A(x)
    best, t, dual = _objective(Ax - y, x, weight, ndim), 1.0, None
    for k in range(num_iters):
        step = z - A.T(Az - y) / lipschitz
        dual = tv_dual(step, weight / lipschitz, prox_iters, nonneg, dual, ndim)
        v = step - gradient_adjoint(dual, ndim)
        v = v.clamp_min(0) if nonneg else v
        Av = A(v)
        value, t_new = _objective(Av - y, v, weight, ndim), (1 + math.sqrt(1 + 4 * t * t)) / 2
        keep, best = ~(value > best), torch.minimum(value, best)  # NaN is kept: it says so
        x, z = _momentum(keep, v, x, t, t_new)
        Ax, Az = _momentum(keep, Av, Ax, t, t_new)  # A is linear: no third product
        t = t_new
        if callback is not None:
            callback(k + 1, x)
    return x


def _momentum(keep: Tensor, v: Tensor, x: Tensor, t: float, t_new: float) -> tuple[Tensor, Tensor]:
    """The better of v and x, and the extrapolated point the next step starts from."""
    x_new = torch.where(keep, v, x)
    return x_new, x_new + (t / t_new) * (v - x_new) + ((t - 1) / t_new) * (x_new - x)
