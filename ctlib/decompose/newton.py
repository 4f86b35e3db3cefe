"""Newton's method for the likelihood inside a box, all pixels at once."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ctlib.decompose import small
from ctlib.decompose.likelihood import LEAST, curvature, score
from ctlib.physics.moments import moment_tables, moments

LIMIT = 4.0  # largest optical depth by which one step may change a material
NEAR = 0.5  # below this length [optical depth] the likelihood's own step is taken from the start
NUM_FAR = 8  # and after this many steps always
RIDGE = 1e-6  # keeps a matrix of rank one (all photons of one energy) solvable


@dataclass(frozen=True)
class Problem:
    """Counts per incident photon and what is needed to model them, in one dtype on one device.

    counts (..., E);  spectra (N, E) or (..., N, E);  attenuation (N, M) [cm2/g];  low, high (M,) box [g/cm2];
    photons (...), which turn a likelihood of counts per photon into one of counts
    """

    counts: Tensor
    spectra: Tensor
    attenuation: Tensor
    low: Tensor
    high: Tensor
    photons: Tensor | float = 1.0

    @cached_property
    def tables(self) -> Tensor:
        """What `moments` needs, (N, C E) or (..., N, C E)."""
        return moment_tables(self.attenuation, self.spectra)

    def rows(self, index: Tensor) -> "Problem":
        """Some of the pixels of a problem whose counts are (P, E), with spectra (N, E) or (P, N, E)."""
        shared = self.spectra.ndim == 2
        part = replace(
            self, counts=self.counts[index], photons=self.photons[index],
            spectra=self.spectra if shared else self.spectra[index],
        )  # fmt: skip
        part.__dict__.update(scale=self.scale, tables=self.tables if shared else self.tables[index])
        return part

    def wide(self) -> "Problem":
        """The same in double precision."""
        names = "counts", "spectra", "attenuation", "low", "high", "photons"
        return Problem(*(torch.as_tensor(getattr(self, n)).to(self.counts.device, torch.float64) for n in names))

    @cached_property
    def scale(self) -> Tensor:
        """Mean mass attenuation (M,) [cm2/g] of the detected photons: turns a step into optical depth."""
        seen = self.spectra.reshape(-1, *self.spectra.shape[-2:]).sum((0, 2))
        return (seen / seen.sum()) @ self.attenuation

    def depth(self, step: Tensor) -> Tensor:
        """Largest change of a material's optical depth (..., 1) in a step (..., M)."""
        return (step.abs() * self.scale).amax(-1, keepdim=True)

    def active(self, paths: Tensor, gradient: Tensor) -> Tensor:
        """Components (..., M) held by the box: on a bound, and a step against `gradient` would take them out."""
        return ((paths <= self.low) & (gradient > 0)) | ((paths >= self.high) & (gradient < 0))


def newton_step(problem: Problem, tables: Tensor, paths: Tensor, far: bool = False) -> Tensor:
    """Path lengths after one projected Newton step, {eq}`pcct-newton` and {cite}`bertsekas1982`.

        A <- box(A - c B^-1 g),    B = H where it is safely positive definite, else F, + 1e-6 diag F

    A component on a bound stays if the gradient or the step would take it out; B is that of the free ones. The factor
    c <= 1 keeps a step below `LIMIT`.
    far  where the step is longer than `NEAR`, take `log_step` instead
    """
    expected, jacobian, second = moments(paths, problem.attenuation, tables)
    g = score(problem.counts, expected, jacobian)
    matrices = curvature(problem.counts, expected, jacobian, second)
    free = ~problem.active(paths, g)
    step = free_step(*matrices, g, free)
    for _ in range(g.shape[-1] - 1):
        free = free & ~problem.active(paths, step)
        step = free_step(*matrices, g, free)
    if far:
        other = log_step(problem.counts, expected, jacobian, free)
        swap = (problem.depth(step) > NEAR) & other.isfinite().all(-1, keepdim=True)
        step = torch.where(swap, other, step)
    return (paths - step / (problem.depth(step) / LIMIT).clamp_min(1)).clamp(problem.low, problem.high)


def free_step(hessian: Tensor, fisher: Tensor, g: Tensor, free: Tensor) -> Tensor:
    """B^-1 g of the free components, 0 for the others."""
    hessian, fisher = small.pinned(hessian, free), small.pinned(fisher, free)
    safe = small.positive_definite(hessian, fisher)[..., None]
    return small.solve(torch.where(safe, hessian, fisher) + RIDGE * small.diagonal_pairs(fisher), g * free)


def log_step(counts: Tensor, expected: Tensor, jacobian: Tensor, free: Tensor) -> Tensor:
    """Gauss-Newton step for sum_i gamma_i (log lambda_i - log gamma_i)^2 / 2 on the free components.

    log lambda is nearly linear in A, so this step is right from far away, where those of the likelihood are too short
    (lambda > gamma) or too long. Its own minimum is not the maximum likelihood: it only gets near.
    """
    mean = expected.clamp_min(LEAST)
    relative = jacobian / mean[..., None, :]
    misfit = torch.xlogy(counts, mean) - torch.xlogy(counts, counts)
    _, matrix = curvature(
        mean, mean, relative * torch.sqrt(counts * mean)[..., None, :], torch.zeros_like(relative[..., :1, :])
    )
    matrix = small.pinned(matrix, free)
    return small.solve(matrix + RIDGE * small.diagonal_pairs(matrix), (relative * misfit[..., None, :]).sum(-1) * free)


def newton(problem: Problem, start: Tensor, max_iters: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Path lengths, number of steps and whether each pixel converged; a pixel that has converged stays.

    tolerance  a pixel has converged when its last step changed no material's optical depth by more
    """
    paths = start
    steps = torch.zeros(start.shape[:-1], dtype=torch.int32, device=start.device)
    done = torch.zeros(start.shape[:-1], dtype=torch.bool, device=start.device)
    for k in range(max_iters):
        moved = newton_step(problem, problem.tables, paths, far=k < NUM_FAR)
        sound = moved.isfinite().all(-1)
        moved = torch.where((sound & ~done)[..., None], moved, paths)
        steps += ~done
        done = done | sound & (problem.depth(moved - paths)[..., 0] <= tolerance)
        paths = moved
        if bool(done.all()):
            break
    return paths, steps, done
