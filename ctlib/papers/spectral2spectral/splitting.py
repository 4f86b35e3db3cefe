"""Plug-and-play splitting: data steps of SIRT type in turn with any prior, half-quadratic or split Bregman."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.recon._common import data_of
from ctlib.recon.sirt import sirt_scaling

Prior = Callable[[Tensor, int], Tensor]  # images (Z, E, Y, X) and the outer step's number -> images


@dataclass
class Splitting:
    """Outcome of `split_reconstruct`: images (..., Y, X) after the last data step and before it, and the way there.

    x, z       after the last data step; what the prior made before it
    gaps       |x - z| / |x| after every outer step
    residuals  |y - A x| / |y| likewise
    """

    x: Tensor
    z: Tensor
    gaps: list[float] = field(default_factory=list)
    residuals: list[float] = field(default_factory=list)


def coupling(A, rho: float, like: Tensor) -> float:
    """lam_1 = rho times the mean of A^T 1: a weight [mm] that keeps its meaning when views or pixels change."""
    rho, like = contract.number("rho", rho, at_least=0), contract.tensor("like", like)
    return rho * float(A.T(like.new_ones(tuple(A.range_shape))).mean())


def _checked(A, y: Tensor, x: Tensor, z: Tensor, lam: float) -> tuple[Tensor, Tensor, Tensor, float]:
    """Data and two images of the same leading axes, dtype and device, and a weight >= 0."""
    x, z = contract.together(A.domain_shape, x=x, z=z)
    y = contract.alike("y", data_of(A, y), "x", x)
    if x.shape != z.shape or y.shape[: y.ndim - len(A.range_shape)] != x.shape[: x.ndim - len(A.domain_shape)]:
        shapes = [tuple(t.shape) for t in (y, x, z)]
        raise ArgumentError("y, x, z", f"shapes {shapes}", "equal leading axes")
    return y, x, z, contract.number("lam", lam, at_least=0)


def data_steps(
    A, y: Tensor, x: Tensor, z: Tensor, lam: float, num_iters: int, callback: Callable[[Tensor], None] | None = None
) -> Tensor:
    """Lower 1/2 |y - A x|_R^2 + lam/2 |x - z|^2 by SIRT's majoriser, {eq}`s2s-data-step`.

        x <- x + (A^T R (y - A x) + lam (z - x)) / (A^T 1 + lam),    R = 1 / (A 1)

    y, x, z  (..., V, U), (..., Y, X), (..., Y, X);  lam >= 0 [mm];  lam = 0 is SIRT

    The objective never rises: diag(A^T 1) - A^T R A is positive semidefinite for A >= 0. Pixels that no ray meets stay
    where they are, or go to z.
    """
    y, x, z, lam = _checked(A, y, x, z, lam)
    num_iters = contract.count("num_iters", num_iters)
    R, C = sirt_scaling(A, y)
    step = 1 / (torch.where(C > 0, 1 / C, C) + lam) if lam > 0 else C
    for _ in range(num_iters):
        x = x + step * (A.T(R * (y - A(x))) + lam * (z - x))
        if callback is not None:
            callback(x)
    return x


def data_solution(
    A, y: Tensor, x: Tensor, z: Tensor, lam: float, tol: float = 0.01, max_iters: int = 200
) -> tuple[Tensor, int]:
    """Minimum of 1/2 |y - A x|_R^2 + lam/2 |x - z|^2 from x, and the iterations it took, {eq}`s2s-data-step`.

    Conjugate gradients for (A^T R A + lam) x = A^T R y + lam z, preconditioned by SIRT's majoriser, until the gradient
    of every image has fallen to `tol` of what it is at z. ConvergenceError after max_iters.

    y, x, z  (..., V, U), (..., Y, X), (..., Y, X);  lam > 0 [mm]
    """
    y, x, z, lam = _checked(A, y, x, z, lam)
    lam, tol = contract.number("lam", lam, above=0), contract.number("tol", tol, above=0, at_most=1)
    max_iters, (R, C) = contract.count("max_iters", max_iters, 1), sirt_scaling(A, y)
    M = 1 / (torch.where(C > 0, 1 / C, C) + lam)
    dot = lambda a, b: (a * b).sum((-2, -1), keepdim=True)  # noqa: E731
    g = A.T(R * (y - A(z)))
    enough = tol**2 * dot(g, M * g)
    r = A.T(R * (y - A(x))) + lam * (z - x)
    p, rho = M * r, dot(r, M * r)
    for k in range(max_iters):
        if bool((rho <= enough).all()):
            return x, k
        q = A.T(R * A(p)) + lam * p
        step = rho / dot(p, q).clamp_min(torch.finfo(x.dtype).tiny)
        x, r = x + step * p, r - step * q
        rho, before = dot(r, M * r), rho
        p = M * r + rho / before.clamp_min(torch.finfo(x.dtype).tiny) * p
    raise ConvergenceError(f"data_solution: after {max_iters} iterations the gradient is not {tol:g} of the first one")


def data_objective(A, y: Tensor, x: Tensor, z: Tensor, lam: float) -> float:
    """1/2 |y - A x|_R^2 + lam/2 |x - z|^2, summed over everything: what `data_steps` lowers."""
    y, x, z, lam = _checked(A, y, x, z, lam)
    R, _ = sirt_scaling(A, y)
    return float((R * (y - A(x)).square()).sum() + lam * (x - z).square().sum()) / 2


def split_reconstruct(
    A,
    y: Tensor,
    prior: Prior,
    x0: Tensor,
    num_outer: int = 3,
    num_inner: int = 8,
    rho: float = 0.04,
    bregman: bool = False,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
    tol: float | None = None,
) -> Splitting:
    """Alternate a prior and data steps, {eq}`s2s-splitting`.

        z = prior(x + b, k),    b <- b + x - z  (bregman only),    x <- data_steps towards z - b

    prior    (images (Z, E, Y, X), outer step) -> images: a proximal map, or a network that trains itself first
    x0       start (..., Y, X), such as SIRT-50
    bregman  False: b = 0, half-quadratic splitting, as printed; True: split Bregman, {cite}`goldstein2009`
    tol      solve the data step to this share of its gradient, `data_solution`, in place of num_inner steps

    ConvergenceError when an image is not finite.
    """
    y, num_outer = data_of(A, y), contract.count("num_outer", num_outer)
    num_inner = contract.count("num_inner", num_inner)
    x0 = contract.alike("x0", contract.tensor("x0", x0, A.domain_shape), "y", y)
    if y.shape[: y.ndim - len(A.range_shape)] != x0.shape[: x0.ndim - len(A.domain_shape)]:
        raise ArgumentError("y, x0", f"shapes {tuple(y.shape)}, {tuple(x0.shape)}", "equal leading axes")
    lam, x, b, out = coupling(A, rho, y), x0, torch.zeros_like(x0), Splitting(x0, x0)
    for k in range(num_outer):
        z = prior(x + b, k)
        b = b + x - z if bregman else b
        x = data_steps(A, y, x, z - b, lam, num_inner) if tol is None else data_solution(A, y, x, z - b, lam, tol)[0]
        if not bool(torch.isfinite(x).all()):
            raise ConvergenceError(f"split_reconstruct: outer step {k} made an image that is not finite")
        out.gaps.append(float((x - z).norm() / x.norm()))
        out.residuals.append(float((y - A(x)).norm() / y.norm()))
        if callback is not None:
            callback(k, x, z)
        out.x, out.z = x, z
    return out
