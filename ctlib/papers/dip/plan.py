"""All fits of the chapter as a list in order of importance, each with a checkpoint file of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ctlib.contract import number
from ctlib.papers.dip.bodies import Body
from ctlib.papers.dip.experiment import Setup, fit_task, hold_out
from ctlib.papers.dip.fit import Fit
from ctlib.papers.dip.scan import scan_task
from ctlib.papers.dip.tasks import Task, make_task
from ctlib.train.kept import claimed

KINDS = ("denoise", "noisy", "sr", "inpaint", "restore")  # noisy: denoising at the high level, 5 % of pixels held out
SWEPT = ("denoise", "sr", "inpaint", "restore")
SETTINGS = {"lr": SWEPT, "reg_noise": ("denoise", "sr", "restore"), "scales": SWEPT}  # what the paper varies, and where
HELD_OUT = 0.05
TRIALS = 8  # stopping points that are tried, each half of the next: as many as weights of a classical method


@dataclass(frozen=True)
class Job:
    """One fit: of a task on a body, with a seed, so many steps and a setup; `block` is its part of the plan."""

    block: str
    body: str
    kind: str
    seed: int
    steps: int
    setup: Setup

    @property
    def name(self) -> str:
        """All that tells it from the other fits of a chapter."""
        s = self.setup
        net = f"{s.scales}x{s.channels}-skip{s.skip}-{s.up}"
        return f"{self.body}-{self.kind}-seed{self.seed}-{self.steps}-lr{s.lr:g}-noise{s.reg_noise:g}-{net}"

    @property
    def file(self) -> str:
        """Its checkpoint."""
        return f"{self.name}.fit"


@dataclass
class Study:
    """The chapter's experiment: bodies, degradations and settings, and the fits made so far.

    bodies        by role: "real" and "synthetic" to judge on, "val" to tune on, "large" for the four tasks again
    seeds         by role, of weights, input, noise and masks; sweeps have the first alone
    setup         the original settings; `changes` by kind of task where the original differs
    steps         by kind of task, of those that are fitted; "ct": from projections
    halved        how often a sweep's steps are halved: it ends at one of the stopping points that may be chosen
    degrade       options of `make_task`; sigma_high: noise of "noisy"
    sweeps        {setting: values}; restore_reg: input noises of restoration, where the paper's figure shows one more
    swept         {role: settings that are swept there}
    advice        {kind: changes} that the paper recommends
    original      {kind: changes} that bring back the original where ours differs, to measure what that does
    scan          (views, photons) of the extension to projections
    checkpoints   folder, or None; every: steps between two
    """

    bodies: Mapping[str, Body]
    seeds: Mapping[str, Sequence[int]]
    setup: Setup
    steps: Mapping[str, int]
    halved: int = 1
    sigma_high: float = 0.3
    degrade: Mapping[str, object] = field(default_factory=dict)
    sweeps: Mapping[str, Sequence[float]] = field(default_factory=dict)
    restore_reg: Sequence[float] = ()
    swept: Mapping[str, Sequence[str]] = field(default_factory=dict)
    advice: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    original: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    scan: tuple[int, float] = (30, 2e4)
    changes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    checkpoints: str | Path | None = None
    every: int = 200
    done: dict[str, Fit] = field(default_factory=dict, repr=False)

    def task(self, role: str, kind: str, seed: int) -> tuple[Task, tuple | None]:
        """A task on a body, and the entries that are kept from its fit, if any."""
        body = self.bodies[role]
        if kind == "ct":
            return scan_task(body, *self.scan, seed), None
        if kind == "noisy":
            return hold_out(make_task("denoise", body.gray, seed, sigma=self.sigma_high), 1 - HELD_OUT, seed)
        return make_task(kind, body.gray, seed, **self.degrade), None

    def seen(self, role: str, kind: str, seed: int) -> Task:
        """The task as a classical method sees it: all pixels of the noisy image."""
        if kind == "noisy":
            return make_task("denoise", self.bodies[role].gray, seed, sigma=self.sigma_high)
        return self.task(role, kind, seed)[0]

    def job(self, block: str, role: str, kind: str, seed: int | None = None, **changes) -> Job:
        """The fit of a task with the original settings, changed ones aside; those end where sweeps do."""
        setup = replace(self.setup, **{**self.changes.get(kind, {}), **changes})
        seed, steps = self.seeds[role][0] if seed is None else seed, self.steps[kind]
        steps = self.sweep_steps(kind) if changes else steps
        return Job(block, self.bodies[role].name, kind, seed, steps, setup)

    def sweep_steps(self, kind: str) -> int:
        """How long the fits of a sweep are."""
        return max(1, self.steps[kind] >> self.halved)

    def values(self, kind: str, setting: str) -> Sequence[float]:
        """The values of a setting that are compared in a task."""
        return self.restore_reg if (kind, setting) == ("restore", "reg_noise") else self.sweeps[setting]

    def marks(self, kind: str) -> list[int]:
        """Steps whose images are kept: stopping points that may be chosen, and some between."""
        steps = self.steps[kind]
        between = np.geomspace(max(1, steps >> (TRIALS - 1)), steps, 2 * TRIALS - 1)
        return sorted({max(0, round(float(s)) - 1) for s in between} | {self.sweep_steps(kind) - 1, *self.stops(kind)})

    def stops(self, kind: str) -> list[int]:
        """The stopping points that may be chosen: the last step, half of the steps, a quarter ... down to the first."""
        found = {max(1, self.steps[kind] >> k) - 1 for k in range(TRIALS)}
        return sorted([*found, *[s for s in range(TRIALS) if s not in found][: TRIALS - len(found)]])

    def fit(self, job: Job) -> Fit:
        """The result of a fit: known, read from its checkpoint, or computed."""
        if job.file not in self.done:
            role = next(r for r, b in self.bodies.items() if b.name == job.body)
            task, left = self.task(role, job.kind, job.seed)
            region = self.bodies[role].region
            path = Path(self.checkpoints, job.file) if self.checkpoints else None
            marks = [m for m in self.marks(job.kind) if m < job.steps]
            options = {"region": region, "held_out": left, "snapshots": marks, "path": path, "every": self.every}
            self.done[job.file] = fit_task(task, job.seed, job.steps, job.setup, **options)
        return self.done[job.file]

    def do(self, job: Job, wait: bool = True) -> str | None:
        """Make a fit or find it, and say how good it is; None where another process is at it and `wait` is false."""
        with claimed(Path(self.checkpoints, job.file), wait) as ours:
            if not ours:
                return None
            fit = self.fit(job)
        self.done.pop(job.file)  # it is in its file
        return f"{fit.psnr_average[-1]:.2f} dB"

    def fits(self, role: str, kind: str) -> list[Fit]:
        """The main fits of a task on a body, one a seed."""
        return [self.fit(j) for j in self.main_jobs(role) if j.kind == kind]

    def main_jobs(self, role: str) -> list[Job]:
        """The main fits on a body, for every seed of it."""
        kinds = {"real": (*KINDS, "ct"), "val": (*KINDS, "ct"), "synthetic": KINDS, "large": SWEPT}[role]
        return [self.job(role, role, kind, seed) for seed in self.seeds[role] for kind in kinds if kind in self.steps]

    def sweep_jobs(self, role: str, setting: str, kind: str) -> dict[float, Job]:
        """{value: fit} of a sweep; the value of the main fits is the first of those, which goes on longer."""
        own = getattr(self.job("", role, kind).setup, setting)
        main = self.job(role, role, kind)
        return {
            v: main if v == own else self.job(f"{role}, {setting}", role, kind, **{setting: v})
            for v in self.values(kind, setting)
        }

    def sweep(self, role: str, setting: str, kind: str) -> dict[float, Fit]:
        """The fits of a sweep, all as long: {value: fit}."""
        steps = self.sweep_steps(kind)
        return {v: self.fit(j).first(steps) for v, j in self.sweep_jobs(role, setting, kind).items()}

    def advice_job(self, role: str, kind: str) -> Job:
        """The settings that the paper recommends for a task."""
        return self.job(f"{role}, advice", role, kind, **self.advice[kind])

    def original_job(self, kind: str) -> Job:
        """A task with the original settings that ours differ from."""
        return self.job("deviations", "real", kind, **self.original[kind])

    def plan(self) -> list[Job]:
        """All fits, the most important first: tasks, learning rates, other sweeps, the larger size, deviations."""
        first, others = [], []
        for role in (r for r in ("real", "val", "synthetic") if r in self.bodies):
            for job in self.main_jobs(role):
                (first if job.seed == self.seeds[role][0] else others).append(job)
        jobs = first + others
        for settings in (("lr",), ("reg_noise", "scales")):
            for role, asked in self.swept.items():
                for setting in (s for s in settings if s in asked):
                    for kind in SETTINGS[setting]:
                        jobs += self.sweep_jobs(role, setting, kind).values()
                if "lr" in settings and "lr" in asked:
                    jobs += [self.advice_job(role, kind) for kind in self.advice]
        if "large" in self.bodies:
            jobs += self.main_jobs("large")
        jobs += [self.original_job(kind) for kind in self.original]
        once: dict[str, Job] = {}
        for job in jobs:
            once.setdefault(job.file, job)
        return list(once.values())


def megaflops(job: Job, pixels: int) -> float:
    """Multiplications and additions of one step of a fit [millions]: its convolutions, forward and twice backward."""
    s, total, planes = job.setup, 0.0, job.setup.inputs
    for _ in range(s.scales):
        c, quarter = s.channels, pixels / 4
        down = quarter * 9 * c * (planes + c)
        join = pixels * (planes * s.skip + 9 * (c + s.skip) * c + c * c)
        total, planes, pixels = total + down + join, c, quarter
    return 3 * 2 * total / 1e6


def hours(study: Study, jobs: Sequence[Job], gigaflops: float = 230.0) -> dict[str, tuple[int, float]]:
    """{block: (number of fits, hours)} of a plan on a processor that does so many operations a second [1e9]."""
    rate = 3.6e6 * number("gigaflops", gigaflops, above=0)
    sizes = {b.name: b.gray.numel() for b in study.bodies.values()}
    out: dict[str, tuple[int, float]] = {}
    for job in jobs:
        fits, spent = out.get(job.block, (0, 0.0))
        out[job.block] = fits + 1, spent + job.steps * megaflops(job, sizes[job.body]) / rate
    return out
