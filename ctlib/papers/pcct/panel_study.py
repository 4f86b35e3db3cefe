"""The scatter test as jobs of minutes: bodies simulated, networks trained, each scored; every one kept in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ctlib.nets.seeded import seeded
from ctlib.papers.pcct.bodies import Body
from ctlib.papers.pcct.experiment import Setting, trained_proxy
from ctlib.papers.pcct.panel_test import LOSSES, Scanner, errors, image_mix, mixed, truth_of
from ctlib.papers.pcct.panels import PanelScan, Simulation, panel_paths, panel_scatter, simulated_scatter
from ctlib.papers.pcct.proxy import ProxyDecomposition, solver_samples
from ctlib.papers.pcct.scatter_kernel import fit_scatter_kernel
from ctlib.papers.pcct.scatter_net import ScatterNet, direct_loss, scatter_ratio
from ctlib.papers.pcct.training import fit_scatter_net
from ctlib.train.kept import Kept, claimed

METHODS = {  # name: kind of loss, weights of its images, gradient limit, through the proxy
    "Direct": ("direct", "printed", None, False),
    "Cross": ("cross", "printed", None, False),
    "Cross whitened": ("cross", "whitened", None, False),
    "Cross with 60 keV": ("cross", "with 60 keV", None, False),
    "Cross limited": ("cross", "printed", 5e-4, False),
    "Cross by proxy": ("cross", "printed", None, True),
}
ANALYTIC = ("uncorrected", "kernel")
SIMULATED = ["ctlib.papers.pcct.bodies", "ctlib.papers.pcct.panels", "ctlib.physics.scatter.transport"]
TRAINED = [f"ctlib.papers.pcct.{m}" for m in ("panel_test", "scatter_net", "training", "proxy", "scatter_kernel")]


def _file(name: str) -> str:
    """A name as part of a file's."""
    return "-".join(name.replace("/", " ").replace(",", " ").split())


@dataclass(frozen=True)
class Job:
    """A part of the plan: block "scatter" of a body, "train" or "score" of a method with a seed."""

    block: str
    method: str
    seed: int = 0

    @property
    def name(self) -> str:
        """What tells it from the others of its block."""
        return f"{self.method}, seed {self.seed}"


