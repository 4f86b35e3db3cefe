"""The solver and its gradient as functions that autograd and `torch.func` know how to use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.decompose import engine
from ctlib.decompose.gradient import implicit_vjp
from ctlib.decompose.newton import Problem
from ctlib.errors import ConvergenceError


@dataclass(frozen=True)
class Task:
    """What a solution needs beside counts and spectra.

    start    path lengths, or a `PolynomialStart`
    flagged  tell of pixels without a solution, instead of raising an error
    """

    attenuation: Tensor
    low: Tensor
    high: Tensor
    start: object
    max_iters: int
    tolerance: float
    flagged: bool

    def problem(self, counts: Tensor, spectra: Tensor, photons=1.0) -> Problem:
        return Problem(counts, spectra, self.attenuation, self.low, self.high, photons)


class Solution(torch.autograd.Function):
    """Path lengths, and what a `Decomposition` holds of them (empty unless asked for); a constant to autograd."""

    @staticmethod
    def forward(counts: Tensor, spectra: Tensor, photons: Tensor, task: Task) -> tuple[Tensor, ...]:
        problem = task.problem(counts, spectra, photons)
        start = task.start
        if isinstance(start, Tensor):
            start = start.expand(*counts.shape[:-1], start.shape[-1])
        paths, steps, done, multiple = engine.solve(problem, start, task.max_iters, task.tolerance)
        if not task.flagged:
            if not bool(done.all()):
                raise ConvergenceError(_complaint(counts, done, task.max_iters))
            return paths, done
        return paths, done, steps, multiple, *engine.state(problem, paths)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx, *grads):
        return None, None, None, None

    @staticmethod
    def jvp(ctx, *tangents):
        return None

    @staticmethod
    def vmap(info, in_dims, counts, spectra, photons, task):
        counts, spectra, photons = _fronted(info, in_dims, counts, spectra, photons)
        if in_dims[1] is None and photons.ndim <= counts.ndim - 1:
            out = Solution.apply(_full(info, in_dims[0], counts), spectra, _aligned(photons, counts, in_dims[2]), task)
        else:
            out = _looped(Solution, info, in_dims, (counts, spectra, photons), task)
        return out, (0,) * len(out)


class Adjoint(torch.autograd.Function):
    """v^T dA/dcounts and v^T dA/dspectra by the engine; its own derivatives are those of `implicit_vjp` in torch."""

    @staticmethod
    def forward(paths: Tensor, v: Tensor, counts: Tensor, spectra: Tensor, task: Task, wanted: tuple[bool, bool]):
        to_counts, to_spectra = engine.vjp(task.problem(counts, spectra), paths, v, wanted)
        return to_counts, counts.new_zeros(()) if to_spectra is None else to_spectra

    @staticmethod
    def setup_context(ctx, inputs, output):
        *tensors, ctx.task, ctx.wanted = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx, to_counts: Tensor, to_spectra: Tensor):
        pull = torch.func.vjp(_formula(ctx.task, ctx.wanted), *ctx.saved_tensors)[1]
        return *pull((to_counts, to_spectra)), None, None

    @staticmethod
    def jvp(ctx, *tangents):
        tensors = ctx.saved_tensors
        moved = tuple(torch.zeros_like(t) if d is None else d for t, d in zip(tensors, tangents, strict=False))
        return torch.func.jvp(_formula(ctx.task, ctx.wanted), tensors, moved)[1]

    @staticmethod
    def vmap(info, in_dims, paths, v, counts, spectra, task, wanted):
        tensors = _fronted(info, in_dims, paths, v, counts, spectra)
        if in_dims[3] is None and not wanted[1]:
            rows = [_full(info, d, t) for d, t in zip(in_dims, tensors[:3], strict=False)]
            to_counts, none = Adjoint.apply(*rows, spectra, task, wanted)
            return (to_counts, none), (0, None)
        return _looped(Adjoint, info, in_dims, tensors, task, wanted), (0, 0)


def _formula(task: Task, wanted):
    def formula(paths, v, counts, spectra):
        to_counts, to_spectra = implicit_vjp(task.problem(counts, spectra), paths, v, wanted)
        return to_counts, counts.new_zeros(()) if to_spectra is None else to_spectra

    return formula


def _fronted(info, in_dims, *tensors):
    return [t if d is None else t.movedim(d, 0) for t, d in zip(tensors, in_dims, strict=False)]


def _full(info, dim, t: Tensor) -> Tensor:
    return t.expand(info.batch_size, *t.shape) if dim is None else t


def _aligned(photons: Tensor, counts: Tensor, dim) -> Tensor:
    """Photons (B, ...) with axes of length one after the first, up to those of the counts."""
    missing = counts.ndim - 1 - photons.ndim
    return photons if dim is None else photons.reshape(len(photons), *[1] * missing, *photons.shape[1:])


def _looped(function, info, in_dims, tensors, *rest):
    """One call after the other, for spectra of each element's own."""
    dims = list(in_dims[: len(tensors)])
    each = [[t if d is None else t[i] for t, d in zip(tensors, dims, strict=True)] for i in range(info.batch_size)]
    outs = [function.apply(*one, *rest) for one in each]
    return tuple(torch.stack(parts) for parts in zip(*outs, strict=True))


def _complaint(counts: Tensor, done: Tensor, max_iters: int) -> str:
    bad, strange = int((~done).sum()), int((~counts.isfinite().all(-1)).sum())
    why = f", {strange} of them because a reading is no finite number" if strange else ""
    return (
        f"decompose_mle: {bad} of {done.numel()} pixels did not converge in {max_iters} steps{why}; "
        "return_info=True flags them"
    )
