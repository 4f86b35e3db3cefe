"""A generator of one number: what each loss makes of samples when nothing but the loss decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.courses import look_every
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


def trained_numbers(
    kind: str, seed: int = 0, steps: int = 1500, eta: float = 0.0, num: int = 50_000,
    look: Callable[[int, Tensor], None] | None = None,
) -> Tensor:  # fmt: skip
    """Sorted samples (num,) of a network of one number, trained so that N(0, 1) is asked of it.

    kind  "KL", "KL unbiased", "KL of four": the KL term; "energy score": against draws of N(0, 1)
    look  look(step, sorted samples) before the first step, now and then, and after the last one: of one latent always
    """
    steps, num = contract.count("steps", steps, 1), contract.count("num", num, 1)
    per_draw, loss = of_kind(kind, eta)
    make = lambda: nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))  # noqa: E731
    net, source = seeded(seed, make), torch.Generator().manual_seed(contract.seed("seed", seed))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with torch.no_grad():
        fixed = torch.randn(num, 1, generator=torch.Generator().manual_seed(seed + 1))
    drawn = lambda: net(fixed)[:, 0].detach().sort().values  # noqa: E731
    for step in range(steps):
        if look is not None and step % look_every(steps) == 0:
            look(step, drawn())
        z = torch.randn(per_draw, BATCH, generator=source)
        value = loss(net(z[..., None])[..., 0], torch.randn(BATCH, generator=source))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        rate.step()
    if look is not None:
        look(steps, drawn())
    return drawn()


def courses_to(laws: Sequence[str], kind: str, seed: int, steps: int) -> tuple[Tensor, dict[str, dict[int, float]]]:
    """`trained_numbers`, and by law their distance to it by step; the last is that of the trained network."""
    found = {law: {} for law in laws}

    def look(step: int, samples: Tensor) -> None:
        for law, course in found.items():
            course[step] = distance_to(law, samples)

    return trained_numbers(kind, seed, steps, look=look), found


def distance_to(law: str, sorted_samples: Tensor) -> float:
    """Kolmogorov's distance of sorted samples (N,) to a law of mean 0 and deviation 1: "Gaussian" or "semicircle"."""
    contract.choice("law", law, ("Gaussian", "semicircle"))
    y = contract.tensor("sorted_samples", sorted_samples, ("N",), promote=True).double()
    if y.ndim != 1 or not len(y):
        raise ArgumentError("sorted_samples", f"shape {tuple(y.shape)}", "one sample or more (N,)")
    cdf = torch.special.ndtr(y) if law == "Gaussian" else semicircle_cdf(y)
    places = torch.arange(len(y), dtype=torch.float64)
    return float(torch.maximum(cdf - places / len(y), (places + 1) / len(y) - cdf).max())
