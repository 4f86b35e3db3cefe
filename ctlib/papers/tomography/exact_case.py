"""A case whose posterior is known exactly, Gaussian images and linear data, and generators trained on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.tomography.courses import look_every
from ctlib.papers.tomography.losses import data_term, two_sample_kl
from ctlib.papers.tomography.proper import energy_score, many_sample_kl
from ctlib.projector import Projector

REACH = 2.0  # correlation length of the images [pixels]
LOSSES = ("equation 1", "KL", "KL unbiased", "KL of four", "energy score")
PARTS = ("rays", "pixels", "within 68 %", "covariance", "mean")  # of `judged_exactly`


@dataclass(frozen=True)
class ExactCase:
    """Images x ~ N(0, C) of n x n pixels, data y = A x + N(0, noise^2), all float64.

    A         (M, N) rays, from few views;  root  (N, N) with C = root root^T
    gain      (N, M): the posterior's mean is gain y;  cov  (N, N): its covariance, the same for every y
    """

    n: int
    noise: float
    A: Tensor
    root: Tensor
    gain: Tensor
    cov: Tensor

    @property
    def ray_sd(self) -> Tensor:
        """Posterior deviation of every noise-free ray (M,)."""
        return (self.A @ self.cov @ self.A.T).diagonal().sqrt()

    @property
    def pixel_sd(self) -> Tensor:
        """Posterior deviation of every pixel (N,)."""
        return self.cov.diagonal().sqrt()

    def drawn(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (num, N) and their data (num, M)."""
        x = torch.randn(num, len(self.root), generator=generator, dtype=torch.float64) @ self.root.T
        return x, x @ self.A.T + self.noise * torch.randn(num, len(self.A), generator=generator, dtype=torch.float64)


def exact_case(noise: float, n: int = 8, views: int = 6) -> ExactCase:
    """The case of a noise level: correlated images, n x n pixels of size 1, and rays of `views` views."""
    noise, n = contract.number("noise", noise, above=0, at_most=1e6), contract.count("n", n, 2)
    projector = Projector(ParallelBeam(Volume((n, n), 1.0), contract.count("views", views, 1), n, 1.0))
    eye = torch.eye(n * n, dtype=torch.float64)
    A = projector(eye.reshape(-1, n, n)).flatten(1).T
    place = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64),) * 2)
    C = (-0.5 * (torch.cdist(place, place) / REACH).square()).exp() + 0.01 * eye
    gain = torch.linalg.solve(A @ C @ A.T + noise**2 * torch.eye(len(A), dtype=torch.float64), A @ C).T
    cov = C - gain @ A @ C
    return ExactCase(n, noise, A, torch.linalg.cholesky(C), gain, (cov + cov.T) / 2)


def trained_generator(
    case: ExactCase, kind: str, seed: int = 0, steps: int = 800, batch: int = 64, lr: float = 0.02,
    look: Callable[[int, tuple[Tensor, Tensor]], None] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(B, M) of the generator x = B y + M z, z ~ N(0, 1), M trained with one loss: (N, M) and (N, N).

    B stays the gain, the posterior's mean: a loss of rays sees it in the rays alone, and an optimizer that scales every
    entry by itself would spoil it where no ray sees. M starts at random; with a root of the covariance the generator is
    the posterior.

    look  look(step, (B, M)) before the first step, now and then, and after the last one
    """
    contract.choice("kind", kind, LOSSES)
    steps, batch = contract.count("steps", steps, 1), contract.count("batch", batch, 1)
    source = torch.Generator().manual_seed(contract.seed("seed", seed))
    num, n, B = len(case.root), case.n, case.gain
    M = (0.5 / math.sqrt(num) * torch.randn(num, num, generator=source, dtype=torch.float64)).requires_grad_()
    optimizer = torch.optim.Adam([M], lr)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    J, sigma = 4 if kind == "KL of four" else 2, case.ray_sd
    for step in range(steps):
        if look is not None and step % look_every(steps) == 0:
            look(step, (B, M.detach()))
        truth, y = case.drawn(batch, source)
        x = y @ B.T + torch.randn(J, batch, num, generator=source, dtype=torch.float64) @ M.T
        if kind == "energy score":
            loss = energy_score(x.unflatten(-1, (n, n)), truth.unflatten(-1, (n, n)), (1, n // 3, 0))
        else:
            seen, mu = x @ case.A.T, y @ (case.A @ case.gain).T
            loss = {
                "equation 1": lambda s=seen, m=mu: data_term(s, m, sigma),
                "KL": lambda s=seen, m=mu: two_sample_kl(s[0], s[1], m, sigma),
                "KL unbiased": lambda s=seen, m=mu: two_sample_kl(s[0], s[1], m, sigma, estimator="unbiased"),
                "KL of four": lambda s=seen, m=mu: many_sample_kl(s, m, sigma),
            }[kind]()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
    if look is not None:
        look(steps, (B, M.detach()))
    return B, M.detach()


def judged_exactly(case: ExactCase, trained: tuple[Tensor, Tensor]) -> Mapping[str, float]:
    """What a generator's law is beside the posterior's: both are Gaussian, so nothing is sampled.

    rays, pixels   median of the deviation over the posterior's
    within 68 %    share of pixels' truths in the generator's central interval of 68 %, over images and noise
    covariance     |M M^T - cov| / |cov|;  mean  root mean square error of B y over that of the posterior's mean
    """
    B, M = trained
    law = M @ M.T
    sd = law.diagonal().sqrt()
    full = case.root @ case.root.T
    off = torch.eye(len(full), dtype=full.dtype) - B @ case.A  # x - B y = off x - B noise
    error = (off @ full @ off.T + case.noise**2 * B @ B.T).diagonal().sqrt()
    half = float(torch.special.ndtri(torch.tensor(0.84, dtype=torch.float64)))
    inside = torch.erf(half * sd / error / math.sqrt(2))
    ray_sd = (case.A @ law @ case.A.T).diagonal().sqrt()
    return {
        "rays": float((ray_sd / case.ray_sd).median()),
        "pixels": float((sd / case.pixel_sd).median()),
        "within 68 %": float(inside.mean()),
        "covariance": float((law - case.cov).norm() / case.cov.norm()),
        "mean": float((error.square().mean() / case.cov.diagonal().mean()).sqrt()),
    }


def judged_losses(noise: Sequence[float], steps: int) -> dict[tuple[float, str], dict[int, Mapping[str, float]]]:
    """By (noise level, loss) `judged_exactly` by step of a generator that it trains; the last is the result."""
    found = {}
    for level in contract.numbers("noise", noise, above=0):
        case = exact_case(level)
        for m in LOSSES:
            seen = found[level, m] = {}
            look = lambda k, made, s=seen, c=case: s.update({k: judged_exactly(c, made)})  # noqa: E731
            trained_generator(case, m, steps=steps, look=look)
    return found
