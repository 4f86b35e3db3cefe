"""What a few samples of every reading are worth: spread, calibration, scores."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import MissingDependency
from ctlib.metrics.calibration import pairwise_rmse, spread_ratio
from ctlib.papers.tomography.losses import data_term
from ctlib.papers.tomography.proper import energy_score
from ctlib.papers.tomography.scans import hit

LEAST_SD = 1e-4  # gray: samples that agree to less claim to know everything


def half_width(num: int, level: float = 0.68) -> float:
    """Half the central prediction interval of a Gaussian known by `num` draws, in their unbiased deviations.

        t_{num - 1}((1 + level) / 2) sqrt(1 + 1 / num),    t the quantile of Student's law

    One more draw lies inside mean +- half_width sd as often as `level` says, however few draws there are; the quantile
    of the Gaussian itself would hold 62 % for 68 with eight.
    """
    try:
        from scipy.stats import t
    except ImportError as error:
        raise MissingDependency("scipy", "the interval of few samples") from error
    num, level = contract.count("num", num, 2), contract.number("level", level, above=0, below=1)
    return float(t.ppf((1 + level) / 2, num - 1)) * math.sqrt(1 + 1 / num)


def share_inside(samples: Tensor, truth: Tensor, mask: Tensor, least: float) -> float:
    """Share of the truth (...), where mask holds, in the central prediction interval of 68 % of samples (J, ...).

    least  under the deviation of the samples
    """
    contract.tensor("samples", samples)
    off = (truth - samples.mean(0)).abs()
    inside = off <= half_width(len(samples)) * samples.std(0).clamp_min(least)
    return float(inside[mask].double().mean())


@torch.no_grad()
def of_samples(
    x: Tensor, seen: Tensor, truth: Tensor, y: Tensor, known: tuple[Tensor, Tensor], region: Tensor
) -> dict[str, float]:
    """Numbers of samples (J, B, Y, X), gray, of some bodies.

    seen, y        line integrals of the samples (J, B, V, U) and of the bodies (B, V, U)
    truth, region  the bodies (B, Y, X), gray, and where they are;  known  mu and sigma of every ray

    rays         median over rays of the samples' deviation over sigma;  match  data term of a sample, per ray
    ray 68 %     share of true line integrals inside the samples' central interval of 68 %;  pixel 68 %  of pixels
    apart, error root mean square difference of two samples, and of a sample from the truth, inside the body, gray
    score        energy score, gray: lower is better, and no law has less than the posterior
    """
    (mu, sigma), rays = known, hit(known[0])
    return {
        "rays": spread_ratio(seen, sigma, rays),
        "match": float(data_term(seen, mu, sigma, rays.expand_as(seen))),
        "ray 68 %": share_inside(seen, y, rays, 1e-3),
        "pixel 68 %": share_inside(x, truth, region, LEAST_SD),
        "apart": pairwise_rmse(x[:, region]),
        "error": float((x - truth)[:, region].square().mean().sqrt()),
        "score": float(energy_score(x, truth)),
    }
