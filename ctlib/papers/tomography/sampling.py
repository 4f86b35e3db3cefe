"""The wiring of the sampler's part of the chapter: adversarial trainings, samples, refinement, counted inserts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ctlib import metrics
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.adversarial import GanBatch, GanSettings, fit_gan
from ctlib.papers.tomography.critic import Critic
from ctlib.papers.tomography.latent import projected_gradient, random_sphere
from ctlib.papers.tomography.losses import data_term
from ctlib.papers.tomography.networks import EndToEnd, Sampler
from ctlib.papers.tomography.scans import RANGE, Scans, hit
from ctlib.papers.tomography.warm_start import fit_scale, warm_start


@dataclass(frozen=True)
class SamplerStudy:
    """Samplers of reconstructions and their critics.

    make       make(seed) -> an untrained `Sampler` on the scans' device
    posterior  features (B, 3, V, U) -> mu, sigma (B, V, U)
    settings   of the trainings but for kind and seed
    few        the test bodies that are looked at
    """

    scans: Scans
    make: Callable[[int], Sampler]
    posterior: Callable[[Tensor], tuple[Tensor, Tensor]]
    settings: GanSettings
    critic_widths: Sequence[int]
    few: slice
    checkpoints: str = ""

    def project(self, gray: Tensor) -> Tensor:
        """Line integrals (B, V, U) of gray images (B, Y, X)."""
        return self.scans.project(RANGE * gray)

    def sphere(self, num: int, generator: torch.Generator) -> Tensor:
        """`num` latents on the sphere."""
        return random_sphere((num, *self.settings.z_shape), generator, radius=self.settings.z_radius)

    def start(self, seed: int, trained: EndToEnd, num: int = 16) -> dict[str, Tensor]:
        """Weights of a sampler that begins as a trained end-to-end network, as wide as the readings leave open."""
        y, levels = self.scans.sinograms["train"][:num], self.scans.levels
        readings = [levels.features(levels.read(y, s, 3000 + i), s) for i, s in enumerate(levels.signals)]
        features = torch.cat(readings)
        mu, sigma = self.posterior(features)
        log_sigma = torch.stack([s[rays].log().mean() for s, rays in zip(sigma, hit(mu), strict=True)])
        return fit_scale(warm_start(self.make(seed), trained), features, log_sigma).state_dict()

    def fetch(self, indices: Tensor, seeds: list[int]) -> GanBatch:
        """Readings of training bodies, what is known of their rays, and real bodies."""
        features, real = self.scans.fetch_images(indices, seeds)
        mu, sigma = self.posterior(features)
        return GanBatch(features, mu, sigma, real, hit(mu))

    def train(self, seed: int, kind: str, start: dict[str, Tensor]) -> tuple[Sampler, Critic, dict]:
        """(sampler, critic, history) of one training; kind "data", equation 1, or "kl"."""
        sampler = self.make(seed)
        sampler.load_state_dict(start)
        device = self.scans.images["train"].device
        critic = seeded(seed + 3000, Critic, tuple(self.critic_widths)).to(device)
        path = Path(self.checkpoints, f"gan-{kind}-{seed}.ckpt") if self.checkpoints else None
        settings = replace(self.settings, kind=kind, seed=seed)
        size = len(self.scans.images["train"])
        run = fit_gan(sampler, critic, self.project, self.fetch, size, settings, path, 50)
        return sampler, critic, run.history

    @torch.no_grad()
    def sampled(self, sampler: Sampler, features: Tensor, num: int, seed: int = 0) -> Tensor:
        """`num` samples of every reading: gray (num, B, Y, X)."""
        source = torch.Generator().manual_seed(seed)
        each = [sampler.render(sampler.prepare(f[None]), self.sphere(num, source).to(f))[:, 0] for f in features]
        return torch.stack(each, 1)

    def sampled_at(self, sampler: Sampler, num: int) -> dict[float, Tensor]:
        """Samples (num, B, Y, X) of the few test bodies, by signal."""
        return {s: self.sampled(sampler, f[self.few], num) for s, f in self.scans.features["test"].items()}

    def refined(
        self, player: tuple[Sampler, nn.Module, dict], signal: float, steps: int, lr: float, seed: int = 0
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """J, data term and RMSE (steps + 1, B), and the images (steps + 1, B, Y, X), of one candidate of every body."""
        sampler, critic, _ = player
        features, truth = self.scans.features["test"][signal][self.few], self.scans.images["test"][self.few] / RANGE
        mu, sigma = self.posterior(features)
        with torch.no_grad():
            maps = sampler.prepare(features)
        seen = []

        def objective(z: Tensor) -> Tensor:
            x = sampler.render(maps, z)
            each = zip(self.project(x[:, 0]), mu, sigma, hit(mu), strict=True)
            match = torch.stack([data_term(*ray) for ray in each])
            seen.append((match.detach(), x[:, 0].detach()))
            return match + self.settings.lam * critic(x)

        z = self.sphere(len(mu), torch.Generator().manual_seed(seed)).to(mu.device)
        _, J = projected_gradient(objective, z, steps, lr, self.settings.z_radius)
        match, x = (torch.stack(v) for v in zip(*seen, strict=True))
        return J, match, torch.stack([metrics.rmse(image, truth) for image in x]), x


def rates(counts) -> tuple[float, float]:
    """(share of the true inserts that is shown, false ones per body) of `count_inserts` of some bodies."""
    return np.mean([v for c in counts for v in c.shown]), np.mean([len(c.false) for c in counts])
