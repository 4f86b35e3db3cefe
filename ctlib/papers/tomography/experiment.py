"""The wiring of the chapter: the networks of images of each method, their training and their scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib import contract, linop, metrics
from ctlib.losses import l1_ssim_loss
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.consistency import data_misfit
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor
from ctlib.papers.tomography.residual_unet import ResidualUNet
from ctlib.papers.tomography.scans import RANGE, Scans, hit, predict
from ctlib.train import Settings, fit


def average_of_views(A, spacing: float):
    """Back-projection A.T in units where a sinogram of ones gives pi times the share of the half circle it saw."""
    spacing = contract.number("spacing", spacing, above=0)
    return linop.scaled(A.T, spacing * A.geometry.pitch_mm / A.volume.voxel_mm[0] ** 2)


@dataclass(frozen=True)
class Family:
    """Networks of every size: first channels and residual blocks of g1 and g2, and what lies between them.

    back, ramp  back-projection (B, V, U) -> (B, Y, X) and the filter before it
    """

    n: int
    widths: Sequence[Sequence[int]]
    blocks: Sequence[Sequence[int]]
    depths: Sequence[int]
    bp_channels: Sequence[int]
    positions: str
    back: Callable
    ramp: Callable

    def unet(self, inputs: int, width: int, size: int, positions: str, z_channels: int = 0) -> PostProcessor:
        place = Positions(positions, (self.n, self.n))
        net = ResidualUNet(inputs + place.num, 1, width, self.blocks[size][1], self.depths[1], z_channels=z_channels)
        return PostProcessor(net, place)

    def end_to_end(
        self, size: int = 0, channels: int | None = None, positions: str | None = None, with_ramp: bool = False,
        kind: type[EndToEnd] = EndToEnd, z_channels: int = 0, back: Callable | None = None,
    ) -> EndToEnd:  # fmt: skip
        """g2(A.T g1(r)) without training; kind `Sampler` for one with a latent of z_channels."""
        channels = channels or self.bp_channels[size]
        g2 = self.unet(channels, self.widths[size][1], size, positions or self.positions, z_channels)
        g1 = ResidualUNet(3, channels, self.widths[size][0], self.blocks[size][0], self.depths[0])
        return kind(g1, back or self.back, g2, self.ramp if with_ramp else None)

    def post(self, width: int, size: int) -> PostProcessor:
        """A U-Net behind FBP, as deep as g2."""
        return self.unet(1, width, size, self.positions)


@dataclass(frozen=True)
class ImageStudy:
    """How all networks of images are trained, and how their images are judged.

    weights   of mean |error| and of 1 - SSIM;  settings  of every training but for its seed
    """

    scans: Scans
    weights: Sequence[float]
    settings: Settings
    checkpoints: str = ""

    def train(self, net: nn.Module, fetch, name: str, seed: int, steps: int | None = None) -> nn.Module:
        """Train a network of images in place, with `l1_ssim_loss` of gray values."""
        path = Path(self.checkpoints, f"{name.replace(' ', '-')}-{seed}.ckpt") if self.checkpoints else None
        settings = replace(self.settings, seed=seed, steps=self.settings.steps if steps is None else steps)
        loss = partial(l1_ssim_loss, data_range=1.0, alpha=self.weights[0], beta=self.weights[1])
        fit(net, loss, fetch, len(self.scans.images["train"]), settings, path, 50)
        return net

    def fetch_after(self, first: Callable[[Tensor], Tensor]) -> Callable:
        """Fetch for a network behind some reconstruction `first` of the features: its images, and the bodies."""

        def fetch(indices, seeds):
            features, target = self.scans.fetch_images(indices, seeds)
            return first(features), target

        return fetch

    def over_signals(self, run: Callable[[Tensor], Tensor], part: str = "test") -> dict[float, Tensor]:
        """Gray images (N, 1, Y, X) of a part by signal."""
        return {s: predict(run, f) for s, f in self.scans.features[part].items()}

    def quality(self, gray: Tensor, bodies: slice = slice(None)) -> dict[str, float]:
        """SSIM, PSNR [dB] and RMSE [gray] of images (B, 1, Y, X) of some test bodies, means over them; range 1."""
        x, ref = gray[:, 0], self.scans.images["test"][bodies] / RANGE
        found = metrics.ssim(x, ref, data_range=1.0), metrics.psnr(x, ref, data_range=1.0), metrics.rmse(x, ref)
        return dict(zip(("SSIM", "PSNR", "RMSE"), (float(v.mean()) for v in found), strict=True))

    def scored(self, by: dict[float, Tensor]) -> dict[float, dict[str, float]]:
        """`quality` by signal."""
        return {s: self.quality(x) for s, x in by.items()}

    def misfits(self, gray: Tensor, known: tuple[Tensor, Tensor], bodies: slice = slice(None)) -> tuple[float, float]:
        """(against the noise-free line integrals [nepers], against mu [sigma]) of images of some test bodies: means.

        known  mu and sigma (B, V, U) of these bodies, whose rays through the body count
        """
        (mu, sigma), x = known, gray[:, 0]
        rays = hit(mu)
        masked = lambda y: torch.where(rays, y, 0.0)  # noqa: E731
        scale = (rays.numel() / rays.sum()) ** 0.5  # to the mean over the rays that hit
        projected = lambda x: masked(self.scans.project(RANGE * x))  # noqa: E731
        one = lambda y, sigma=None: float(scale * data_misfit(projected, x, masked(y), sigma).mean())  # noqa: E731
        return one(self.scans.sinograms["test"][bodies]), one(mu, sigma)


def other_scan(
    study: ImageStudy, family: Family, B, spacing: float, post_width: int, name: str, seed: int, steps: int
) -> dict[str, dict[float, Tensor]]:
    """Test images of FBP, FBP + U-Net and end to end for another set of views, by signal; networks of one seed.

    B  projector of the other scan;  spacing  of its views [rad]
    """
    scans, levels = study.scans, study.scans.levels
    back = average_of_views(B, spacing)
    device, rays, target = scans.images["train"].device, B(scans.images["train"]), scans.gray("train")
    filtered = lambda f: back(family.ramp(f[:, 1:2]))  # noqa: E731
    draw = lambda i, noise: levels.drawn(rays[i.to(device)], noise)  # noqa: E731
    end = seeded(seed, family.end_to_end, back=back).to(device)
    unet = seeded(seed, family.post, post_width, 0).to(device)
    read = lambda i, noise: (draw(i, noise), target[i.to(device)])  # noqa: E731
    study.train(end, read, f"end to end {name}", seed, steps)
    behind = lambda i, noise: (filtered(draw(i, noise)), target[i.to(device)])  # noqa: E731
    study.train(unet, behind, f"FBP and U-Net {name}", seed, steps)
    seen = {s: levels.features(r, s) for s, r in scans.read(B, "test", 3000).items()}
    shown = {"FBP": filtered, "FBP + U-Net": lambda f: unet(filtered(f)), "end to end": end}
    return {method: {s: predict(run, f) for s, f in seen.items()} for method, run in shown.items()}