@dataclass
class PanelStudy:
    """Bodies, scanner and trainings of the scatter test, and what has been made of it so far.

    bodies    by part: "train", "val", "test"
    spr       mean scatter-to-primary ratio of the training bodies, to which all scatter is scaled by one factor
    channels, pools  of the network;  epochs  passes over the training bodies;  lr  of Adam;  seeds  by method
    proxy     (samples, steps) of the network in place of the solver;  validate_epochs  passes between validations
    """

    setting: Setting
    scan: PanelScan
    how: Simulation
    bodies: Mapping[str, Sequence[Body]]
    spr: float
    channels: Sequence[int]
    pools: Sequence[Sequence[int]]
    epochs: int
    lr: float
    seeds: Mapping[str, Sequence[int]]
    proxy: tuple[int, int] = (20000, 20000)
    validate_epochs: int = 1
    precision: str = "float32"
    checkpoints: str | Path | None = None
    cache: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        folder = self.checkpoints or None
        self.simulated, self.scored = Kept(folder, *SIMULATED), Kept(folder, *SIMULATED, *TRAINED)
        self.model, self.cm = self.setting.model(), self.setting.cm
        start = self.cm * self.cm.new_tensor([5.0, 0.1])
        make = lambda g: Scanner(self.model, self.setting.box, g, start)  # noqa: E731
        self.trained_on, self.tested_on = make(self.scan.trained), make(self.scan.tested)

    def about(self) -> dict[str, object]:
        """What every simulation depends on."""
        s = self.setting
        beam = {"spectrum": s.spectrum.weights.tolist(), "thresholds": list(s.thresholds_kev), "depth": s.depth_mm}
        return {"scan": asdict(self.scan), "how": asdict(self.how), **beam, "noise": s.noise_kev, "cloud": s.cloud_mm}

    def cells(self, body: Body) -> dict[str, Tensor]:
        """Simulated scatter of a body in coarse cells, `simulated_scatter`."""
        seed = 1000 + sorted(b.name for part in self.bodies.values() for b in part).index(body.name)
        about = self.about() | {"body": body.name, "sum": float(body.densities.double().sum()), "seed": seed}
        response = self.model.counts_per_photon
        make = lambda: simulated_scatter(body, self.scan, self.how, self.setting.spectrum, response, seed)  # noqa: E731
        return self.simulated.get(f"scatter-{_file(body.name)}", about, make)

    def signals(self, body: Body, finely: bool) -> tuple[Tensor, Tensor]:
        """Primary and unscaled scatter (E, V, R, U), relative to the open beam: of the arc, or of the test's circle."""
        geometry = (self.tested_on if finely else self.trained_on).geometry
        open_beam = self.model(torch.zeros(2)).double()[:, None, None, None]
        paths = panel_paths(body, self.scan, geometry).double()
        primary = self.model(paths.movedim(0, -1)).movedim(-1, 0) / open_beam
        scatter = panel_scatter(self.cells(body)["scatter"], self.scan, self.how, self.scan.finer if finely else 1)
        scatter = scatter[:, : geometry.num_views].double() * self.setting.photons / open_beam
        return primary.float(), scatter.float()

    def unscaled(self, part: str) -> tuple[Tensor, Tensor]:
        """Primary and scatter as simulated (N, E, V, R, U) of the bodies of "train" and "val" over the arc."""
        if part not in self.cache:
            found = [self.signals(b, False) for b in self.bodies[part]]
            self.cache[part] = tuple(torch.stack(s) for s in zip(*found, strict=True))
        return self.cache[part]

    def stack(self, part: str) -> tuple[Tensor, Tensor]:
        """Primary and scaled scatter (N, E, V, R, U) of the bodies of "train" and "val" over the arc."""
        primary, scatter = self.unscaled(part)
        return primary, self.scale() * scatter

    def scale(self) -> float:
        """Factor that brings the training bodies' mean scatter-to-primary ratio to the one wanted."""
        if "scale" not in self.cache:
            primary, scatter = self.unscaled("train")
            self.cache["scale"] = self.spr / float((scatter / primary).flatten(1).mean(1).mean())
        return self.cache["scale"]

    def test_signals(self, body: Body) -> tuple[Tensor, Tensor]:
        """Primary and scaled scatter (E, V, R, U) of a body over the test's circle."""
        primary, scatter = self.signals(body, True)
        return primary, self.scale() * scatter

    def all_signals(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Primary and scatter of training and validation bodies, and which are which."""
        train, val = self.stack("train"), self.stack("val")
        num = len(train[0])
        sets = torch.arange(num), torch.arange(num, num + len(val[0]))
        return torch.cat([train[0], val[0]]), torch.cat([train[1], val[1]]), *sets

    def scatterless(self) -> Tensor:
        """Images (N, 2, Z, Y, X) of training and validation bodies without scatter."""
        if "images" not in self.cache:
            primary = self.all_signals()[0]
            each = [self.trained_on.images(self.trained_on.paths(p[None])) for p in primary]
            self.cache["images"] = torch.cat(each)
        return self.cache["images"]

    def rows(self, kind: str) -> Tensor:
        """Weights of the images of a loss; the information is that of the training readings."""
        if kind not in self.cache:
            paths = self.trained_on.paths(self.stack("train")[0][:4]).movedim(1, -1).reshape(-1, 2)
            self.cache[kind] = image_mix(kind, self.model, paths[paths[:, 0] > 1][::37])
        return self.cache[kind]

    def proxy_net(self) -> ProxyDecomposition:
        """The network in place of the solver, trained over what the bodies hold."""
        if "proxy" not in self.cache:
            low, high = (self.cm.new_tensor(x) * self.cm for x in ((-1.0, -0.3), (40.0, 6.0)))
            source = torch.Generator().manual_seed(0)
            samples = solver_samples(self.model, low * 0.5, high, self.proxy[0], source, self.setting.box)
            open_beam = self.model(self.cm.new_zeros(2))
            self.cache["proxy"] = trained_proxy(open_beam, low, high, samples, 0, 1.0, self.proxy[1])
        return self.cache["proxy"]

    def training(self, method: str, seed: int):
        """(network, history) of a method: from its checkpoint, or trained now."""
        if (method, seed) not in self.cache:
            self.cache[method, seed] = self._training(method, seed)
        return self.cache[method, seed]

    def _training(self, method: str, seed: int):
        kind, weights, limit, by_proxy = METHODS[method]
        primary, scatter, train, val = self.all_signals()
        rows = self.rows(weights)
        proxy = self.proxy_net() if by_proxy else None
        decompose = (lambda x: proxy(x * proxy.open_beam)) if by_proxy else None
        loss = self.trained_on.loss(kind, rows, limit, decompose)
        target = scatter if kind == "direct" else mixed(self.scatterless(), rows)
        pools = tuple(tuple(p) for p in self.pools)
        net = seeded(seed, ScatterNet, self.model.num_bins, tuple(self.channels), last_stride=1, pools=pools)
        path = Path(self.checkpoints, f"{_file(method)}-seed{seed}.fit") if self.checkpoints else None
        run = fit_scatter_net(
            net, loss, primary + scatter, target, train, val, self.epochs, self.lr, seed, batch=1,
            path=path, every=50, precision=self.precision, validate_epochs=self.validate_epochs,
        )  # fmt: skip
        return net, run.history

    def guess(self, method: str, seed: int, total: Tensor) -> Tensor:
        """Scatter (E, V, R, U) that a method takes out of one body's counts."""
        if method == "uncorrected":
            return torch.zeros_like(total)
        if method == "kernel":
            if "kernel" not in self.cache:
                primary, scatter = self.stack("train")
                flat = [x[:, :, ::4].flatten(2, 3) for x in (primary + scatter, scatter)]  # rows as further views
                widths = self.scan.cols / 16, self.scan.cols / 3
                self.cache["kernel"] = fit_scatter_kernel(*flat, start_widths=widths)
            rows = total.flatten(1, 2)
            return self.cache["kernel"].scatter(rows[None])[0].reshape(total.shape)
        net = self.training(method, seed)[0]
        with torch.no_grad():
            return scatter_ratio(net, total[None])[0] * total

    def scores(self, method: str, seed: int = 0) -> dict[str, object]:
        """Errors of all test bodies, `errors` stacked under their names; kept."""
        about = self.about() | self._trained(method, seed)
        return self.scored.get(f"scores-{_file(method)}-{seed}", about, lambda: self._scores(method, seed))

    def _trained(self, method: str, seed: int) -> dict[str, object]:
        names = {part: [b.name for b in self.bodies[part]] for part in self.bodies}
        how = {"spr": self.spr, "channels": list(self.channels), "pools": [list(p) for p in self.pools]}
        how |= {"epochs": self.epochs, "lr": self.lr, "proxy": list(self.proxy), "precision": self.precision}
        how |= {"validate_epochs": self.validate_epochs}
        return {"bodies": names, "method": method, "seed": seed} | (how if method in METHODS else {"spr": self.spr})

    def _scores(self, method: str, seed: int) -> dict[str, object]:
        found = []
        for body in self.bodies["test"]:
            primary, scatter = self.test_signals(body)
            guess = self.guess(method, seed, primary + scatter)
            if ("truth", body.name) not in self.cache:
                self.cache["truth", body.name] = truth_of(self.tested_on, primary)
            truth = self.cache["truth", body.name]
            found.append(errors(self.tested_on, primary, scatter, guess, self.cm, truth))
        shown = {k: torch.stack([f[k] for f in found[:2]]) for k in ("images", "vmi", "paths")}
        return {k: torch.stack([f[k] for f in found]) for k in ("rows", "center", "off", "view")} | shown

    def losses(self, method: str, seed: int = 0) -> dict[str, float]:
        """Every loss of a method on the validation bodies: the scatter's, and those of the images by name; kept."""
        about = self.about() | self._trained(method, seed)
        return self.scored.get(f"losses-{_file(method)}-{seed}", about, lambda: self._losses(method, seed))

    def _losses(self, method: str, seed: int) -> dict[str, float]:
        primary, scatter = self.stack("val")
        references = self.scatterless()[-len(primary) :]
        sums = dict.fromkeys(("scatter", *LOSSES), 0.0)
        for p, s, reference in zip(primary, scatter, references, strict=True):
            guess = self.guess(method, seed, p + s)
            sums["scatter"] += float(direct_loss(guess / (p + s), p + s, s))
            images = self.trained_on.images(self.trained_on.paths((p + s - guess).clamp_min(1e-9)[None]))
            for kind in LOSSES:
                sums[kind] += float(mixed(images - reference[None], self.rows(kind)).abs().mean())
        return {k: v / len(primary) for k, v in sums.items()}

    def plan(self) -> Iterator[Job]:
        """Bodies, then trainings, then scores; main verdicts first: the first seed of Direct and Cross."""
        for part in ("train", "val", "test"):
            yield from (Job("scatter", b.name) for b in self.bodies[part])
        order = sorted((k, list(METHODS).index(m), m, s) for m in METHODS for k, s in enumerate(self.seeds.get(m, ())))
        yield from (Job("train", m, s) for *_, m, s in order)
        yield from (Job("score", m, s) for *_, m, s in order)
        yield from (Job("score", m) for m in ANALYTIC)

    def do(self, job: Job, wait: bool = True) -> str | None:
        """Make a job's result, or find it; None where another process is at it, if it is not waited for."""
        needs = [replace(job, block="train")] if job.block == "score" and job.method in METHODS else []
        with ExitStack() as held:  # a score makes the training that it is of, unless another process is at that
            files = (Path(self.checkpoints, f"{j.block}-{_file(j.name)}.job") for j in [*needs, job])
            if not all(held.enter_context(claimed(file, wait)) for file in files):
                return None
            if job.block == "scatter":
                self.cells(next(b for part in self.bodies.values() for b in part if b.name == job.method))
            elif job.block == "train":
                self.training(job.method, job.seed)
            else:
                self.scores(job.method, job.seed)
                self.losses(job.method, job.seed)
        return ""
