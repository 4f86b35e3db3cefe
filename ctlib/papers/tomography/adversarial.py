"""Adversarial training of a sampler of reconstructions: the update that `train` repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib.contract import choice, count, number, shape
from ctlib.errors import ArgumentError
from ctlib.papers.tomography.latent import random_sphere
from ctlib.papers.tomography.losses import critic_loss, data_term, rays, two_sample_kl
from ctlib.papers.tomography.proper import energy_score, many_sample_kl
from ctlib.train.described import code_of
from ctlib.train.distributed import rank_and_size
from ctlib.train.identity import of_training
from ctlib.train.loop import Run, train
from ctlib.train.precision import Precision
from ctlib.train.sampling import batch_indices, stream
from ctlib.train.settings import Settings, learning_rate, make_optimizer
from ctlib.train.sketch import sketch

KINDS = ("data", "kl", "energy")
ENERGY_UNIT = 0.02  # gray: about the energy score where trainings start, so that lam means as much with every kind


@dataclass(frozen=True, kw_only=True)
class GanSettings(Settings):
    """How a sampler and its critic are trained: `Settings` of both, one step each, and

    lam        weight of the critic in the sampler's loss
    z_shape    of one latent sample; drawn on the sphere of radius z_radius, by default sqrt of its size
    kind       "data": equation 1; "kl": KL term of the samples, with its estimator and eta; "energy": energy score
    samples    drawn of every reading in a step
    betas      of the optimizers; no momentum, as is usual with spectral normalization
    precision  of the networks; projections and losses are in float32
    """

    lam: float
    z_shape: tuple[int, ...]
    kind: str = "kl"
    samples: int = 2
    estimator: str = "ml"
    eta: float = 0.05
    z_radius: float | None = None
    betas: tuple[float, float] = (0.0, 0.9)

    def __post_init__(self):
        super().__post_init__()
        choice("kind", self.kind, KINDS)
        numbers = {"lam": number("lam", self.lam, at_least=0), "eta": number("eta", self.eta, at_least=0)}
        numbers |= {"betas": tuple(number("betas", b, at_least=0, below=1) for b in self.betas)}
        numbers |= {"z_shape": shape("z_shape", self.z_shape), "samples": count("samples", self.samples, 2)}
        if self.z_radius is not None:
            numbers["z_radius"] = number("z_radius", self.z_radius, above=0)
        for name, value in numbers.items():
            object.__setattr__(self, name, value)


def latents(settings: GanSettings, step: int) -> Tensor:
    """The z of every reading of a step, (samples * batch, *z_shape): first all first ones, then all second ones."""
    step = count("step", step)
    source = torch.Generator().manual_seed(stream("latent", settings.seed, step))
    return random_sphere((settings.samples * settings.batch, *settings.z_shape), source, settings.z_radius)


@dataclass(frozen=True)
class GanBatch:
    """What a step sees: features (B, F, V, U), mu and sigma (B, V, U) of these readings, their bodies (B, 1, Y, X).

    mask  rays that count, broadcast to (B, V, U); None for all
    """

    features: Tensor
    mu: Tensor
    sigma: Tensor
    real: Tensor
    mask: Tensor | None = None


class Players:
    """A sampler, its critic and what trains them.

    project  A: images (B, Y, X) -> sinograms (B, V, U)
    """

    def __init__(
        self, sampler: nn.Module, critic: nn.Module, project: Callable[[Tensor], Tensor], settings: GanSettings
    ):  # fmt: skip
        self.sampler, self.critic, self.project, self.settings = sampler, critic, project, settings
        make = lambda net: make_optimizer(settings, net.parameters(), betas=settings.betas)  # noqa: E731
        self.optimizers = {net: make(net) for net in (sampler, critic)}
        self.precision = Precision(settings.precision, next(sampler.parameters()).device)

    def parts(self) -> dict[str, object]:
        """Everything that a step changes, by name."""
        steps = {"sampler steps": self.optimizers[self.sampler], "critic steps": self.optimizers[self.critic]}
        return {"sampler": self.sampler, "critic": self.critic, **steps, "scaler": self.precision.scaler}

    def samples(self, features: Tensor, z: Tensor) -> Tensor:
        """Images of every reading, (samples * B, 1, Y, X); what does not depend on z is done once."""
        again = lambda: [m.repeat(self.settings.samples, 1, 1, 1) for m in self.sampler.prepare(features)]  # noqa: E731
        return self.precision(lambda: self.sampler.render(again(), z))

    def critic_step(self, real: Tensor, fakes: Tensor, lr: float) -> Tensor:
        """Lower D on real images against generated ones; both in one call, so in one step of the power method."""
        self.critic.train()
        scores = self.precision(self.critic, torch.cat([real, fakes.detach()]))
        loss = critic_loss(scores[: len(real)], scores[len(real) :])
        self.precision.descend(self.optimizers[self.critic], loss, lr)
        return loss.detach()

    def sampler_step(self, batch: GanBatch, fakes: Tensor, lr: float) -> dict[str, Tensor]:
        """Lower the sampler's loss with the critic as it is."""
        self.critic.eval().requires_grad_(False)
        images = fakes[:, 0].unflatten(0, (self.settings.samples, -1))
        y = self.project(fakes[:, 0]).unflatten(0, images.shape[:2])
        match = match_term(self.settings, images, y, batch)
        loss = match + self.settings.lam * self.precision(self.critic, fakes).mean()
        self.precision.descend(self.optimizers[self.sampler], loss, lr)
        self.critic.requires_grad_(True)
        width = spread(y[0], y[1], batch.sigma, batch.mask)
        return {"sampler": loss.detach(), "match": match.detach(), "spread": width.detach()}


