"""Gradients of argmins and roots by the implicit function theorem; nothing of any application in it.

    g(u, theta) = 0    =>    du/dtheta = -(dg/du)^-1 dg/dtheta

Only products with the transpose are formed: no iteration of the solver is stored, and no Jacobian.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.linop import with_signature


@with_signature
class _Attached(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(vjp: Callable, jvp: Callable | None, u: Tensor, *theta: Tensor) -> Tensor:
        return u.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.vjp, ctx.own_jvp, _, *theta = inputs
        ctx.save_for_backward(output, *theta)
        ctx.save_for_forward(output, *theta)

    @staticmethod
    def backward(ctx, v: Tensor):
        u, *theta = ctx.saved_tensors
        return None, None, None, *ctx.vjp(u, v, ctx.needs_input_grad[3:], *theta)

    @staticmethod
    def jvp(ctx, _vjp, _jvp, _u, *tangents: Tensor):
        u, *theta = ctx.saved_tensors
        if ctx.own_jvp is not None:
            return ctx.own_jvp(u, tangents, *theta)
        wanted = tuple(d is not None and t.is_floating_point() for d, t in zip(tangents, theta, strict=True))

        def product(v):
            found = zip(ctx.vjp(u, v, wanted, *theta), theta, wanted, strict=True)
            return tuple(torch.zeros_like(t) if given is None else given for given, t, want in found if want)

        transposed = torch.func.vjp(product, torch.zeros_like(u))[1]
        return transposed(tuple(d for d, want in zip(tangents, wanted, strict=True) if want))[0]


def attach(u: Tensor, vjp: Callable, *theta: Tensor, jvp: Callable | None = None) -> Tensor:
    """The value u, with a vector-Jacobian product of the caller's as its gradient to theta.

    u    found by any solver, no graph needed
    vjp  vjp(u, v, wanted, *theta) -> one tensor or None per theta, v^T du/dtheta; wanted says which are asked for
    jvp  jvp(u, tangents, *theta) -> du for one change or None per theta; by default the product transposed

    Derivatives of any order, and `torch.func` (vjp, jvp, vmap, jacrev), as far as the operations of the product have
    them. Only u and theta are kept for the backward pass.
    """
    return _Attached.apply(vjp, jvp, contract.tensor("u", u).detach(), *theta)


def attach_root(u: Tensor, residual: Callable, *theta: Tensor, lower=None, upper=None) -> Tensor:
    """The root u (..., K) with its derivative attached, {cite}`blondel2022`.

        w = (dg/du)^-T v,    gradient to theta = -(dg/dtheta)^T w

    residual  g(u, *theta) -> (..., K), each pixel of the leading axes by itself; for an argmin, the gradient of its
              objective in u
    theta     tensors g depends on
    lower, upper  box of a constrained argmin, which u must lie in: where a component sits on a bound its derivative
              is 0, and the others follow from the system of the free components (the KKT conditions)

    Derivatives of any order, as in `attach`; a singular system raises torch.linalg.LinAlgError.
    """
    contract.tensor("u", u, ("K",))
    bounds = [None if b is None else torch.as_tensor(b).to(u) for b in (lower, upper)]
    for name, bound in zip(("lower", "upper"), bounds, strict=True):
        if bound is not None:
            contract.spreads(name, bound, u.shape)

    def vjp(u, v, wanted, *theta):
        free = torch.ones_like(u, dtype=torch.bool)
        if bounds[0] is not None:
            free = free & (u > bounds[0])
        if bounds[1] is not None:
            free = free & (u < bounds[1])
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
    g, pull = torch.func.vjp(lambda u: residual(u, *theta), u)
    if g.shape != u.shape:
        raise ArgumentError("residual", f"values of shape {tuple(g.shape)}", f"the root's shape {tuple(u.shape)}")
    return torch.stack([pull(unit.expand_as(g))[0] for unit in torch.eye(u.shape[-1]).to(g)], -2)


def residual_vjp(residual: Callable, u: Tensor, w: Tensor, wanted, *theta: Tensor) -> list[Tensor | None]:
    """(dg/dtheta)^T w for every wanted theta, None for the others."""

    def asked(*some):
        rest = iter(some)
        return residual(u, *(next(rest) if want else t for t, want in zip(theta, wanted, strict=True)))

    found = iter(torch.func.vjp(asked, *(t for t, want in zip(theta, wanted, strict=True) if want))[1](w))
    return [next(found) if want else None for want in wanted]
