"""Digital readings of few photons, and what a reading says about the line integral of its ray."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.physics.counts import line_integrals_from_counts, transmission_counts

RAREST = 1e-16  # the sum over photons leaves out less than this


@dataclass(frozen=True)
class Readings:
    """How line integrals become integers, {cite}`ronchetti2020`.

        q ~ Poisson(e^(s - y)) + N(0, eps^2),    r = clamp(round(q / k), 0, 2^b - 1)

    signal          s, log of the photons of an unattenuated ray
    electronic_std  eps [photons]
    bits, step      b, and k [photons]
    """

    signal: float
    electronic_std: float
    bits: int = 12
    step: float = 1.0

    def __post_init__(self):
        given = {"signal": contract.number("signal", self.signal, at_least=-100, at_most=100)}
        given |= {"electronic_std": contract.number("electronic_std", self.electronic_std, at_least=0)}
        given |= {"bits": contract.count("bits", self.bits, 1, 20), "step": contract.number("step", self.step, above=0)}
        for name, value in given.items():
            object.__setattr__(self, name, value)

    @property
    def photons(self) -> float:
        """Mean photons of an unattenuated ray, e^s."""
        return math.exp(self.signal)

    @property
    def num_levels(self) -> int:
        """2^b."""
        return 2**self.bits

    def sample(self, y: Tensor, generator: torch.Generator) -> Tensor:
        """Readings r of line integrals y of any shape: integers, in y's type. The generator is on y's device."""
        if contract.somewhere(~(contract.tensor("y", y) > -math.inf)):
            raise ArgumentError("y", "NaN or minus infinity", "line integrals")
        read = transmission_counts(y, self.photons, generator, self.electronic_std, 1 / self.step, self.bits)
        return (read / self.step).round()

    def line_integrals(self, r: Tensor, floor: float = 0.5) -> Tensor:
        """s - log(k r), readings below `floor` taken as `floor`: the log alone, biased where photons are few."""
        r, floor = contract.tensor("r", r), contract.number("floor", floor, above=0)
        return line_integrals_from_counts(self.step * r, self.photons, self.step * floor)

    def likelihood(self, y: Tensor) -> Tensor:
        """p(r | y) of every reading, {eq}`gtr-likelihood`: (N,) line integrals -> (N, 2^b) float64, rows sum to 1.

        p(r | y) = sum_n Poisson(n; e^(s-y)) P(r | n photons)
        """
        if contract.tensor("y", y).ndim != 1 or not y.numel() or not bool(torch.isfinite(y).all()):
            raise ArgumentError("y", tuple(y.shape), "finite line integrals (N,)")
        mean = torch.exp(self.signal - y.double())
        most = float(mean.max())
        n = torch.arange(math.ceil(most + 10 * math.sqrt(most) + 30), dtype=torch.float64, device=y.device)
        poisson = torch.exp(n * mean.log()[:, None] - mean[:, None] - torch.lgamma(n + 1))
        return poisson @ self._converted(n)

    def _converted(self, n: Tensor) -> Tensor:
        """P(r | n photons): (num, 2^b). The first and the last reading take the tails."""
        if self.electronic_std == 0:
            r = (n / self.step).round().clamp(0, self.num_levels - 1)
            return torch.nn.functional.one_hot(r.long(), self.num_levels).to(n)
        edges = self.step * (torch.arange(self.num_levels + 1, dtype=n.dtype, device=n.device) - 0.5)
        edges[0], edges[-1] = -math.inf, math.inf
        low, high = ((e - n[:, None]) / self.electronic_std for e in (edges[:-1], edges[1:]))
        flip = low > 0  # Phi(b) - Phi(a) = Phi(-a) - Phi(-b), which keeps its digits in the upper tail
        return torch.special.ndtr(torch.where(flip, -low, high)) - torch.special.ndtr(torch.where(flip, -high, low))


@dataclass(frozen=True, eq=False)
class PosteriorTable:
    """E[y | r] and its standard deviation for every reading of one ray: mu, sigma (2^b,) [1], and p(r), the evidence.

    Readings rarer than `RAREST` under the prior hold the values of the nearest that is not.
    """

    mu: Tensor
    sigma: Tensor
    evidence: Tensor

    def __call__(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """(mu0(r), sigma0(r)) of readings of any shape, on their device and in their type (float64 for integers)."""
        dtype = r.dtype if isinstance(r, Tensor) and r.is_floating_point() else self.mu.dtype
        r = contract.tensor("r", r, promote=True)
        index, known = r.nan_to_num(0).clamp(0, len(self.mu) - 1).long(), ~r.isnan()
        found = (torch.where(known, t.to(r.device)[index], math.nan).to(dtype) for t in (self.mu, self.sigma))
        return tuple(found)


def posterior_table(readings: Readings, y: Tensor, weight: Tensor) -> PosteriorTable:
    """What a single reading knows: mean and standard deviation of y given r, {eq}`gtr-table`, in float64.

        mu0(r) = sum_y w p(r|y) y / sum_y w p(r|y),    sigma0^2(r) = sum_y w p(r|y) (y - mu0)^2 / sum_y w p(r|y)

    y, weight  line integrals (N,) and their prior probabilities, as from `line_integral_prior`
    """
    _check_prior(y, weight)
    if (
        y.ndim != 1
        or weight.shape != y.shape
        or not bool(((weight >= 0) & weight.isfinite()).all())
        or not float(weight.sum()) > 0
    ):
        raise ArgumentError("weight", tuple(weight.shape), f"weights >= 0, not all 0, for y of shape {tuple(y.shape)}")
    y, weight = y.double(), weight.double() / weight.double().sum()
    joint = weight[:, None] * readings.likelihood(y)  # (N, 2^b)
    evidence = joint.sum(0)
    mu = (joint * y[:, None]).sum(0) / evidence
    variance = (joint * (y[:, None] - mu).square()).sum(0) / evidence
    nearest = _nearest_true(evidence > RAREST)
    return PosteriorTable(mu[nearest], variance.sqrt()[nearest], evidence)


def _check_prior(y: Tensor, weight: Tensor) -> None:
    """Line integrals (N,) and their weights, which may be of another dtype: both are taken to float64."""
    y, weight = contract.tensor("y", y, ("N",)), contract.tensor("weight", weight, ("N",))
    if y.shape != weight.shape or y.ndim != 1 or y.device != weight.device:
        raise ArgumentError(
            "weight", f"{tuple(weight.shape)} on {weight.device}", f"{tuple(y.shape)} on {y.device}, as y"
        )


def _nearest_true(known: Tensor) -> Tensor:
    """For every place the nearest one where `known` (R,) holds, the lower of two; some must."""
    places = torch.nonzero(known)[:, 0]
    i = torch.arange(len(known), device=known.device)
    right = torch.searchsorted(places, i).clamp_max(len(places) - 1)
    left = (right - 1).clamp_min(0)
    return torch.where((i - places[left]).abs() <= (places[right] - i).abs(), places[left], places[right])


def line_integral_prior(y: Tensor, num_bins: int = 512) -> tuple[Tensor, Tensor]:
    """Empirical prior of line integrals: per occupied bin their mean and their share, (N,) each, float64.

    The mean of the prior is that of the samples; rays through air alone keep a point of their own at 0.
    """
    y, num_bins = contract.tensor("y", y).detach().double().flatten(), contract.count("num_bins", num_bins, 1)
    if not y.numel() or not bool(torch.isfinite(y).all()):
        raise ArgumentError("y, num_bins", (y.numel(), num_bins), "finite line integrals and a number >= 1")
    low, high = float(y.min()), float(y.max())
    bins = ((y - low) / max(high - low, 1e-300) * num_bins).long().clamp_max(num_bins - 1)
    bins = torch.where(y == 0, num_bins, bins)
    count = torch.bincount(bins, minlength=num_bins + 1).double()
    total = torch.zeros_like(count).index_add_(0, bins, y)
    used = count > 0
    return total[used] / count[used], count[used] / y.numel()


def converter_step(
    readings: Readings, y: Tensor, weight: Tensor, almost: float = 0.1, certainty: float = 0.99
) -> int:  # fmt: skip
    """Smallest whole k at which a reading at the ceiling is an (almost) unattenuated ray: P(y <= almost | top) high.

    readings   its own step is not looked at;  y, weight  the prior, as in `posterior_table`
    certainty  the posterior probability that is asked for; a ceiling that is never reached is no loss either
    """
    _check_prior(y, weight)
    almost, certainty = contract.number("almost", almost), contract.number("certainty", certainty, above=0, at_most=1)
    if y.shape != weight.shape or y.ndim != 1 or not bool(torch.isfinite(weight).all()):
        raise ArgumentError("weight", tuple(weight.shape), f"finite, (N,) as y, {tuple(y.shape)}")
    if not bool((y <= almost).any()):
        raise ArgumentError("almost", almost, f"at least the smallest line integral of the prior, {float(y.min()):g}")
    k = 1
    while True:
        at = Readings(readings.signal, readings.electronic_std, readings.bits, k)
        top = weight.double() * at.likelihood(y)[:, -1]
        if float(top.sum()) < 1e-12 or float(top[y <= almost].sum() / top.sum()) >= certainty:
            return k
        k += 1
