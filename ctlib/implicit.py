"""Gradients of argmins and roots by the implicit function theorem; nothing of any application in it.

    g(u, theta) = 0    =>    du/dtheta = -(dg/du)^-1 dg/dtheta

Only products with the transpose are formed: no iteration of the solver is stored, and no Jacobian.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ctlib.errors import ArgumentError


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vjp: Callable, u: Tensor, *theta: Tensor) -> Tensor:
        ctx.vjp = vjp
        ctx.save_for_backward(u, *theta)
        return u.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, v: Tensor):
        u, *theta = ctx.saved_tensors
        return None, None, *ctx.vjp(u, v, ctx.needs_input_grad[2:], *theta)


def attach(u: Tensor, vjp: Callable, *theta: Tensor) -> Tensor:
    """The value u, with a vector-Jacobian product of the caller's as its gradient to theta.

    u    found by any solver, no graph needed
    vjp  vjp(u, v, wanted, *theta) -> one tensor or None per theta, v^T du/dtheta; wanted says which are asked for

    Differentiable once. Only u and theta are kept for the backward pass.
    """
    return _Attached.apply(vjp, u.detach(), *theta)


def attach_root(u: Tensor, residual: Callable, *theta: Tensor, lower=None, upper=None) -> Tensor:
    """The root u (..., K) with its derivative attached, {cite}`blondel2022`.

        w = (dg/du)^-T v,    gradient to theta = -(dg/dtheta)^T w

    residual  g(u, *theta) -> (..., K), each pixel of the leading axes by itself; for an argmin, the gradient of its
              objective in u
    theta     tensors g depends on
    lower, upper  box of a constrained argmin, which u must lie in: where a component sits on a bound its derivative
              is 0, and the others follow from the system of the free components (the KKT conditions)

    Differentiable once; a singular system raises torch.linalg.LinAlgError.
    """
    free = torch.ones_like(u, dtype=torch.bool)
    if lower is not None:
        free &= u > torch.as_tensor(lower).to(u)
    if upper is not None:
        free &= u < torch.as_tensor(upper).to(u)

    def vjp(u, v, wanted, *theta):
        matrix = reduced(residual_jacobian(residual, u, *theta), free)
        w = torch.linalg.solve(matrix.mT, v * free)
        return residual_vjp(residual, u, -w, wanted, *theta)

    return attach(u, vjp, *theta)


def reduced(matrix: Tensor, free: Tensor) -> Tensor:
    """Matrix (..., K, K) of the free components alone: rows and columns of the others are those of the identity."""
    both = free[..., :, None] & free[..., None, :]
    return torch.where(both, matrix, torch.eye(matrix.shape[-1]).to(matrix))


def residual_jacobian(residual: Callable, u: Tensor, *theta: Tensor) -> Tensor:
    """dg/du (..., K, K) of a residual that treats every pixel by itself, by K backward passes."""
    with torch.enable_grad():
        at = u.detach().requires_grad_()
        g = residual(at, *(t.detach() for t in theta))
        if g.shape != at.shape:
            raise ArgumentError("residual", f"values of shape {tuple(g.shape)}", f"the root's shape {tuple(at.shape)}")
        rows = [torch.autograd.grad(g[..., k].sum(), at, retain_graph=True)[0] for k in range(u.shape[-1])]
    return torch.stack(rows, -2)


def residual_vjp(residual: Callable, u: Tensor, w: Tensor, wanted, *theta: Tensor) -> list[Tensor | None]:
    """(dg/dtheta)^T w for every wanted theta, None for the others."""
    at = [t.detach().requires_grad_(want) for t, want in zip(theta, wanted, strict=True)]
    with torch.enable_grad():
        g = residual(u.detach(), *at)
    asked = [t for t, want in zip(at, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(g, asked, w, allow_unused=True))
    return [next(found) if want else None for want in wanted]
