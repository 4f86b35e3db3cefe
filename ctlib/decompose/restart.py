"""Pixels that Newton's steps leave in doubt: from several starts, with steps that never climb, in double precision."""

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from ctlib.decompose import small
from ctlib.decompose.newton import LIMIT, Problem
from ctlib.physics.moments import product

FEW = 5000.0  # counts in all bins together below which a likelihood may have more than one minimum
MISFIT = (
    0.01  # or where expected and measured counts differ by more than this share of all, in the sense of chi squared
)
FLAT = 0.5  # and the standard deviation of a path length [optical depth] from which on it may: measured 0.85
SAME = 1e-2  # minima that are closer than this [optical depth] are one
AHEAD = -3.0, 6.0  # optical depths of a material that a start adds, to be made up for by another one
ROUNDING = 1e-13  # of the terms of the likelihood: a difference below it is none
NATS = 1e-4  # what a step may still gain where a pixel has settled


class Local(NamedTuple):
    """The likelihood (...) of one photon, its terms' size (...), half its chi squared (...), gradient (..., M), and
    pairs of Hessian and Fisher."""

    value: Tensor
    size: Tensor
    misfit: Tensor
    gradient: Tensor
    hessian: Tensor
    fisher: Tensor


def local(problem: Problem, tables: Tensor, paths: Tensor) -> Local:
    """The likelihood around path lengths, from log lambda: the largest transmission is taken out before the sum."""
    y, num = problem.counts, paths.shape[-1]
    depth = -paths @ problem.attenuation.T
    most = depth.amax(-1, keepdim=True)
    out = product((depth - most).clamp_min(-600).exp(), tables).unflatten(-1, (1 + num + num * (num + 1) // 2, -1))
    shares = out[..., 0, :].clamp_min(1e-300)
    log = most + shares.log()
    mean = log.clamp_max(300).exp()
    relative = out[..., 1:, :] / shares[..., None, :]
    first, second = relative[..., :num, :], relative[..., num:, :]
    rows, cols = torch.triu_indices(num, num)
    pairs, excess = first[..., rows, :] * first[..., cols, :], (mean - y)[..., None, :]
    hessian = (y[..., None, :] * pairs + excess * second).sum(-1)
    fisher = (mean[..., None, :] * pairs).sum(-1)
    value, size = (mean - y * log).sum(-1), (mean + y * log.abs()).sum(-1)
    misfit = ((mean - y) ** 2 / (mean + y).clamp_min(1e-300)).sum(-1)
    return Local(value, size, misfit, (excess * first).sum(-1), hessian, fisher)


def held_step(problem: Problem, at: Local, paths: Tensor, damping: Tensor) -> Tensor:
    """Newton's step (..., M) of the components that neither gradient nor step takes out of the box, damped."""
    free = ~problem.active(paths, at.gradient)
    for _ in range(paths.shape[-1]):
        hessian, fisher = small.pinned(at.hessian, free), small.pinned(at.fisher, free)
        safe = small.positive_definite(hessian, fisher)[..., None]
        matrix = torch.where(safe, hessian, fisher) + (1e-9 + damping)[..., None] * small.diagonal_pairs(fisher)
        step = small.solve(matrix, at.gradient * free)
        free = free & ~problem.active(paths, step)
    return torch.where(free, step, 0.0)


def descend(problem: Problem, paths: Tensor, max_iters: int, tolerance: float):
    """Local minima (P, M) from starts, their likelihoods, steps, and whether they have settled; pixels by themselves.

    Levenberg's damping: a step is taken only where the likelihood falls, else the next one is shorter.
    """
    at, paths = local(problem, problem.tables, paths), paths.clone()
    damping, steps = torch.zeros_like(at.value), torch.zeros(len(paths), dtype=torch.int32, device=paths.device)
    done, left = torch.zeros_like(steps, dtype=torch.bool), torch.arange(len(paths), device=paths.device)
    values, part, x = at.value.clone(), problem, paths
    for _ in range(max_iters):
        step = held_step(part, at, x, damping)
        moved = (x - step / (part.depth(step) / LIMIT).clamp_min(1)).clamp(part.low, part.high)
        new = local(part, part.tables, moved)
        down = (new.value <= at.value + ROUNDING * at.size) & moved.isfinite().all(-1)
        small_step = part.depth(moved - x)[..., 0] <= tolerance
        x, at = torch.where(down[:, None], moved, x), Local(*(_where(down, n, o) for n, o in zip(new, at, strict=True)))
        closed = down & small_step & (damping < 0.1) & settled(part, at, x, tolerance)
        steps[left] += 1
        paths[left], values[left], done[left] = x, at.value, closed
        damping = torch.where(down, torch.where(damping < 1e-4, 0.0, damping / 8), (8 * damping).clamp_min(1e-2))
        keep = torch.nonzero(~closed)[:, 0]
        if not len(keep):
            break
        left, x, damping, part = left[keep], x[keep], damping[keep], part.rows(keep)
        at = Local(*(t[keep] for t in at))
    return paths, values, steps, done


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)


def settled(problem: Problem, at: Local, paths: Tensor, tolerance: float) -> Tensor:
    """Where the projected gradient is small: what a step could still gain is no more than `NATS`, or rounding."""
    free = ~problem.active(paths, at.gradient)
    fisher = small.pinned(at.fisher, free)
    g = at.gradient * free
    gain = 0.5 * (g * small.solve(fisher + 1e-9 * small.diagonal_pairs(fisher), g)).sum(-1) * problem.photons
    total = problem.counts.sum(-1) * problem.photons
    return paths.isfinite().all(-1) & (gain <= NATS + max(1e-9, tolerance**2) * total)


def doubtful(problem: Problem, at: Local) -> Tensor:
    """Where the likelihood may have other minima: a misfit, or few counts and a path length that they do not tell."""
    wide = small.full(at.fisher) / (problem.scale[:, None] * problem.scale)
    sound = wide.isfinite().all(-1).all(-1)
    least = torch.linalg.eigvalsh(torch.where(sound[..., None, None], wide, 0.0))[..., 0] * problem.photons
    total = problem.counts.sum(-1)
    few = total * problem.photons < FEW
    return ~sound | ~(at.misfit <= MISFIT * total) | few & ~(least > FLAT**-2)


def starts(problem: Problem) -> Tensor:
    """Path lengths (3 M - 2, P, M) with the counts of all bins together: one material alone, for each, and `AHEAD`.

    Chosen among 28 kinds of starts: they miss the lowest minimum in 1 of 3000 pixels of three materials.
    """
    num, zero = len(problem.low), problem.counts.new_zeros(*problem.counts.shape[:-1], len(problem.low))
    filler = int(problem.scale.argmin())
    found = [matched(problem, zero.clamp(problem.low, problem.high), k) for k in range(num)]
    for k, depth in itertools.product(set(range(num)) - {filler}, AHEAD):
        more = zero.clone()
        more[..., k] = depth / problem.scale[k]
        found.append(matched(problem, more.clamp(problem.low, problem.high), filler))
    return torch.stack(found)


def matched(problem: Problem, paths: Tensor, material: int, num_iters: int = 12) -> Tensor:
    """Path lengths with that of one material changed until the counts of all bins together fit, inside the box."""
    seen, paths = problem.spectra.sum(-1), paths.clone()
    goal = torch.maximum(problem.counts.sum(-1), 1e-9 * seen.sum(-1)).log()
    for _ in range(num_iters):
        depth = -paths @ problem.attenuation.T
        most = depth.amax(-1, keepdim=True)
        passed = (depth - most).clamp_min(-600).exp() * seen
        total = passed.sum(-1)
        change = (most[..., 0] + total.log() - goal) * total / (passed @ problem.attenuation[:, material])
        paths[..., material] = (paths[..., material] + change).clamp(problem.low[material], problem.high[material])
    return paths


def lowest(problem: Problem, candidates: Tensor, max_iters: int, tolerance: float, descend=descend):
    """The lowest minimum (P, M) from starts (K, P, M), its steps, whether it settled, and whether there are others.

    descend  what finds the minimum near a start
    """
    num = len(candidates)
    every = problem.rows(torch.arange(len(problem.counts), device=candidates.device).repeat(num))
    found = descend(every, candidates.flatten(0, 1), max_iters, tolerance)
    paths, values, steps, done = (t.unflatten(0, (num, -1)) for t in found)
    best = values.nan_to_num(torch.inf).argmin(0)
    paths_best = paths.gather(0, best[None, :, None].expand(1, *paths.shape[1:]))[0]
    apart = problem.depth(paths - paths_best)[..., 0] > SAME
    pick = lambda t: t.gather(0, best[None])[0]  # noqa: E731
    return paths_best, pick(steps), pick(done), (apart & done).any(0)
