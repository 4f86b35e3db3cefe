"""What a generator's samples are worth: spread, calibration, scores, invented inserts, and how far they go."""

from __future__ import annotations

import torch
from torch import Tensor

from ctlib import metrics
from ctlib.contract import number
from ctlib.papers.tomography.generator_study import GeneratorStudy, Job
from ctlib.papers.tomography.inserts import count_inserts
from ctlib.papers.tomography.latent import projected_gradient
from ctlib.papers.tomography.losses import data_term
from ctlib.papers.tomography.scans import RANGE, hit


def measured(study: GeneratorStudy, job: Job, signal: float, num: int, bodies: int) -> dict[str, float]:
    """`of_samples` of `num` samples of some test bodies at one signal."""
    return study.numbers(job, study.trained(job)[0], "test", signal, num, bodies, seed=0)


def refined(
    study: GeneratorStudy, job: Job, signal: float, bodies: int, steps: int, turn: float, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """(data term (steps + 1, B), RMSE inside (steps + 1, B), images (steps + 1, B, Y, X)) along a projected gradient.

    turn  angle [rad] by which the first step turns z, which fixes the step's length for a latent of any size
    """
    scans, few = study.scans(job.world), slice(0, bodies)
    features, truth = scans.features["test"][signal][few], scans.gray("test")[few, 0]
    region = study.world(job.world).regions["test"][few].to(features.device)
    mu, sigma = study.posterior(job.world, job.seed)(features)
    sampler, critic = study.trained(job)
    with torch.no_grad():
        maps = sampler.prepare(features)
    seen = []

    def objective(z: Tensor) -> Tensor:
        x = sampler.render(maps, z)
        each = zip(study.project(job.world, x[:, 0]), mu, sigma, hit(mu), strict=True)
        match = torch.stack([data_term(*ray) for ray in each])
        seen.append((match.detach(), x[:, 0].detach()))
        return match + study.settings.lam * critic(x)

    z = study.sphere(len(mu), torch.Generator().manual_seed(seed)).to(mu.device)
    lr = step_of_turn(objective, z, turn)
    seen.clear()
    projected_gradient(objective, z, steps, lr, study.settings.z_radius)
    match, x = (torch.stack(v) for v in zip(*seen, strict=True))
    return match, torch.stack([metrics.rmse(one, truth, mask=region) for one in x]), x


def step_of_turn(objective, z: Tensor, turn: float) -> float:
    """Step length whose first projected step turns z by this angle [rad], the median over its samples (B, ...).

    tan(turn) = lr |tangent part of the gradient| / |z|
    """
    turn, z = number("turn", turn, above=0), z.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(z).sum(), z)
    flat, slope = z.detach().flatten(1), gradient.flatten(1)
    radius = flat.norm(dim=1)
    tangent = slope - (slope * flat).sum(1, keepdim=True) / radius[:, None].square() * flat
    return float((torch.tan(torch.tensor(turn)) * radius / tangent.norm(dim=1)).median())


def insert_rates(study: GeneratorStudy, world: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """(shown true inserts, false ones), one number a body, of gray images (B, Y, X) of the first drawn test bodies."""
    own, bench = study.world(world), study.scans(world).bench
    volume = bench.geometry.volume
    counts = [
        count_inserts(RANGE * x, b, volume, study.threshold(world))
        for x, b in zip(images, own.bodies["test"], strict=False)
    ]
    shown = torch.tensor([sum(c.shown) / len(c.shown) for c in counts], dtype=torch.float64)
    return shown, torch.tensor([float(len(c.false)) for c in counts], dtype=torch.float64)
