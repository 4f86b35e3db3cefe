"""Gradient of the decomposition by the implicit function theorem: one solve and one matrix product per pixel."""

import torch
from torch import Tensor

from ctlib.decompose import small
from ctlib.decompose.likelihood import LEAST, curvature, score
from ctlib.decompose.newton import Problem
from ctlib.decompose.restart import local
from ctlib.physics.moments import moment_tables, moments, product, transmission

SINGULAR = 1e-12  # a smaller ratio of eigenvalues is rounding


def adjoint_solution(problem: Problem, parts: tuple[Tensor, Tensor, Tensor], paths: Tensor, v: Tensor) -> Tensor:
    """w (..., M) with H w = v on the components that the box leaves free, 0 on the others, {eq}`pcct-ift`.

    parts  counts, Jacobian and second derivatives at `paths`. Where H is not safely positive definite (a fold of the
           model, or a pixel that did not converge) the theorem does not hold: w is 0 there, see `Decomposition`.
    """
    g = score(problem.counts, *parts[:2])
    free = ~problem.active(paths, g)
    hessian, fisher = (small.pinned(m, free).double() for m in curvature(problem.counts, *parts))
    sound = small.positive_definite(hessian, fisher)[..., None]
    w = small.solve(torch.where(sound, hessian, torch.ones_like(hessian)), (v * free).double())
    return torch.where(sound, w, 0.0).to(v)


def implicit_vjp(
    problem: Problem, paths: Tensor, v: Tensor, wanted=(True, True)
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients v^T dA/dcounts (..., E) and v^T dA/dspectra (shape of the spectra), {eq}`pcct-vjp`.

        to gamma_i:  sum_k J_ik w_k / lambda_i
        to S_ni:     -T_n (gamma_i / lambda_i^2 sum_k J_ik w_k - (1 - gamma_i / lambda_i) sum_k f_nk w_k)

    T  transmission exp(-f A); whatever the spectra depend on gets its gradient from the second line
    """
    f = problem.attenuation
    parts = moments(paths, f, moment_tables(f, problem.spectra))
    w = adjoint_solution(problem, parts, paths, v)
    to_counts = (w[..., None] * parts[1]).sum(-2) / parts[0].clamp_min(LEAST)
    return to_counts, spectra_gradient(problem, paths, w, to_counts) if wanted[1] else None


def spectra_gradient(problem: Problem, paths: Tensor, w: Tensor, to_counts: Tensor) -> Tensor:
    """The second line of `implicit_vjp`, from w and the first one: 1 + M transposed matrix products."""
    f, through = problem.attenuation, transmission(paths, problem.attenuation)
    expected, transposed = torch.func.vjp(lambda spectra: product(through, spectra), problem.spectra)
    ratio = problem.counts / expected.clamp_min(LEAST)
    total = -transposed(ratio * to_counts)[0]
    for k in range(f.shape[1]):
        total = total + f[:, k, None] * transposed((1 - ratio) * w[..., k, None])[0]
    return total


def implicit_jvp(problem: Problem, paths: Tensor, to_counts: Tensor | None, to_spectra: Tensor | None) -> Tensor:
    """Change (..., M) of the solution for one of the counts and one of the spectra: -H^-1 of the gradient's change."""
    f = problem.attenuation
    parts = moments(paths, f, problem.tables)
    mean, change = parts[0].clamp_min(LEAST), torch.zeros_like(paths)
    if to_counts is not None:
        change = change - ((to_counts / mean)[..., None, :] * parts[1]).sum(-1)
    if to_spectra is not None:
        expected, jacobian, _ = moments(paths, f, moment_tables(f, to_spectra))
        ratio = problem.counts / mean
        both = (ratio * expected / mean)[..., None, :] * parts[1] + (1 - ratio)[..., None, :] * jacobian
        change = change + both.sum(-1)
    return -adjoint_solution(problem, parts, paths, change)


def describe(problem: Problem, paths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Components that the box holds (..., M), condition number (...) of the free ones' Hessian, and L (...).

    The Hessian is scaled to a unit diagonal; inf where it is not safely positive definite, or singular to rounding.
    """
    at = local(problem, problem.tables, paths)
    active = problem.active(paths, at.gradient)
    hessian, fisher = (small.pinned(m, ~active) for m in (at.hessian, at.fisher))
    sound = small.positive_definite(hessian, fisher)
    dense = small.full(torch.where(sound[..., None], hessian, 1.0))
    size = dense.diagonal(dim1=-2, dim2=-1).rsqrt()
    values = torch.linalg.eigvalsh(dense * size[..., None] * size[..., None, :])
    sound = sound & (values[..., 0] > SINGULAR * values[..., -1])
    nll = problem.photons * at.value - torch.xlogy(problem.photons * problem.counts.sum(-1), problem.photons)
    return active, torch.where(sound, values[..., -1] / values[..., 0], torch.inf), nll
