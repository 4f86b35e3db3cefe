"""Calibration of drifted thresholds from what the decomposition, or the image made of it, gets wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose.mle import decompose_mle
from ctlib.errors import ConvergenceError
from ctlib.physics.model import SpectralModel

OPTIMIZERS = ("lbfgs", "adam_l1", "adam_l2")
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class Calibration:
    """What a calibration found, and how.

    shift_kev  (..., E) the shift of the thresholds with the least objective [keV]
    losses     objective at every evaluation
    path_kev   (S, ..., E) shift at every evaluation [keV]
    """

    shift_kev: Tensor
    losses: list[float]
    path_kev: Tensor


def corrected(thresholds_kev: Tensor, shift_kev: Tensor) -> Tensor:
    """Thresholds D_b - dD (..., E + 1) [keV] for shifts dD (..., E); the top one, which closes the last bin, stays."""
    contract.tensor("thresholds_kev", thresholds_kev, (None,))
    contract.tensor("shift_kev", shift_kev, (thresholds_kev.shape[-1] - 1,))
    lead = torch.Size((*shift_kev.shape[:-1], thresholds_kev.shape[-1]))
    contract.spreads("thresholds_kev", contract.alike("thresholds_kev", thresholds_kev, "shift_kev", shift_kev), lead)
    whole = thresholds_kev.expand(lead)
    return torch.cat([whole[..., :-1] - shift_kev, whole[..., -1:]], -1)


def thickness_residual(
    model: SpectralModel, counts: Tensor, reference: Tensor, thresholds_kev: Tensor, box
) -> Callable[[Tensor], Tensor]:
    """The misfit of {eq}`pcct-thickness` as a function of the shift: A*(counts, D_b - dD) - A_ref (..., M) [g/cm2].

    reference       known path lengths (..., M) behind the counts (..., E)
    thresholds_kev  D_b (E + 1,): what the model believes
    """
    return lambda shift: decompose_mle(model, counts, box, thresholds_kev=corrected(thresholds_kev, shift)) - reference


def image_residual(
    model: SpectralModel, reconstruct, paths: Tensor, counts: Tensor, columns, reference: Tensor, thresholds_kev, box
) -> Callable[[Tensor], Tensor]:
    """The misfit of {eq}`pcct-image` as a function of the shift (C, E): images of the path lengths minus a reference.

    reconstruct  path lengths (V, U, M) [g/cm2] -> densities (M, Y, X) [g/cm3], differentiable
    paths        those of all detector pixels; the biased ones' are replaced
    counts       (V, C, E) of the biased pixels, `columns` (C,) of the detector: only they are solved again
    reference    (M, Y, X) densities [g/cm3]
    """
    index = torch.as_tensor(columns, device=paths.device)

    def residual(shift: Tensor) -> Tensor:
        solved = decompose_mle(model, counts, box, thresholds_kev=corrected(thresholds_kev, shift))  # (V, C, M)
        return reconstruct(paths.index_copy(1, index, solved)) - reference

    return residual


def calibrate(
    residual: Callable[[Tensor], Tensor],
    start_kev: Tensor,
    optimizer: str = "lbfgs",
    num_iters: int = 60,
    lr: float = 0.05,
    schedule: str = "constant",
) -> Calibration:
    """The shift of least mean square (or, "adam_l1", mean absolute) residual, by a gradient method, {cite}`wang2026`.

    optimizer  "lbfgs" with a strong Wolfe line search, {cite}`nocedal2006`; "adam_l1" or "adam_l2"
    num_iters  iterations; L-BFGS may stop earlier
    lr         of Adam [keV a step]
    schedule   of that rate: "constant", or "cosine", which ends at 0: without, steps on the absolute error stay as long
    """
    contract.choice("optimizer", optimizer, OPTIMIZERS)
    contract.choice("schedule", schedule, SCHEDULES)
    contract.tensor("start_kev", start_kev)
    num_iters, lr = contract.count("num_iters", num_iters, 1), contract.number("lr", lr, above=0)
    shift = start_kev.detach().clone().requires_grad_()
    losses, path = [], []
    rule = _rule(optimizer, shift, num_iters, lr)

    def closure():
        rule.zero_grad()
        r = residual(shift)
        loss = r.abs().mean() if optimizer == "adam_l1" else r.square().mean()
        loss.backward()
        losses.append(float(loss.detach()))
        path.append(shift.detach().clone())
        return loss

    for k in range(1 if optimizer == "lbfgs" else num_iters):
        if optimizer != "lbfgs" and schedule == "cosine":
            rule.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * k / num_iters))
        rule.step(closure)
    best = min(range(len(losses)), key=lambda i: losses[i] if math.isfinite(losses[i]) else math.inf)
    if not math.isfinite(losses[best]):
        raise ConvergenceError("calibrate: the objective is not finite at the start")
    return Calibration(path[best], losses, torch.stack(path))


def _rule(optimizer: str, shift: Tensor, num_iters: int, lr: float) -> torch.optim.Optimizer:
    if optimizer != "lbfgs":
        return torch.optim.Adam([shift], lr=lr)
    return torch.optim.LBFGS(
        [shift], lr=1.0, max_iter=num_iters, tolerance_grad=1e-14, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )


def threshold_jacobian(model: SpectralModel, counts: Tensor, thresholds_kev: Tensor, box) -> Tensor:
    """dA*/dD (P, M, E) [g/cm2 per keV] of every pixel's solution for counts (P, E); the top threshold is left out.

    Every pixel gets thresholds of its own, so that one backward pass gives one material's row of all pixels.
    """
    own = thresholds_kev.detach().to(counts).repeat(len(counts), 1).requires_grad_()
    paths = decompose_mle(model, counts, box, thresholds_kev=own)
    rows = [torch.autograd.grad(paths[:, k].sum(), own, retain_graph=True)[0] for k in range(paths.shape[1])]
    return torch.stack(rows, 1)[..., :-1]


def reached(calibration: Calibration, truth: float, within: float) -> int:
    """Evaluations (1 and more) after which all shifts stay within so many keV of the truth; 0: never."""
    off = (calibration.path_kev - truth).abs().flatten(1).amax(1) > within
    last = int(torch.nonzero(off)[-1]) + 1 if bool(off.any()) else 0
    return last + 1 if last < len(off) else 0
