"""The solver and its gradient as functions that autograd and `torch.func` know how to use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.decompose import engine
from ctlib.decompose.gradient import implicit_vjp
from ctlib.decompose.newton import Problem
from ctlib.decompose.start import PolynomialStart, check_determined, fit_start
from ctlib.errors import ConvergenceError
from ctlib.linop import with_signature


@dataclass(frozen=True)
class Settings:
    """How a solution is found.

    flagged  tell of pixels without one, instead of raising an error
    start    where to start from, after the check of the materials; None: both are done here
    """

    materials: tuple[str, ...]
    max_iters: int
    tolerance: float
    flagged: bool
    start: PolynomialStart | None = None


@with_signature
class Solution(torch.autograd.Function):
    """Path lengths, and what a `Decomposition` holds of them (if asked for); a constant to autograd.

    start    path lengths to start from, (M,) to (..., M), or none
    usual    spectra (N, E) for which the polynomial is fitted that the solver starts from without
    attenuation  (N, M) in float64
    """

    @staticmethod
    def forward(counts, spectra, photons, start, usual, attenuation, low, high, settings) -> tuple[Tensor, ...]:
        if settings.start is None:
            check_determined(spectra, attenuation, settings.materials)
        problem = Problem(counts, spectra, attenuation.to(counts), low, high, photons)
        if start is not None:
            first = start.expand(*counts.shape[:-1], start.shape[-1])
        else:
            first = settings.start or fit_start(usual, attenuation, low, high)
        paths, steps, done, multiple = engine.solve(problem, first, settings.max_iters, settings.tolerance)
        if settings.flagged:
            return paths, done, steps, multiple, *engine.state(problem, paths)
        if not bool(done.all()):
            raise ConvergenceError(complaint(counts, done, settings.max_iters))
        return paths, done

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(*output)
        ctx.num = len(output)

    @staticmethod
    def backward(ctx, *grads):
        return (None,) * 9

    @staticmethod
    def jvp(ctx, *tangents):
        return (None,) * ctx.num

    @staticmethod
    def vmap(info, in_dims, *inputs):
        dims, tensors = list(in_dims[:8]), inputs[:8]
        if any(d is not None for d in dims[1:]):
            return _looped(Solution, info, dims, tensors, inputs[8:])
        out = Solution.apply(tensors[0].movedim(dims[0], 0), *inputs[1:])
        return out, (0,) * len(out)


@with_signature
class Adjoint(torch.autograd.Function):
    """v^T dA/dcounts and v^T dA/dspectra by the engine; its own derivatives are those of `implicit_vjp` in torch.

    done  where pixels have converged; the others give 0
    """

    @staticmethod
    def forward(paths, v, counts, spectra, done, attenuation, low, high, wanted: tuple[bool, bool]):
        paths, v, counts = _of_converged(done, paths, v, counts)
        problem = Problem(counts, spectra, attenuation, low, high)
        return _both(engine.vjp(problem, paths, v, wanted), counts)

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.wanted = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx, to_counts: Tensor, to_spectra: Tensor):
        tensors = ctx.saved_tensors
        pull = torch.func.vjp(_formula(*tensors[4:], ctx.wanted), *tensors[:4])[1]
        return *pull((to_counts, to_spectra)), None, None, None, None, None

    @staticmethod
    def jvp(ctx, *tangents):
        tensors = ctx.saved_tensors
        moved = tuple(torch.zeros_like(t) if d is None else d for t, d in zip(tensors, tangents[:4], strict=False))
        return torch.func.jvp(_formula(*tensors[4:], ctx.wanted), tensors[:4], moved)[1]

    @staticmethod
    def vmap(info, in_dims, *inputs):
        dims, tensors, wanted = list(in_dims[:8]), inputs[:8], inputs[8]
        if wanted[1] or any(d is not None for d in (dims[3], *dims[5:])):
            return _looped(Adjoint, info, dims, tensors, inputs[8:])
        first = [
            t.expand(info.batch_size, *t.shape) if d is None else t.movedim(d, 0)
            for t, d in zip(tensors[:5], dims, strict=False)
        ]
        first[3] = tensors[3]
        return Adjoint.apply(*first, *inputs[5:]), (0, None)


def _of_converged(done: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Tensors with 0 in place of pixels that have not converged; themselves where all have."""
    if bool(done.all()):
        return parts
    return tuple(torch.where(done[..., None], t, 0.0) for t in parts)


def _formula(done, attenuation, low, high, wanted):
    def formula(paths, v, counts, spectra):
        paths, v, counts = (torch.where(done[..., None], t, 0.0) for t in (paths, v, counts))
        problem = Problem(counts, spectra, attenuation, low, high)
        return _both(implicit_vjp(problem, paths, v, wanted), counts)

    return formula


def _both(found, counts: Tensor) -> tuple[Tensor, Tensor]:
    return found[0], counts.new_zeros(()) if found[1] is None else found[1]


def _looped(function, info, dims, tensors, rest):
    """One call after the other, where elements have spectra of their own."""
    outs = []
    for i in range(info.batch_size):
        one = (t if d is None else t.select(d, i) for t, d in zip(tensors, dims, strict=True))
        outs.append(function.apply(*one, *rest))
    return tuple(torch.stack(parts) for parts in zip(*outs, strict=True)), (0,) * len(outs[0])


def complaint(counts: Tensor, done: Tensor, max_iters: int) -> str:
    """What to say of pixels that are not done."""
    bad, strange = int((~done).sum()), int((~counts.isfinite().all(-1)).sum())
    why = f", {strange} of them because a reading is no finite number" if strange else ""
    return (
        f"decompose_mle: {bad} of {done.numel()} pixels did not converge in {max_iters} steps{why}; "
        "return_info=True flags them"
    )
