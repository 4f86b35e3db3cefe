"""Generators of reconstructions trained with every loss: networks before them, trainings and samples, kept in files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib.geometry import ParallelBeam, Volume
from ctlib.losses import l1_ssim_loss
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.adversarial import GanBatch, GanSettings, fit_gan
from ctlib.papers.tomography.bench import Bench
from ctlib.papers.tomography.bodies import FIELD_MM
from ctlib.papers.tomography.contenders import Size
from ctlib.papers.tomography.courses import look_every
from ctlib.papers.tomography.critic import Critic
from ctlib.papers.tomography.experiment import Family, paper_rates
from ctlib.papers.tomography.inserts import insert_threshold
from ctlib.papers.tomography.latent import random_sphere
from ctlib.papers.tomography.networks import EndToEnd, Sampler
from ctlib.papers.tomography.noise_study import NoiseStudy
from ctlib.papers.tomography.sample_numbers import of_samples
from ctlib.papers.tomography.scans import RANGE, Scans, both, hit
from ctlib.papers.tomography.warm_start import fit_scale, warm_start
from ctlib.papers.tomography.worlds import World, world_of
from ctlib.train import Settings, fit
from ctlib.train.kept import Kept
from ctlib.train.loop import Run

CODE = [
    f"ctlib.papers.tomography.{m}"
    for m in ("adversarial", "bodies", "courses", "critic", "experiment", "generator_study", "latent", "losses",
              "networks", "noise_networks", "noise_study", "proper", "readings", "residual_unet", "sample_numbers",
              "scans", "signal_levels", "warm_start", "worlds")
]  # fmt: skip
EQUATION_1, TWO, PLAIN, UNBIASED, FOUR, ENERGY = (
    "equation 1", "KL", "KL plain start", "KL unbiased", "KL of four", "energy score",
)  # fmt: skip
LOOKED = 4  # validation bodies that a generator in training is looked at on
DRAWN = 4  # samples of each of their readings
CHANGES = {  # of the settings, and whether the spread starts from a least-squares fit to sigma
    EQUATION_1: ({"kind": "data"}, True),
    TWO: ({}, True),
    PLAIN: ({}, False),
    UNBIASED: ({"estimator": "unbiased"}, True),
    FOUR: ({"samples": 4}, True),
    ENERGY: ({"kind": "energy"}, True),
}


@dataclass(frozen=True)
class Job:
    """One training of a generator and its critic; `block` is its part of the plan."""

    block: str
    world: str
    loss: str
    seed: int

    @property
    def name(self) -> str:
        return f"generator-{self.world}-{self.loss}-seed{self.seed}".replace(",", "")


@dataclass
class GeneratorStudy:
    """The chapter's second page: what is trained, and the results made so far.

    n, views, signals, eps_sd, bits, step   of image and readings
    folder, limits      of the worlds
    size, depths, blocks, positions         of the networks on both sides
    noise_width, noise_steps, noise_batch, noise_lr  of mu, sigma and their student
    image_steps, image_batch, image_lr, weights      of the end-to-end network that generators start from
    settings            of generator and critic, but for loss and seed;  critic_widths
    seeds, losses       by world
    """

    n: int
    views: int
    signals: Sequence[float]
    eps_sd: float
    bits: int
    step: float
    folder: str
    limits: Mapping[str, Sequence[int]]
    size: Size
    depths: Sequence[int]
    blocks: Sequence[int]
    positions: str
    noise_width: int
    noise_steps: Sequence[int]
    noise_batch: int
    noise_lr: float
    image_steps: int
    image_batch: int
    image_lr: float
    weights: Sequence[float]
    settings: GanSettings
    critic_widths: Sequence[int]
    seeds: Mapping[str, Sequence[int]]
    losses: Mapping[str, Sequence[str]]
    device: str = "cpu"
    checkpoints: str | Path | None = None
    worlds: dict[str, World] = field(default_factory=dict, repr=False)
    scanned: dict[str, Scans] = field(default_factory=dict, repr=False)
    thresholds: dict[str, float] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.kept = Kept(self.checkpoints or None, *CODE)

    def world(self, name: str) -> World:
        if name not in self.worlds:
            self.worlds[name] = world_of(name, self.n, self.folder, self.limits[name])
        return self.worlds[name]

    def bench(self, name: str) -> Bench:
        volume = Volume((self.n, self.n), FIELD_MM / self.n)
        geometry = ParallelBeam(volume, self.views, self.n, volume.voxel_mm[0])
        detector = self.signals, self.eps_sd, self.bits, self.step
        return Bench(self.world(name), geometry, *detector, device=self.device)

    def scans(self, name: str) -> Scans:
        """A world's readings at every signal."""
        if name not in self.scanned:
            bench = self.bench(name)
            self.scanned[name] = Scans(bench.A, bench.images, bench.levels)
            self.scanned[name].bench = bench
        return self.scanned[name]

    def threshold(self, name: str) -> float:
        """Contrast from which something counts as an insert, fixed on true validation bodies."""
        if name not in self.thresholds:
            volume = self.scans(name).bench.geometry.volume
            self.thresholds[name] = insert_threshold(self.world(name).bodies["val"], volume)
        return self.thresholds[name]

    def family(self, name: str) -> Family:
        bench = self.scans(name).bench
        sizes = [[self.size.g1, self.size.g2]], [self.blocks], self.depths, [self.size.channels]
        return Family(self.n, *sizes, self.positions, bench.back, bench.ramp)

    def about(self, world: str, **more: object) -> dict[str, object]:
        """All that a result depends on but the code."""
        plain = ("n", "views", "signals", "eps_sd", "bits", "step", "depths", "blocks", "positions", "noise_width",
                 "noise_steps", "noise_batch", "noise_lr", "image_steps", "image_batch", "image_lr", "weights",
                 "critic_widths")  # fmt: skip
        own = {name: getattr(self, name) for name in plain} | {"size": asdict(self.size), "world": world}
        data = Path(self.folder).name if world == "real" else ""
        return {**own, "limits": list(self.limits[world]), "folder": data, **more}

    # --- what comes before a generator ------------------------------------------------------------------------------
    def noise_study(self, world: str) -> NoiseStudy:
        settings = Settings(0, self.noise_batch, self.noise_lr, "cosine", precision=self.settings.precision)
        return NoiseStudy(self.scans(world), self.noise_width, self.noise_steps, settings)

    def noise_nets(self, world: str, seed: int) -> tuple[nn.Module, nn.Module]:
        """Networks of mu and sigma, kept."""
        study = self.noise_study(world)

        def make() -> dict:
            mean, spread = study.two_stages(seed)
            return {"mean": mean.state_dict(), "spread": spread.state_dict()}

        found = self.kept.get(f"noise-{world}-seed{seed}", self.about(world, seed=seed, part="noise"), make)
        nets = study.untrained(seed)
        for net, name in zip(nets, ("mean", "spread"), strict=True):
            net.load_state_dict(found[name])
        return tuple(net.eval() for net in nets)

    def posterior(self, world: str, seed: int):
        """features -> (mu, sigma) of the networks of a seed."""
        return partial(both, self.noise_nets(world, seed))

    def end_to_end(self, world: str, seed: int) -> EndToEnd:
        """The trained network that a generator starts from, kept."""
        family, scans = self.family(world), self.scans(world)
        net = seeded(seed, family.end_to_end).to(self.device)

        def make() -> dict:
            settings = Settings(
                self.image_steps, self.image_batch, self.image_lr, "warm-up", seed, self.settings.precision, "radam",
                **paper_rates(self.image_steps, self.image_lr),
            )  # fmt: skip
            loss = partial(l1_ssim_loss, data_range=1.0, alpha=self.weights[0], beta=self.weights[1])
            fit(net, loss, scans.fetch_images, len(scans.images["train"]), settings)
            return {"net": net.state_dict()}

        about = self.about(world, seed=seed, part="end to end")
        net.load_state_dict(self.kept.get(f"start-{world}-seed{seed}", about, make)["net"])
        return net.eval()

    def sampler(self, world: str, seed: int) -> Sampler:
        """An untrained generator."""
        options = {"kind": Sampler, "z_channels": self.settings.z_shape[0]}
        return seeded(seed, self.family(world).end_to_end, **options).to(self.device)

    def start(self, world: str, seed: int, fitted: bool, num: int = 16) -> dict[str, Tensor]:
        """Weights of a generator that begins as the trained network; `fitted`: as wide as the readings leave open."""
        sampler = warm_start(self.sampler(world, seed), self.end_to_end(world, seed))
        if not fitted:
            return sampler.state_dict()
        scans = self.scans(world)
        y, levels = scans.sinograms["train"][:num], scans.levels
        features = torch.cat([levels.features(levels.read(y, s, 3000 + i), s) for i, s in enumerate(levels.signals)])
        mu, sigma = self.posterior(world, seed)(features)
        log_sigma = torch.stack([s[rays].log().mean() for s, rays in zip(sigma, hit(mu), strict=True)])
        return fit_scale(sampler, features, log_sigma).state_dict()

    # --- generators -------------------------------------------------------------------------------------------------
    def settings_of(self, job: Job) -> GanSettings:
        return replace(self.settings, seed=job.seed, **CHANGES[job.loss][0])

    def about_job(self, job: Job) -> dict[str, object]:
        return self.about(job.world, loss=job.loss, **asdict(self.settings_of(job)))

    def fetch(self, job: Job, posterior, indices: Tensor, seeds: list[int]) -> GanBatch:
        """Readings of training bodies, what is known of their rays, and the bodies."""
        features, real = self.scans(job.world).fetch_images(indices, seeds)
        mu, sigma = posterior(features)
        return GanBatch(features, mu, sigma, real, hit(mu))

    def project(self, world: str, gray: Tensor) -> Tensor:
        """Line integrals (B, V, U) of gray images (B, Y, X)."""
        return self.scans(world).project(RANGE * gray)

    def result(self, job: Job, wait: bool = True) -> dict | None:
        """Weights of generator and critic, and the history of their training with its looks: kept, or made now."""

        def make() -> dict:
            sampler, critic = self.players(job, self.start(job.world, job.seed, CHANGES[job.loss][1]))
            settings, begun = self.settings_of(job), self.look(job, sampler)

            def seen(run: Run) -> None:
                if run.step % look_every(settings.steps) == 0 or run.step == settings.steps:
                    for name, value in {"look": run.step, **self.look(job, sampler)}.items():
                        run.history.setdefault(name, []).append(value)

            path = self.kept.path(job.name, self.about_job(job), "training") if self.checkpoints else None
            fetch = partial(self.fetch, job, self.posterior(job.world, job.seed))
            num = len(self.scans(job.world).images["train"])
            project = partial(self.project, job.world)
            run = fit_gan(sampler, critic, project, fetch, num, settings, path, 50, seen)
            if path is not None:
                path.unlink(missing_ok=True)
            looks = {name: [value, *run.history[name]] for name, value in {"look": 0, **begun}.items()}
            return {"sampler": sampler.state_dict(), "critic": critic.state_dict(), "history": run.history | looks}

        return self.kept.get(job.name, self.about_job(job), make, wait)

    def players(self, job: Job, weights: dict[str, Tensor]) -> tuple[Sampler, Critic]:
        """A generator with these weights, and a new critic."""
        sampler = self.sampler(job.world, job.seed)
        sampler.load_state_dict(weights)
        critic = seeded(job.seed + 3000, Critic, tuple(self.critic_widths)).to(self.device)
        return sampler, critic

    def trained(self, job: Job) -> tuple[Sampler, Critic]:
        """Generator and critic after their training."""
        found = self.result(job)
        sampler, critic = self.players(job, found["sampler"])
        critic.load_state_dict(found["critic"])
        return sampler.eval(), critic.eval()

    def sphere(self, num: int, generator: torch.Generator) -> Tensor:
        """`num` latents on the sphere."""
        return random_sphere((num, *self.settings.z_shape), generator, radius=self.settings.z_radius)

    def sampled(self, job: Job, features: Tensor, num: int, seed: int = 0) -> Tensor:
        """`num` samples of every reading: gray (num, B, Y, X)."""
        return self.drawn(self.trained(job)[0], features, num, seed)

    @torch.no_grad()
    def drawn(self, sampler: Sampler, features: Tensor, num: int, seed: int) -> Tensor:
        """The same by any generator."""
        source = torch.Generator().manual_seed(seed)
        each = [sampler.render(sampler.prepare(f[None]), self.sphere(num, source).to(f))[:, 0] for f in features]
        return torch.stack(each, 1)

    @torch.no_grad()
    def numbers(
        self, job: Job, sampler: Sampler, part: str, signal: float, num: int, bodies: int, seed: int
    ) -> dict[str, float]:
        """`of_samples` of `num` samples of some bodies of a part at one signal, by a generator."""
        scans, world, few = self.scans(job.world), self.world(job.world), slice(0, bodies)
        features, y = scans.features[part][signal][few], scans.sinograms[part][few]
        truth, region = scans.gray(part)[few, 0], world.regions[part][few].to(features.device)
        x = self.drawn(sampler, features, num, seed)
        seen = self.project(job.world, x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return of_samples(x, seen, truth, y, self.posterior(job.world, job.seed)(features), region)

    def look(self, job: Job, sampler: Sampler) -> dict[str, float]:
        """Numbers of a generator in training on validation bodies, always with the same latents: by "what, signal"."""
        sampler.eval()
        by = {s: self.numbers(job, sampler, "val", s, DRAWN, LOOKED, seed=1) for s in self.signals}
        return {f"{what}, {s:g}": value for s, found in by.items() for what, value in found.items()}

    def job(self, world: str, loss: str, seed: int) -> Job:
        return Job(f"generator, {world}", world, loss, seed)

    def jobs(self, world: str, loss: str) -> list[Job]:
        """The trainings of a loss, one a seed."""
        return [self.job(world, loss, seed) for seed in self.seeds[world]]

    def do(self, job: Job, wait: bool = True) -> str | None:
        """Make a training or find it; None where another process is at it, if it is not waited for."""
        found = self.result(job, wait)
        self.kept.forget()
        return None if found is None else ""

    def plan(self) -> Iterator[Job]:
        """All trainings, every loss with the first seed before the second."""
        for world, losses in self.losses.items():
            for seed in self.seeds[world]:
                yield from (self.job(world, loss, seed) for loss in losses)
