"""Pulses that pile up within a dead time, as a differentiable model; its decomposition, and its calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose.likelihood import negative_log_likelihood
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.implicit import attach_root
from ctlib.physics.model import SpectralModel

CLASSES = 512  # energy classes of the recorded pulses
LEAST = 1e-12


@dataclass(frozen=True)
class PileUp:
    """Counts of a detector whose pulses add up when they come within a dead time of each other.

        n = pulses a dead time = load sum_j s_j(A),  q = exp(-n),  p = 1 - q
        recorded spectrum = q n (q s / (1 - p s)),    products as convolutions in energy

    A cluster ends after a dead time without a pulse; it is counted once, with the sum of the energies of its pulses.

    model      without pile-up; its detector's pulses are sorted into classes of step_kev from trigger_kev on
    """

    model: SpectralModel
    trigger_kev: float = 5.0
    step_kev: float = 1.0

    def __post_init__(self):
        trigger = contract.number("trigger_kev", self.trigger_kev, above=0)
        step = contract.number("step_kev", self.step_kev, above=0)
        if abs(trigger / step - round(trigger / step)) > 1e-9 or CLASSES * step < 3 * self._top():
            raise ArgumentError(
                "step_kev", step, f"a divisor of the trigger, of which {CLASSES} span three tube voltages"
            )

    def _top(self) -> float:
        return float(self.model.spectrum.edges_kev[-1]) + 10

    @cached_property
    def classes(self) -> Tensor:
        """Pulses (N, C) in every class per photon of each energy of the spectrum, weights included; 0 below trigger."""
        edges = torch.arange(self.trigger_kev, self._top(), self.step_kev, dtype=torch.float64)
        fine = self.model.replace(thresholds_kev=edges, photons=1.0).bin_spectra().detach()
        below = fine.new_zeros(len(fine), round(self.trigger_kev / self.step_kev))
        return torch.cat([below, fine], 1)

    def __call__(self, paths: Tensor, load: Tensor, thresholds_kev: Tensor | None = None) -> Tensor:
        """Expected counts (..., E) at path lengths (..., M) [g/cm2].

        load  photons of the open beam a dead time, a number or (...)
        Between the edges of the classes counts are linear in a threshold, so its derivative jumps at them.
        """
        contract.tensor("paths", paths, (self.model.num_materials,))
        edges = self.model.thresholds_kev if thresholds_kev is None else thresholds_kev
        pulses = torch.exp(-paths @ self.model.attenuation.to(paths).mT) @ self.classes.to(paths)  # (..., C)
        total = pulses.sum(-1, keepdim=True)
        load = torch.as_tensor(load).to(paths)
        n = load[..., None] * total if load.ndim else load * total
        quiet = torch.exp(-n)
        shape = torch.fft.rfft(pulses / total.clamp_min(LEAST), n=CLASSES)
        w = torch.arange(shape.shape[-1], dtype=paths.dtype) * (2 * torch.pi / CLASSES)
        middle = torch.complex(0.5 * (1 + torch.cos(w)), -0.5 * torch.sin(w))  # two middles of classes add to an edge
        recorded = torch.fft.irfft(quiet * shape / (1 - (1 - quiet) * shape * middle), n=CLASSES)
        per_photon = total * quiet * recorded
        above = torch.cat([per_photon.flip(-1).cumsum(-1).flip(-1), torch.zeros_like(total)], -1)
        at = (edges.to(paths) / self.step_kev).clamp(0, CLASSES - 1)
        low = at.detach().floor().long().clamp_max(CLASSES - 1)
        part = at - low
        height = above[..., low] * (1 - part) + above[..., low + 1] * part
        return self.model.photons_as(paths) * (height[..., :-1] - height[..., 1:])


def decompose(
    expected: Callable[..., Tensor],
    counts: Tensor,
    start: Tensor,
    *theta: Tensor,
    max_iters: int = 60,
    tol: float = 1e-9,
) -> Tensor:
    """Maximum-likelihood path lengths (P, M) of any differentiable model, with the implicit gradient to theta.

        A <- A - F^-1 g,    g the gradient of the likelihood, F its Fisher information

    expected  expected(paths (P, M), *theta) -> counts (P, E), every reading by itself
    start     (P, M); theta: tensors of the model. The counts are constants.
    ConvergenceError where a step after max_iters is longer than tol [g/cm2].
    """
    contract.tensor("start", start, (None,))
    counts = contract.tensor("counts", counts, (None,)).detach()
    fixed = [t.detach() for t in theta]
    f = lambda a: expected(a, *fixed)  # noqa: E731
    units = torch.eye(start.shape[-1]).to(start)
    paths = start.detach().clone()
    for _ in range(contract.count("max_iters", max_iters, 1)):
        pairs = [torch.func.jvp(f, (paths,), (u.expand_as(paths),)) for u in units]
        value, slope = pairs[0][0].clamp_min(LEAST), torch.stack([s for _, s in pairs], -1)  # (P, E, M)
        g = ((1 - counts / value)[..., None] * slope).sum(-2)
        fisher = slope.mT @ (slope / value[..., None])
        step = torch.linalg.solve(fisher, g)
        step = step * (2.0 / step.abs().amax(-1, keepdim=True).clamp_min(2.0))  # 2 g/cm2 at most
        paths = paths - step
        if float(step.abs().max()) < tol:
            break
    else:
        raise ConvergenceError(f"decompose: a step of {float(step.abs().max()):.1e} g/cm2 after {max_iters}")
    return attach_root(paths, partial(_score, expected, counts), *theta)


def _score(expected: Callable, counts: Tensor, paths: Tensor, *theta: Tensor) -> Tensor:
    nll = lambda a: negative_log_likelihood(expected(a, *theta), counts).sum()  # noqa: E731
    return torch.func.grad(nll)(paths)


def pileup_residual(piled: PileUp, counts: Tensor, reference: Tensor, believed: Tensor) -> Callable[[Tensor], Tensor]:
    """Misfit of path lengths (P, M) as a function of (1 + E,) numbers: load, and the shifts of the thresholds [keV].

    counts (P, E) of known path lengths `reference`; believed  thresholds (E + 1,) [keV]
    """

    def expected(paths, load, shift):
        edges = torch.cat([believed[:-1] - shift, believed[-1:]])
        return piled(paths, load, edges)

    return lambda x: decompose(expected, counts, reference, x[0], x[1:]) - reference
