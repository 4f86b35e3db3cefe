"""The latent sphere: points drawn on it, and gradient steps that stay on it, {cite}`ronchetti2020`."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, ConvergenceError


def to_sphere(z: Tensor, radius: float | None = None) -> Tensor:
    """Each sample of z (B, ...) scaled to Euclidean norm `radius`; by default sqrt(m), m the numbers in a sample.

    The paper's sphere has radius 1, on which entries have deviation 1 / sqrt(m): with sqrt(m) they have 1.
    """
    radius = None if radius is None else contract.number("radius", radius, above=0)
    if contract.tensor("z", z).ndim < 2 or 0 in z.shape[1:]:
        raise ArgumentError("z", tuple(z.shape), "samples (B, ...) of one number or more")
    flat = z.flatten(1)
    radius = math.sqrt(flat.shape[1]) if radius is None else radius
    return (flat * (radius / flat.norm(dim=1, keepdim=True))).reshape(z.shape)


def random_sphere(
    shape: tuple[int, ...], generator: torch.Generator, radius: float | None = None, dtype=torch.float32
) -> Tensor:  # fmt: skip
    """Samples (B, ...) distributed uniformly over the sphere, on the generator's device."""
    if not isinstance(shape, (tuple, list)) or len(shape) < 2:
        raise ArgumentError("shape", shape, "(B, ...) with one axis or more behind B")
    shape = tuple(contract.count("shape", n, int(k > 0)) for k, n in enumerate(shape))
    dtype = contract.dtype("dtype", dtype)
    return to_sphere(torch.randn(shape, generator=generator, dtype=dtype, device=generator.device), radius)


def sphere_step(z: Tensor, gradient: Tensor, lr: float, radius: float | None = None) -> Tensor:
    """One projected step, {eq}`gtr-sphere`: z <- radius (z - lr gradient) / |z - lr gradient|, sample by sample."""
    z, gradient = contract.together(z=z, gradient=gradient)
    if z.shape != gradient.shape:
        raise ArgumentError("gradient", tuple(gradient.shape), f"the shape of z, {tuple(z.shape)}")
    return to_sphere(z - contract.number("lr", lr) * gradient, radius)


def projected_gradient(
    objective: Callable[[Tensor], Tensor],
    z: Tensor,
    num_iters: int,
    lr: float,
    radius: float | None = None,
    callback: Callable[[int, Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Minimize objective(z) over the sphere by `sphere_step`; every sample of z (B, ...) on its own.

        min J(z),    J(z) = |A G(r, z) - mu|^2_sigma + lam D(G(r, z)),    |z| = radius

    objective  (B, ...) -> (B,), differentiable
    lr         step length. For the same path on a sphere of another radius it grows with the radius squared.
    callback   of (iteration, z), before each step and at the end

    (z, J): the last z, and J before each step and at the end, (num_iters + 1, B) float64.
    """
    num_iters, lr = contract.count("num_iters", num_iters), contract.number("lr", lr)
    z, values = to_sphere(contract.tensor("z", z).detach(), radius), []
    for k in range(num_iters + 1):
        z.requires_grad_(k < num_iters)
        value = objective(z)
        if value.shape != z.shape[:1]:
            raise ArgumentError("objective", tuple(value.shape), f"one value a sample, {tuple(z.shape[:1])}")
        values.append(value.detach().double().cpu())
        if not bool(torch.isfinite(values[-1]).all()):
            raise ConvergenceError(f"projected_gradient: iteration {k} has objective {values[-1].tolist()}")
        if callback is not None:
            callback(k, z.detach())
        if k < num_iters:
            (gradient,) = torch.autograd.grad(value.sum(), z)
            z = sphere_step(z.detach(), gradient, lr, radius)
    return z.detach(), torch.stack(values)
