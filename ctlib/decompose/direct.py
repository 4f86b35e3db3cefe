"""The layer where only the gradient to the counts can be asked for: readings go into compiled loops as they are.

It is `layer` without what surrounds the loops there, which took as long as they: nothing is computed beside them, and
torch's function is the plain one, without the rules of `torch.func`. Where a derivative of the gradient or a transform
is asked for, `layer` gives it.
"""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ctlib.decompose import engine
from ctlib.decompose.fixed import Fixed
from ctlib.decompose.layer import Adjoint, complaint
from ctlib.errors import ConvergenceError


def plain(t: Tensor) -> bool:
    """Whether nothing but autograd looks at what is done with a tensor: no transform, tangent or class of its own."""
    outside = not torch._C._are_functorch_transforms_active() and forward_ad._current_level < 0
    return outside and type(t) in (Tensor, torch.nn.Parameter)


def takes(counts: Tensor, photons: Tensor, fixed: Fixed) -> bool:
    """Whether `solve` does; the fixed parts are a model's that wants no gradient."""
    number = photons.ndim == 0 and not photons.requires_grad
    return number and counts.numel() > 0 and plain(counts) and fixed.loops is not None


def solve(counts: Tensor, photons: Tensor, fixed: Fixed, max_iters: int, tolerance: float) -> Tensor:
    """Path lengths (..., M) for readings (..., E), differentiable; ConvergenceError where there are none."""
    if torch.is_grad_enabled() and counts.requires_grad:
        return _Solution.apply(counts, photons, fixed, max_iters, tolerance)
    return _found(counts.detach(), photons, fixed, max_iters, tolerance)


def per_photon(counts: Tensor, photons: Tensor) -> Tensor:
    """Readings in units of one incident photon, negative ones as 0; -inf is no negative reading, but none at all."""
    finite = torch.where(counts == -torch.inf, torch.nan, counts)
    return finite.clamp_min(0) / photons[..., None]


class _Solution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, counts, photons, fixed, max_iters, tolerance):
        paths = _found(counts.detach(), photons, fixed, max_iters, tolerance)
        ctx.save_for_backward(counts, paths)
        ctx.own = photons, fixed
        return paths

    @staticmethod
    def backward(ctx, v: Tensor):
        counts, paths = ctx.saved_tensors
        photons, fixed = ctx.own
        if torch.is_grad_enabled() or not plain(v):
            return _gradient(counts, photons, fixed, paths, v), None, None, None, None
        return fixed.loops.adjoint(counts, photons, paths, v), None, None, None, None


def _found(counts: Tensor, photons: Tensor, fixed: Fixed, max_iters: int, tolerance: float) -> Tensor:
    paths, steps, done = fixed.loops.solve(counts, photons, min(max_iters, engine.FIRST), tolerance)
    if not bool(done.all()):
        problem, found = fixed.problem(per_photon(counts, photons), photons), (paths, steps, done)
        paths, _, done, _ = engine.solve(problem, fixed.start, max_iters, tolerance, found)
        if not bool(done.all()):
            raise ConvergenceError(complaint(counts, done, max_iters))
    return paths


def _gradient(counts: Tensor, photons: Tensor, fixed: Fixed, paths: Tensor, v: Tensor) -> Tensor:
    """That of the loops, by what has derivatives of its own."""
    problem = fixed.problem(per_photon(counts, photons))
    done = torch.ones(counts.shape[:-1], dtype=torch.bool)
    setup = problem.spectra, done, problem.attenuation, problem.low, problem.high, (True, False)
    return torch.where(counts < 0, 0.0, Adjoint.apply(paths, v, problem.counts, *setup)[0] / photons)
