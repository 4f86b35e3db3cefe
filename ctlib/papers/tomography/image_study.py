"""End to end against networks behind FBP: every training and what it reaches, as jobs of minutes kept in files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib import metrics
from ctlib.losses import l1_ssim_loss
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.bench import Bench, scan_geometry
from ctlib.papers.tomography.contenders import APART, BEHIND, END, JOINT, Contenders, Size
from ctlib.papers.tomography.courses import look_every
from ctlib.papers.tomography.experiment import paper_rates
from ctlib.papers.tomography.image_scores import noise_and_blur, scores
from ctlib.papers.tomography.losses import mean_loss
from ctlib.papers.tomography.scans import AT_ONCE
from ctlib.papers.tomography.worlds import World, world_of
from ctlib.train import Settings, fit
from ctlib.train.kept import Kept
from ctlib.train.tuning import Tuning, tune

CODE = [
    f"ctlib.papers.tomography.{m}"
    for m in ("bench", "bodies", "contenders", "courses", "experiment", "image_scores", "image_study", "networks",
              "noise_networks", "readings", "residual_unet", "signal_levels", "worlds")
]  # fmt: skip
SHOWN = 4  # test bodies whose images are kept
REPEATS = 3  # scans of the same bodies, to tell noise from blur
COMPARED = (BEHIND, APART, END)  # the methods of every main table
MEAN_LR = 3e-3  # the largest peak rate of a network of line integrals


@dataclass(frozen=True)
class Job:
    """One training of images; `block` is its part of the plan, `lr` its peak rate, `size` the place in the sizes."""

    block: str
    world: str
    scan: str
    method: str
    size: int
    seed: int
    lr: float
    steps: int

    @property
    def name(self) -> str:
        parts = self.world, self.scan, self.method, f"size{self.size}", f"seed{self.seed}", f"lr{self.lr:g}", self.steps
        return "-".join(map(str, parts)).replace("μ", "mu").replace(",", "")


@dataclass
class Study:
    """The comparison of the chapter's first page, and the results made so far.

    n, views, few_views, arc_deg  of the image and of the three scans
    signals, eps_sd, bits         of the readings
    folder, limits                of the worlds: real bodies, and how many images by split
    sizes, depths, blocks, positions  of the networks;  main, small: places of the sizes for the main tables, for scans
                                  and drawings
    weights                       of mean |error| and of 1 - SSIM in the loss
    batch, steps, short_steps     of a training; of one of the smaller questions
    rates, tune_steps             peak rates that are tried for every method, in trainings of so many steps
    seeds                         by block: "main", "sizes", "joint", "scans", "drawings"
    """

    n: int
    views: int
    few_views: int
    arc_deg: float
    signals: Sequence[float]
    eps_sd: float
    bits: int
    folder: str
    limits: Mapping[str, Sequence[int]]
    sizes: Sequence[Size]
    depths: Sequence[int]
    blocks: Sequence[int]
    positions: str
    main: int
    small: int
    weights: Sequence[float]
    batch: int
    steps: int
    short_steps: int
    rates: Sequence[float]
    tune_steps: int
    seeds: Mapping[str, Sequence[int]]
    precision: str = "auto"
    device: str = "cpu"
    checkpoints: str | Path | None = None
    benches: dict[tuple[str, str], Bench] = field(default_factory=dict, repr=False)
    worlds: dict[str, World] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        self.kept, self.searches = Kept(self.checkpoints or None, *CODE), {}

    def world(self, name: str) -> World:
        if name not in self.worlds:
            self.worlds[name] = world_of(name, self.n, self.folder, self.limits[name])
        return self.worlds[name]

    def bench(self, world: str, scan: str = "full") -> Bench:
        """A world in a scan; the tables are those of the full scan."""
        if (world, scan) not in self.benches:
            geometry = scan_geometry(self.n, scan, self.views, self.few_views, self.arc_deg)
            detector = self.signals, self.eps_sd, self.bits
            made = Bench(self.world(world), geometry, *detector, turned=world == "real", device=self.device)
            if scan != "full":
                made.levels = self.bench(world).levels
            self.benches[world, scan] = made
        return self.benches[world, scan]

    def contenders(self, job: Job) -> Contenders:
        return Contenders(
            self.bench(job.world, job.scan), self.sizes[job.size], self.depths, self.blocks, self.positions
        )

    def about(self, job: Job) -> dict[str, object]:
        """All that a result depends on, but for the code and the images of a reader's folder."""
        mine = ("n", "views", "few_views", "arc_deg", "signals", "eps_sd", "bits", "depths", "blocks", "positions")
        mine += ("weights", "batch", "precision")
        own = {name: getattr(self, name) for name in mine} | {"limits": list(self.limits[job.world])}
        told = {k: v for k, v in asdict(job).items() if k != "block"}
        data = self.folder if job.world == "real" else ""
        return {**own, **told, "size": asdict(self.sizes[job.size]), "folder": Path(data).name}

    def schedule(self, steps: int, lr: float, seed: int) -> Settings:
        """RAdam, as in the paper."""
        return Settings(steps, self.batch, lr, "warm-up", seed, self.precision, "radam", **paper_rates(steps, lr))

    def mean_net(self, job: Job) -> nn.Module:
        """The network of line integrals before FBP, with half of the steps, trained or as it is kept."""
        return self.mean_trained(job)[0]

    def mean_trained(self, job: Job) -> tuple[nn.Module, tuple[list[int], list[float]]]:
        """The same, and its validation curve: SSIM of FBP of its line integrals. The best of it is kept."""
        steps = max(1, job.steps // 2)
        mine = replace(job, method="mean", lr=min(job.lr, MEAN_LR), steps=steps)
        makers = self.contenders(job)
        bench, net = self.bench(job.world, job.scan), seeded(job.seed + 1000, makers.mean_net)
        net = net.to(self.device)

        def make() -> dict:
            fetch = lambda indices, seeds: bench.drawn(indices, seeds)[:2]  # noqa: E731
            path = self.kept.path(mine.name, self.about(mine), "training") if self.checkpoints else None
            judge = lambda net: 1 - self.validation(nn.Identity(), makers.before(APART, net), bench)  # noqa: E731
            settings, num = self.schedule(steps, mine.lr, job.seed), len(bench.images["train"])
            looks = {"validate": judge, "validate_every": look_every(steps)}
            run = fit(net, mean_loss, fetch, num, settings, path, 100, **looks)
            if path is not None:
                path.unlink(missing_ok=True)
            curve = run.history["validation_step"], [1 - v for v in run.history["validation"]]
            return {"net": net.state_dict(), "curve": curve}

        found = self.kept.get(mine.name, self.about(mine), make)
        net.load_state_dict(found["net"])
        return net.eval(), found["curve"]

    def trained(self, job: Job) -> tuple[nn.Module, tuple[list[int], list[float]], float]:
        """(network, validation curve in SSIM, CPU seconds) of a job; goes on from its checkpoint to the step."""
        makers, bench = self.contenders(job), self.bench(job.world, job.scan)
        before = makers.before(job.method, self.mean_net(job) if job.method == APART else None)
        net = makers.make(job.method, job.seed).to(self.device)

        def fetch(indices, seeds):
            features, _, gray = bench.drawn(indices, seeds)
            return before(features), gray

        loss = partial(l1_ssim_loss, data_range=1.0, alpha=self.weights[0], beta=self.weights[1])
        path = self.kept.path(job.name, self.about(job), "training") if self.checkpoints else None
        began, every = time.process_time(), look_every(job.steps)
        judge = lambda net: 1 - self.validation(net, before, bench)  # noqa: E731
        settings = self.schedule(job.steps, job.lr, job.seed)
        run = fit(
            net, loss, fetch, len(bench.images["train"]), settings, path, 100, validate=judge, validate_every=every
        )
        if path is not None:
            path.unlink(missing_ok=True)
        curve = run.history["validation_step"], [1 - v for v in run.history["validation"]]
        return net, curve, time.process_time() - began

    def validation(self, net, before, bench: Bench) -> float:
        """Mean SSIM inside the body over validation bodies and signals."""
        found = [
            metrics.ssim(x[:, 0], bench.gray("val")[:, 0], data_range=1.0, mask=bench.world.regions["val"].to(x.device))
            for x in self.images(net, before, bench.features("val")).values()
        ]
        return float(torch.stack(found).mean())

    @torch.no_grad()
    def images(self, net, before, features: Mapping[float, Tensor]) -> dict[float, Tensor]:
        """Gray images (N, 1, Y, X) by signal."""
        run = lambda f: torch.cat([net(before(part)).float() for part in f.split(AT_ONCE)])  # noqa: E731
        return {s: run(f) for s, f in features.items()}

    def result(self, job: Job, wait: bool = True) -> dict | None:
        """Scores, curve, pictures and weights of a training: kept, or made now."""

        def make() -> dict:
            net, curve, seconds = self.trained(job)
            found = {"curve": curve, "seconds": seconds, "weights": self.contenders(job).weights(job.method)}
            if job.block == "tuning":
                return found
            makers = self.contenders(job)
            before = makers.before(job.method, self.mean_net(job) if job.method == APART else None)
            return found | self.judged(job, net, before) | {"net": net.state_dict()}

        return self.kept.get(job.name, self.about(job), make, wait)

    def judged(self, job: Job, net, before) -> dict:
        """Scores of every test body by signal, inside the body; pictures of some; noise and blur apart."""
        bench = self.bench(job.world, job.scan)
        seen = [self.images(net, before, _first(bench.features("test", r), r)) for r in range(REPEATS)]
        first = seen[0]
        few = {s: torch.stack([by[s][: _few(first)] for by in seen])[:, :, 0] for s in first}
        truth, region = bench.gray("test")[:, 0], bench.world.regions["test"].to(self.device)
        return {
            "scores": {f"{s:g}": scores(x[:, 0], truth, region) for s, x in first.items()},
            "pictures": {f"{s:g}": x[:SHOWN, 0].cpu() for s, x in first.items()},
            "apart": {f"{s:g}": noise_and_blur(x, truth[: x.shape[1]], region[: x.shape[1]]) for s, x in few.items()},
        }

    def plain(self, world: str, scan: str = "full") -> dict:
        """The same of FBP: of the table's mean, and of line integrals without noise, the floor of any FBP."""
        bench, job = self.bench(world, scan), Job("", world, scan, BEHIND, self.main, 0, 1.0, 0)

        def make() -> dict:
            found = self.judged(job, nn.Identity(), lambda f: bench.fbp(f[:, 1]))
            clean = bench.fbp(bench.A(bench.images["test"]))[:, 0]
            return found | {
                "floor": scores(clean, bench.gray("test")[:, 0], bench.world.regions["test"].to(self.device))
            }

        return self.kept.get(f"fbp-{world}-{scan}", self.about(job) | {"part": "FBP"}, make)

    # --- the plan -------------------------------------------------------------------------------------------------
    @property
    def searched(self) -> tuple[str, ...]:
        """The methods with a search of their rate: all that are trained at the main size."""
        return (*COMPARED, *([JOINT] if self.seeds["joint"] else []))

    def tuning_jobs(self) -> list[Job]:
        """Every rate of every method, on real bodies where there are any, the main size, a seed of its own."""
        world = "real" if "real" in self.limits else "synthetic"
        seed = 900 + self.seeds["main"][0]
        options = [(m, lr) for m in self.searched for lr in self.rates]
        return [Job("tuning", world, "full", m, self.main, seed, lr, self.tune_steps) for m, lr in options]

    @property
    def search(self) -> Tuning:
        """The trials: 1 - SSIM inside the validation bodies, lower is better."""
        if "main" not in self.searches:
            by = {(j.method, j.lr): min(1 - v for v in self.result(j)["curve"][1]) for j in self.tuning_jobs()}
            self.searches["main"] = tune(
                {m: [{"lr": lr} for lr in self.rates] for m in self.searched}, lambda m, s: by[m, s["lr"]]
            )
        return self.searches["main"]

    def rate(self, method: str) -> float:
        """The rate that was best for a method, whatever the size, scan and bodies."""
        return float(self.search.best(method).settings["lr"])

    def job(self, block: str, world: str, scan: str, method: str, size: int, seed: int) -> Job:
        steps = self.short_steps if block in ("scans", "drawings") else self.steps
        return Job(block, world, scan, method, size, seed, self.rate(method), steps)

    def jobs(self, block: str) -> list[Job]:
        """The trainings of a block."""
        home = "real" if "real" in self.limits else "synthetic"
        seeds, job = self.seeds[block], partial(self.job, block)
        if block == "main":
            return [job(home, "full", m, self.main, s) for s in seeds for m in COMPARED]
        if block == "sizes":
            others = [i for i in range(len(self.sizes)) if i != self.main]
            return [job(home, "full", m, i, s) for s in seeds for i in others for m in (BEHIND, END)]
        if block == "joint":
            return [job(home, "full", JOINT, self.main, s) for s in seeds]
        if block == "scans":
            scans = ("few views", "short arc")
            return [job(home, scan, m, self.small, s) for s in seeds for scan in scans for m in (BEHIND, END)]
        return (
            [job("synthetic", "full", m, self.small, s) for s in seeds for m in COMPARED]
            if "synthetic" in self.limits
            else []
        )

    def do(self, job: Job, wait: bool = True) -> str | None:
        """Make a training or find it; None where another process is at it, if it is not waited for."""
        found = self.result(job, wait)
        self.kept.forget()
        return None if found is None else ""

    def plan(self) -> Iterator[Job]:
        """All jobs, main verdicts first."""
        yield from self.tuning_jobs()
        for block in ("main", "joint", "drawings", "scans", "sizes"):
            yield from self.jobs(block)

    def found(self, block: str, **like: object) -> list[dict]:
        """Results of a block's trainings whose fields are like these, one a seed in order."""
        return [self.result(j) for j in self.jobs(block) if all(getattr(j, k) == v for k, v in like.items())]


def _few(by: Mapping[float, Tensor]) -> int:
    return min(8, *(len(x) for x in by.values()))


def _first(features: dict[float, Tensor], repeat: int) -> dict[float, Tensor]:
    """All bodies of the first scan, few of the repeats."""
    return features if repeat == 0 else {s: f[:8] for s, f in features.items()}
