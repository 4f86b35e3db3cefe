"""The chapter's experiment as jobs of minutes: one method on one specimen with one setting, each kept in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ctlib.papers.spectral2spectral.evaluation import spine_row
from ctlib.papers.spectral2spectral.experiment import Settings
from ctlib.papers.spectral2spectral.jobs import Job, Site
from ctlib.papers.spectral2spectral.measured import IMAGES, measured, seen
from ctlib.papers.spectral2spectral.methods import PRINTED, PRINTED_START, run_method, trials_of
from ctlib.papers.spectral2spectral.scene import Acquisition, ScannedScene, simulated
from ctlib.papers.spectral2spectral.start import first_images
from ctlib.recon import fbp
from ctlib.train.kept import Kept
from ctlib.train.tuning import Tuning, tune

ABLATED = 3  # mice on which parts of the method are left out
VALIDATION = 100  # seed of the specimen on which settings are chosen; it is in no table
CODE = [
    f"ctlib.papers.spectral2spectral.{m}"
    for m in (
        "binned", "evaluation", "experiment", "losses", "low_rank", "matrix_fit", "methods", "noise2noise", "noise2sim",
        "measured", "noise_level", "pairs", "prior", "regions", "scan", "scene", "scores", "specimens", "splitting",
        "start", "subspace",
    )
]  # fmt: skip


@dataclass
class Study:
    """Specimens, methods and settings of the chapter, and the results made so far.

    seeds         by kind, "rods" and "mouse"
    n, views      image size, views over a turn; of another size views change in proportion
    counts        photons of an open-beam reading
    slices        by kind;  tuning_slices: of the specimens that settings are chosen on
    drift         of the mouse from slice to slice
    methods       compared by name;  trials: settings tried for each
    doses, sizes  of the phase diagram;  phase_methods, phase_trials, phase_seeds, phase_steps: there
    ablations     {name: options of the method as printed}
    modes         how bins are counted, by kind; "poisson" where none is given
    """

    seeds: Mapping[str, Sequence[int]]
    n: int
    views: int
    counts: float
    slices: Mapping[str, int]
    tuning_slices: int
    drift: float
    settings: Settings
    methods: Sequence[str]
    trials: int
    doses: Sequence[float] = ()
    sizes: Sequence[int] = ()
    phase_methods: Sequence[str] = ()
    phase_trials: int = 2
    phase_seeds: Sequence[int] = ()
    phase_steps: int = 100
    ablations: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    device: str = "cpu"
    checkpoints: str | Path | None = None

    def __post_init__(self):
        self.kept, self.scenes, self.tunings = Kept(self.checkpoints or None, *CODE), {}, {}

    def site(self, kind: str, seed: int, n: int | None = None, counts: float | None = None) -> Site:
        """A specimen of the study; the one with the validation seed has fewer slices."""
        slices = self.tuning_slices if seed == VALIDATION or n is not None else self.slices[kind]
        drift = self.drift if kind == "mouse" else 0.0
        return Site(kind, seed, n or self.n, counts or self.counts, slices, drift)

    def mode(self, kind: str) -> str:
        """How the bins of a kind of specimen are counted, see `bin_counts`."""
        return self.modes.get(kind, "poisson")

    def scene(self, site: Site) -> ScannedScene:
        """Its scan, the matrix calibrated on the validation specimen of the same scanner; the last two are kept."""
        if site not in self.scenes:
            matrix = None
            if site.seed != VALIDATION:
                matrix = self.matrix(replace(site, seed=VALIDATION, slices=self.tuning_slices))
            views = round(self.views * site.n / self.n)
            a = Acquisition(site.n, views, site.slices, site.counts, 0, self.mode(site.kind), self.device)
            made = simulated(site.kind, site.seed, a, site.drift, matrix)
            while len(self.scenes) > 1:
                self.scenes.pop(next(iter(self.scenes)))
            self.scenes[site] = made
        return self.scenes[site]

    def matrix(self, site: Site) -> Tensor:
        """Effective attenuation (E, M) of a scanner, kept: noiseless, so the same for every number of photons."""
        about = self.about(site) | {"counts": 0}
        return self.kept.get(f"matrix-{site.kind}-{site.n}px", about, lambda: {"matrix": self.scene(site).matrix})[
            "matrix"
        ]

    def about(self, site: Site) -> dict[str, object]:
        """All that a scan depends on."""
        views = round(self.views * site.n / self.n)
        return {**asdict(site), "views": views, "mode": self.mode(site.kind)}

    def result(self, job: Job, wait: bool = True) -> dict | None:
        """Scores, curve and sections of a reconstruction, as `measured` gives them: kept, or computed now.

        wait  where another process is computing it; else None
        """
        settings = asdict(self.settings_of(job))
        about = self.about(job.site) | {"method": job.method, "options": dict(job.options), **settings}
        return self.kept.get(job.name, about, lambda: measured(self.scene(job.site), *self.run(job)), wait)

    def do(self, job: Job, wait: bool = True) -> str | None:
        """Make a result or find it, and say its mean errors; None as in `result`."""
        found = self.result(job, wait)
        return found and "error " + " ".join(f"{np.mean(found['scores'][k]['error']):.4f}" for k in IMAGES)

    def run(self, job: Job):
        """The reconstruction of a job and its validation curve."""
        return run_method(job.method, self.scene(job.site), self.settings_of(job), dict(job.options))

    def settings_of(self, job: Job) -> Settings:
        """Those of the study; the networks of the phase diagram have `phase_steps` in each outer step."""
        return replace(self.settings, steps=self.phase_steps) if job.block.startswith("phase") else self.settings

    def tuning_jobs(self, kind: str, n: int | None = None, counts: float | None = None) -> list[Job]:
        """Every trial of every method on the validation specimen."""
        methods, num = (self.methods, self.trials) if n is None else (self.phase_methods, self.phase_trials)
        block = f"tuning, {kind}" if n is None else f"phase, {n} pixels"
        site = self.site(kind, VALIDATION, n, counts)
        found = trials_of(list(methods), num)
        return [Job(block, site, m, tuple(o.items())) for m, tried in found.items() for o in tried]

    def trial(self, method: str, kind: str, options: tuple, n: int | None = None, counts: float | None = None) -> Job:
        """A trial by its options."""
        return next(j for j in self.tuning_jobs(kind, n, counts) if (j.method, j.options) == (method, options))

    def tuned(self, kind: str, n: int | None = None, counts: float | None = None) -> Tuning:
        """The trials, each with both images: mean error of the bins inside the body, lower is better."""
        if (kind, n, counts) not in self.tunings:
            self.tunings[kind, n, counts] = self._tuned(kind, n, counts)
        return self.tunings[kind, n, counts]

    def _tuned(self, kind: str, n: int | None, counts: float | None) -> Tuning:
        jobs = [j for j in self.tuning_jobs(kind, n, counts) if j.method != PRINTED]
        by = {(j.method, j.options): self.result(j) for j in jobs}
        trials: dict[str, list[dict]] = {}
        for method, options in by:
            trials.setdefault(method, []).extend({**dict(options), "image": image} for image in IMAGES)

        def score(method: str, settings: Mapping) -> float:
            options = tuple((k, v) for k, v in settings.items() if k != "image")
            return float(np.mean(by[method, options]["scores"][settings["image"]]["error"]))

        return tune(trials, score)

    def chosen(self, method: str, kind: str, n: int | None = None, counts: float | None = None):
        """(options, image) of a method, those that were best on the validation specimen."""
        if method == PRINTED:
            tried = self.result(self.trial(method, kind, (), n, counts))["scores"]
            return (), min(IMAGES, key=lambda image: np.mean(tried[image]["error"]))
        best = dict(self.tuned(kind, n, counts).best(method).settings)
        image = best.pop("image")
        return tuple(best.items()), image

    def job(self, method: str, kind: str, seed: int, n: int | None = None, counts: float | None = None) -> Job:
        """A method on a specimen to judge on, with the settings that were best on the validation specimen."""
        block = kind if n is None else f"phase, {n} pixels"
        return Job(block, self.site(kind, seed, n, counts), method, self.chosen(method, kind, n, counts)[0])

    def found(self, method: str, kind: str, seed: int, n: int | None = None, counts: float | None = None) -> dict:
        """What a method reaches: {"scores", "materials", "pictures"} of its chosen image, "course", "seconds"."""
        result, image = self.result(self.job(method, kind, seed, n, counts)), self.chosen(method, kind, n, counts)[1]
        return {**result, **{k: result[k][image] for k in ("scores", "materials", "pictures")}}

    def baselines(self, kind: str, seed: int) -> dict[str, dict]:
        """The same of what needs no prior: FBP, SIRT-50, solved images, those without noise, the truth's pictures."""
        site = self.site(kind, seed)

        def make() -> dict:
            s = self.scene(site)
            sirt = first_images(s.A, s.y, PRINTED_START)
            images = {"FBP": fbp(s.A, s.y), "SIRT-50": sirt, "first": s.x0, "noiseless": s.noiseless()}
            return {name: seen(s, x) for name, x in {**images, "truth": s.truth}.items()}

        return self.kept.get(f"baselines-{kind}-seed{seed}", self.about(site), make)

    def row(self, seed: int) -> int:
        """The row of a mouse along which profiles are judged, kept."""
        site = self.site("mouse", seed)
        return self.kept.get(f"row-mouse-seed{seed}", self.about(site), lambda: {"row": spine_row(self.scene(site))})[
            "row"
        ]

    @property
    def ablated(self) -> list[int]:
        """Seeds of the mice on which parts are left out."""
        return list(self.seeds["mouse"])[:ABLATED]

    def start_scores(self, seed: int) -> dict[str, list[float]]:
        """Scores of the images without any network, of the mouse as the ablations have it: SIRT-50, kept."""
        site = replace(self.site("mouse", seed), slices=self.tuning_slices)

        def make() -> dict:
            s = self.scene(site)
            return s.scores(first_images(s.A, s.y, PRINTED_START))

        return self.kept.get(f"start-mouse-seed{seed}", self.about(site), make)

    def ablation_jobs(self) -> list[Job]:
        """The method as printed, and parts of it left out, on the first mice."""
        site = lambda seed: replace(self.site("mouse", seed), slices=self.tuning_slices)  # noqa: E731
        parts = {"as printed": {}, **self.ablations}
        return [Job("ablations", site(s), PRINTED, tuple(o.items())) for s in self.ablated for o in parts.values()]

    def drift_jobs(self) -> list[tuple[Job, Job]]:
        """Noise2Sim on every mouse whose slices are alike, and on the same with three times its change."""
        options = self.chosen("Noise2Sim", "mouse")[0]
        sites = [replace(self.site("mouse", s), slices=self.tuning_slices) for s in self.seeds["mouse"]]
        pairs = [[replace(site, drift=k * self.drift) for k in (0, 3)] for site in sites]
        return [tuple(Job("drift", site, "Noise2Sim", options) for site in pair) for pair in pairs]

    def plan(self) -> Iterator[Job]:
        """All jobs, main verdicts first; what is judged comes after the trials that chose its settings."""
        for kind in ("rods", "mouse"):
            yield from self.tuning_jobs(kind)
            for seed in self.seeds[kind]:
                yield from (self.job(m, kind, seed) for m in self.methods)
        for n in self.sizes:
            for counts in self.doses:
                yield from self.tuning_jobs("mouse", n, counts)
                for seed in self.phase_seeds:
                    yield from (self.job(m, "mouse", seed, n, counts) for m in self.phase_methods)
        yield from self.ablation_jobs()
        if "Noise2Sim" in self.methods:
            yield from (job for pair in self.drift_jobs() for job in pair)