def match_term(settings: GanSettings, images: Tensor, y: Tensor, batch: GanBatch) -> Tensor:
    """How samples match what is known of their readings: the first term of the sampler's loss, {eq}`gtr-objective`.

    images  (samples, B, Y, X);  y  their sinograms (samples, B, V, U)
    """
    known = batch.mu, batch.sigma
    if settings.kind == "energy":
        return energy_score(images, batch.real[:, 0]) / ENERGY_UNIT
    if settings.kind == "data":
        return torch.stack([data_term(one, *known, batch.mask) for one in y]).mean()
    options = {"estimator": settings.estimator, "eta": settings.eta}
    if settings.samples == 2:
        return two_sample_kl(y[0], y[1], *known, batch.mask, **options)
    return many_sample_kl(y, *known, batch.mask, **options)


def spread(y1: Tensor, y2: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root mean square of (y1 - y2) / (sqrt(2) sigma): 1 for samples as wide as sigma, 0 where z is ignored."""
    y1, y2, sigma = rays(y1=y1, y2=y2, sigma=sigma)
    return (data_term(y1, y2, sigma, mask) / 2).sqrt()


def _scan(project: Callable[[Tensor], Tensor], fetch: Callable) -> Tensor:
    """What tells one A from another: the projection of a real image."""
    with torch.no_grad():
        return sketch(project(fetch(torch.zeros(1, dtype=torch.long), [0]).real[:1, 0]))


def fit_gan(
    sampler: nn.Module,
    critic: nn.Module,
    project: Callable[[Tensor], Tensor],
    fetch: Callable[[Tensor, list[int]], GanBatch],
    num_samples: int,
    settings: GanSettings,
    path: str | Path | None = None,
    every: int = 0,
    callback: Callable[[Run], None] | None = None,
) -> Run:
    """Train a sampler G(r, z) and its critic D in place, one after the other in every step, in one process.

    sampler  with prepare(features) and render(maps, z), as `networks.Sampler` has
    project  A: images (B, Y, X) -> sinograms (B, V, U)
    fetch    fetch(indices, seeds) -> GanBatch on the sampler's device, as in `fit`
    path, every, callback  as in `train`: both networks, their optimizers and the scaler resume bit by bit

    The history holds the losses of both, the sampler's "match" without the critic, and the samples' "spread".
    """
    if rank_and_size()[1] > 1:
        raise ArgumentError("settings", "a process group", "one process: the players are not replicated")
    players = Players(sampler, critic, project, settings)

    def update(step: int) -> dict[str, Tensor]:
        picked = batch_indices(num_samples, settings.batch, step, settings.seed)
        batch = fetch(picked, [stream("sample", settings.seed, step, place) for place in range(settings.batch)])
        lr = learning_rate(settings, step)
        sampler.train()
        fakes = players.samples(batch.features, latents(settings, step).to(batch.features))
        loss = players.critic_step(batch.real, fakes, lr)
        report = players.sampler_step(batch, fakes, lr)
        players.precision.scaler.update()
        return {**report, "critic": loss}

    about = {}
    if path is not None:
        about = {"scan": _scan(project, fetch), "code of the losses": code_of(match_term, critic_loss)}
        about |= of_training(settings, fetch, num_samples)
    run = Run(players.parts(), about, settings.seed)
    train(run, update, settings.steps, path, every, callback, players.precision.device)
    sampler.eval()
    critic.eval()
    return run
