"""A generator of one number: what each loss makes of samples when nothing but the loss decides."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.losses import two_sample_kl
from ctlib.papers.tomography.lowest_law import semicircle_cdf
from ctlib.papers.tomography.proper import energy_score, many_sample_kl

BATCH = 1024  # draws a step


def of_kind(kind: str, eta: float = 0.0) -> tuple[int, Callable[[Tensor, Tensor], Tensor]]:
    """(samples a draw, loss of samples (J, B) and truths (B,)) of a loss by name."""
    target = torch.zeros(()), torch.ones(())  # mean and deviation
    kinds = {
        "KL": (2, lambda y, _: two_sample_kl(y[0], y[1], *target, eta=eta)),
        "KL unbiased": (2, lambda y, _: two_sample_kl(y[0], y[1], *target, estimator="unbiased", eta=eta)),
        "KL of four": (4, lambda y, _: many_sample_kl(y, *target, eta=eta)),
        "energy score": (2, lambda y, x: energy_score(y[..., None, None], x[..., None, None], (1,))),
    }
    return kinds[contract.choice("kind", kind, tuple(kinds))]


def trained_numbers(kind: str, seed: int = 0, steps: int = 1500, eta: float = 0.0, num: int = 50_000) -> Tensor:
    """Sorted samples (num,) of a network of one number, trained so that N(0, 1) is asked of it.

    kind  "KL", "KL unbiased", "KL of four": the KL term; "energy score": against draws of N(0, 1)
    """
    steps, num = contract.count("steps", steps, 1), contract.count("num", num, 1)
    per_draw, loss = of_kind(kind, eta)
    make = lambda: nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))  # noqa: E731
    net, source = seeded(seed, make), torch.Generator().manual_seed(contract.seed("seed", seed))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        z = torch.randn(per_draw, BATCH, generator=source)
        value = loss(net(z[..., None])[..., 0], torch.randn(BATCH, generator=source))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        rate.step()
    with torch.no_grad():
        return net(torch.randn(num, 1, generator=source))[:, 0].sort().values


def distance_to(law: str, sorted_samples: Tensor) -> float:
    """Kolmogorov's distance of sorted samples (N,) to a law of mean 0 and deviation 1: "Gaussian" or "semicircle"."""
    contract.choice("law", law, ("Gaussian", "semicircle"))
    y = contract.tensor("sorted_samples", sorted_samples, ("N",), promote=True).double()
    if y.ndim != 1 or not len(y):
        raise ArgumentError("sorted_samples", f"shape {tuple(y.shape)}", "one sample or more (N,)")
    cdf = torch.special.ndtr(y) if law == "Gaussian" else semicircle_cdf(y)
    places = torch.arange(len(y), dtype=torch.float64)
    return float(torch.maximum(cdf - places / len(y), (places + 1) / len(y) - cdf).max())
