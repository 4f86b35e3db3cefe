"""Training of the networks that tell mean and spread of the line integrals, and how well they are calibrated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib.metrics.calibration import calibration, standardized_residuals
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.courses import drawn_out, look_every
from ctlib.papers.tomography.losses import distillation_loss, gaussian_nll, mean_loss
from ctlib.papers.tomography.noise_networks import MeanNet, PosteriorNet, SpreadNet
from ctlib.papers.tomography.residual_unet import ResidualUNet
from ctlib.papers.tomography.scans import Scans, both, hit, predict
from ctlib.train import Settings, fit


@dataclass(frozen=True)
class NoiseStudy:
    """Networks for the posterior of the line integrals, and how they are trained.

    steps        of the mean, the spread and their student;  width  first channels of each
    settings     of every training but for steps and seed;  checkpoints  folder, or "" for none
    """

    scans: Scans
    width: int
    steps: Sequence[int]
    settings: Settings
    checkpoints: str = ""

    @property
    def device(self) -> torch.device:
        return self.scans.sinograms["train"].device

    def net(self, kind: type[nn.Module], out: int, seed: int) -> nn.Module:
        """Residual U-Net of sinograms whose last layer is 0, so that training starts at the table."""

        def make() -> nn.Module:
            body = ResidualUNet(3, out, self.width, 1, depth=2)
            nn.init.zeros_(body.head.weight)
            nn.init.zeros_(body.head.bias)
            return kind(body)

        return seeded(seed, make).to(self.device)

    def train(
        self, net: nn.Module, loss, fetch, name: str, seed: int, steps: int,
        estimate: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None, curves: dict[str, tuple] | None = None,
    ) -> nn.Module:  # fmt: skip
        """Train a network of readings in place; `curves` gets its validation curve, `nll` of the estimate, by name."""
        path = Path(self.checkpoints, f"{name}-{seed}.ckpt") if self.checkpoints else None
        settings = replace(self.settings, steps=steps, seed=seed)
        looks = {}
        if curves is not None:
            looks = {"validate": lambda _: self.nll(estimate), "validate_every": look_every(steps), "keep": "last"}
        run = fit(net, loss, fetch, len(self.scans.sinograms["train"]), settings, path, 50, **looks)
        if curves is not None:
            curves[f"{name}, {seed}"] = drawn_out(run.history["validation_step"], run.history["validation"])
        return net

    @torch.no_grad()
    def nll(self, estimate: Callable[[Tensor], tuple[Tensor, Tensor]]) -> float:
        """Negative log likelihood [nat] of the validation bodies by an estimate of mu and sigma, mean over signals."""
        y, by = self.scans.sinograms["val"], self.scans.features["val"].values()
        return sum(calibration(y, *estimate(f), hit(f[:, 1]))["nll"] for f in by) / len(by)

    def untrained(self, seed: int) -> tuple[nn.Module, nn.Module]:
        """(mu network, sigma network) as they start."""
        return self.net(MeanNet, 1, seed), self.net(SpreadNet, 1, seed + 1000)

    def two_stages(self, seed: int, curves: dict[str, tuple] | None = None) -> tuple[nn.Module, nn.Module]:
        """(mu network, sigma network), one trained after the other, {eq}`gtr-mean` and {eq}`gtr-nll`.

        curves  gets their validation curves in nat; the first network's with the table's sigma
        """
        mean, spread = self.untrained(seed)
        by_table = lambda f: (predict(mean, f), f[:, 2].exp())  # noqa: E731
        self.train(mean, mean_loss, self.scans.fetch_sinograms, "mean", seed, self.steps[0], by_table, curves)

        def with_mean(indices, seeds):
            features, y = self.scans.fetch_sinograms(indices, seeds)
            with torch.no_grad():
                return features, torch.stack([y, mean(features)], 1)

        loss = lambda sigma, known: gaussian_nll(known[:, 0], known[:, 1], sigma)  # noqa: E731
        pair = lambda f: both((mean, spread), f)  # noqa: E731
        return mean, self.train(spread, loss, with_mean, "spread", seed, self.steps[1], pair, curves)

    def distilled(
        self, nets: tuple[nn.Module, nn.Module], seed: int, curves: dict[str, tuple] | None = None
    ) -> nn.Module:
        """One network of two outputs (mu, sigma), taught by the pair, {eq}`gtr-distillation`."""
        mean, spread = nets
        student = self.net(PosteriorNet, 2, seed + 2000)
        student.load_state_dict({k: v for k, v in mean.state_dict().items() if "head" not in k}, strict=False)
        student.body.head.weight.data[:1] = mean.body.head.weight.data
        student.body.head.bias.data[:1] = mean.body.head.bias.data

        def taught(indices, seeds):
            features, _ = self.scans.fetch_sinograms(indices, seeds)
            with torch.no_grad():
                return features, torch.stack([mean(features), spread(features)], 1)

        loss = lambda out, known: distillation_loss(out.unbind(1), known.unbind(1))  # noqa: E731
        own = lambda f: predict(student, f).unbind(1)  # noqa: E731
        return self.train(student, loss, taught, "student", seed, self.steps[2], own, curves)

    def judged(self, estimate: tuple[Tensor, Tensor], rays: Tensor) -> dict[str, float]:
        """`calibration` of (mu, sigma) on the test bodies, on some rays (N, V, U)."""
        return calibration(self.scans.sinograms["test"], *estimate, rays)

    def rms_residual(self, nets: tuple[nn.Module, nn.Module], signal: float, rays: Tensor) -> float:
        """Factor by which the residuals of the validation bodies exceed sigma at one signal."""
        known = both(nets, self.scans.features["val"][signal])
        z = standardized_residuals(self.scans.sinograms["val"], *known, rays)
        return float(z.square().mean().sqrt())
