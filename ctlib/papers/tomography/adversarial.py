"""Adversarial training of a generator of reconstructions: the update that `train` repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.adversarial_settings import OPTIMIZERS, GanSettings, latents, rate_of
from ctlib.papers.tomography.losses import critic_loss, data_term, generator_loss
from ctlib.train.distributed import rank_and_size
from ctlib.train.loop import Run, train
from ctlib.train.sampling import batch_indices, stream
from ctlib.train.supervised import half_type


@dataclass(frozen=True)
class GanBatch:
    """What a step sees: features (B, F, V, U), mu and sigma (B, V, U) of these readings, real images (N, 1, Y, X).

    mask  rays that count, broadcast to (B, V, U); None for all
    """

    features: Tensor
    mu: Tensor
    sigma: Tensor
    real: Tensor
    mask: Tensor | None = None


class Players:
    """A generator, its critic and what trains them.

    project  A: images (B, Y, X) -> sinograms (B, V, U)
    """

    def __init__(
        self, generator: nn.Module, critic: nn.Module, project: Callable[[Tensor], Tensor], settings: GanSettings
    ):  # fmt: skip
        self.generator, self.critic, self.project, self.settings = generator, critic, project, settings
        make, options = OPTIMIZERS[settings.optimizer], (settings.lr, settings.betas)
        self.optimizers = {net: make(net.parameters(), *options) for net in (generator, critic)}
        self.device, self.half = next(generator.parameters()).device, half_type(settings.precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.half is torch.float16)

    def parts(self) -> dict[str, object]:
        """Everything that a step changes, by name."""
        steps = {"generator steps": self.optimizers[self.generator], "critic steps": self.optimizers[self.critic]}
        return {"generator": self.generator, "critic": self.critic, **steps, "scaler": self.scaler}

    def samples(self, features: Tensor, z: Tensor) -> Tensor:
        """Two images of every reading, (2 B, 1, Y, X); what does not depend on z is done once."""
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            maps = self.generator.prepare(features)
            images = self.generator.render([torch.cat([m, m]) for m in maps], z)
        return self._full(images)

    def score(self, images: Tensor) -> Tensor:
        """D of images: (N,)."""
        with torch.autocast(self.device.type, self.half, enabled=self.half is not None):
            return self._full(self.critic(images))

    def critic_step(self, real: Tensor, fakes: Tensor, rate: float) -> Tensor:
        """Lower D on real images against generated ones; both in one call, so in one step of the power method."""
        self.critic.train()
        scores = self.score(torch.cat([real, fakes.detach()]))
        loss = critic_loss(scores[: len(real)], scores[len(real) :])
        self._descend(self.critic, loss, rate)
        return loss.detach()

    def generator_step(self, batch: GanBatch, fakes: Tensor, rate: float) -> dict[str, Tensor]:
        """Lower the generator's loss with the critic as it is."""
        self.critic.eval().requires_grad_(False)
        y1, y2 = self.project(fakes[:, 0]).chunk(2)
        scores, s, target = self.score(fakes), self.settings, (batch.mu, batch.sigma)
        options = {"estimator": s.estimator, "eta": s.eta} if s.kind == "kl" else {}
        loss = generator_loss((y1, y2), scores, *target, s.lam, s.kind, batch.mask, **options)
        self._descend(self.generator, loss, rate)
        self.critic.requires_grad_(True)
        match = loss.detach() - s.lam * scores.detach().mean()
        return {"generator": loss.detach(), "match": match, "spread": spread(y1, y2, batch.sigma, batch.mask).detach()}

    def _descend(self, net: nn.Module, loss: Tensor, rate: float) -> None:
        optimizer = self.optimizers[net]
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(optimizer)

    def _full(self, x: Tensor) -> Tensor:
        return x if self.half is None else x.float()


def spread(y1: Tensor, y2: Tensor, sigma: Tensor, mask: Tensor | None = None) -> Tensor:
    """Root mean square of (y1 - y2) / (sqrt(2) sigma): 1 for samples as wide as sigma, 0 where z is ignored."""
    return (data_term(y1, y2, sigma, mask) / 2).sqrt()


def fit_gan(
    generator: nn.Module,
    critic: nn.Module,
    project: Callable[[Tensor], Tensor],
    fetch: Callable[[Tensor, list[int]], GanBatch],
    num_samples: int,
    settings: GanSettings,
    path: str | Path | None = None,
    every: int = 0,
    callback: Callable[[Run], None] | None = None,
) -> Run:
    """Train a generator G(r, z) and its critic D in place, one after the other in every step, in one process.

    generator  with prepare(features) and render(maps, z), as `networks.Generator` has
    project    A: images (B, Y, X) -> sinograms (B, V, U)
    fetch      fetch(indices, seeds) -> GanBatch on the generator's device, as in `fit`
    path, every, callback  as in `train`: both networks, their optimisers and the scaler resume bit by bit

    The history holds the losses of both, the generator's "match" without the critic, and the samples' "spread".
    """
    if rank_and_size()[1] > 1:
        raise ArgumentError("settings", "a process group", "one process: the players are not replicated")
    players = Players(generator, critic, project, settings)

    def update(step: int) -> dict[str, Tensor]:
        picked = batch_indices(num_samples, settings.batch, step, settings.seed)
        batch = fetch(picked, [stream("sample", settings.seed, step, place) for place in range(settings.batch)])
        rate = rate_of(settings, step)
        generator.train()
        fakes = players.samples(batch.features, latents(settings, step).to(batch.features))
        loss = players.critic_step(batch.real, fakes, rate)
        report = players.generator_step(batch, fakes, rate)
        players.scaler.update()
        return {**report, "critic": loss}

    run = Run(players.parts(), {**asdict(settings), "num_samples": num_samples}, settings.seed)
    train(run, update, settings.steps, path, every, callback, players.device)
    generator.eval()
    critic.eval()
    return run
