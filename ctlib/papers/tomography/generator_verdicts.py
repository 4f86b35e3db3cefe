"""The second page's tables, and the values behind its claims with the curves behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ctlib.metrics.paired import paired_interval
from ctlib.papers.tomography.consistency import data_misfit
from ctlib.papers.tomography.courses import unrest
from ctlib.papers.tomography.critic import lipschitz_bound
from ctlib.papers.tomography.critic_study import layer_norms, steepest
from ctlib.papers.tomography.generator_study import ENERGY, EQUATION_1, PLAIN, TWO, UNBIASED, GeneratorStudy, Job
from ctlib.papers.tomography.samples import insert_rates, measured, refined
from ctlib.papers.tomography.scans import RANGE, hit, predict

Claim = tuple[str, object, Mapping[str, tuple]]  # its id, values, curves


@dataclass
class Judged:
    """Numbers of the samples of every training, made once and kept with the trainings.

    num, bodies  samples of every reading, test bodies;  pg_steps, turn  of the projected gradient
    """

    study: GeneratorStudy
    num: int
    bodies: int
    pg_steps: int
    turn: float
    paths: dict[tuple, tuple] = field(default_factory=dict, repr=False)

    def numbers(self, job: Job, signal: float) -> dict[str, float]:
        """`measured` of a training at a signal, kept."""
        about = self.study.about_job(job) | {"signal": signal, "num": self.num, "bodies": self.bodies}
        make = lambda: measured(self.study, job, signal, self.num, self.bodies)  # noqa: E731
        return self.study.kept.get(f"samples-{job.name}-s{signal:g}", about, make)

    def of(self, world: str, loss: str, what: str) -> np.ndarray:
        """One number of every training of a loss: (seeds, signals)."""
        jobs = self.study.jobs(world, loss)
        return np.array([[self.numbers(j, s)[what] for s in self.study.signals] for j in jobs])

    def path(self, job: Job, signal: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Data term, RMSE and images along the projected gradient."""
        key = job, signal, seed
        if key not in self.paths:
            self.paths[key] = refined(self.study, job, signal, self.bodies, self.pg_steps, self.turn, seed)
        return self.paths[key]

    def rows(self, world: str) -> list[list]:
        """Rows: loss and signal, spread over sigma, coverage of rays and of pixels, energy score."""
        lines = []
        for k, s in enumerate(self.study.signals):
            for loss in self.study.losses[world]:
                cells = [self.of(world, loss, w)[:, k] for w in ("rays", "ray 68 %", "pixel 68 %", "score")]
                lines.append([f"s = {s:g}, {loss}", *(_spread(v) for v in cells)])
        return lines

    def history(self, world: str, loss: str, what: str) -> dict[str, tuple]:
        """{"loss, seed": (steps, smoothed values)} of what trainings reported."""
        found = {}
        for job in self.study.jobs(world, loss):
            values = np.array(self.study.result(job)["history"][what])
            width = max(1, len(values) // 20)
            smooth = np.convolve(values, np.ones(width) / width, "valid")
            found[f"{loss}, {job.seed}"] = (list(range(width, len(values) + 1)), smooth.tolist())
        return found

    def along(self, world: str, part: int) -> dict[str, tuple]:
        """Data term (part 0) or error (1) along the projected gradient by signal: (candidates, steps) each."""
        found = {}
        for s in self.study.signals:
            each = [self.path(job, s)[part] for job in self.study.jobs(world, TWO)]
            found[f"s = {s:g}"] = range(self.pg_steps + 1), torch.cat(each, 1).T.cpu().numpy()
        return found

    def looks(self, job: Job, what: str) -> np.ndarray:
        """One number of a generator in training on validation bodies: (looks, signals)."""
        seen = self.study.result(job)["history"]
        return np.array([seen[f"{what}, {s:g}"] for s in self.study.signals]).T

    def courses(self, world: str, what: str, *losses: str, of: Callable | None = None) -> dict[str, tuple]:
        """How far a number of the validation bodies still is from its end, every training.

        of  of the looks (looks, signals) of these losses, trained with the same seed: the number (looks,); by default
            that of one loss at every signal by itself
        """
        found = {}
        for jobs in zip(*(self.study.jobs(world, loss) for loss in losses), strict=True):
            at, seen = self.study.result(jobs[0])["history"]["look"], [self.looks(job, what) for job in jobs]
            name = f"{' and '.join(losses)}, {jobs[0].seed}"
            if of is not None:
                found[name] = unrest(at, of(*seen))
            else:
                found |= {
                    f"{name}, s = {s:g}": unrest(at, v) for s, v in zip(self.study.signals, seen[0].T, strict=True)
                }
        return found


def _spread(values: np.ndarray):
    return (float(np.median(values)), float(np.ptp(values) / 2)) if len(values) > 1 else float(values[0])


def spread_claims(j: Judged, world: str) -> Iterator[Claim]:
    """(claim, values a training and signal, curves) of collapse, its cure and its calibration.

    A curve is that of the claim's own quantity on validation bodies: how far it still is from its end.
    """
    losses = j.study.losses[world]
    at = lambda loss, what="rays": j.of(world, loss, what)  # noqa: E731
    course = lambda what, *losses, of=None: j.courses(world, what, *losses, of=of)  # noqa: E731
    if EQUATION_1 in losses:
        yield "gtr-collapse", at(EQUATION_1).ravel(), course("rays", EQUATION_1)
    yield "gtr-spread", at(TWO).ravel(), course("rays", TWO)
    if PLAIN in losses:
        yield "gtr-spread-created", at(PLAIN).ravel(), course("rays", PLAIN)
    if UNBIASED in losses:
        narrower = lambda a, b: (a / b).mean(1)  # noqa: E731
        told = course("rays", UNBIASED, TWO, of=narrower)
        yield "gtr-unbiased-trained", narrower(at(UNBIASED), at(TWO)), told
    yield "gtr-compatible", at(TWO, "match").ravel(), course("match", TWO)
    yield "gtr-samples-within-68", at(TWO, "pixel 68 %").ravel() - 0.68, course("pixel 68 %", TWO)
    if ENERGY in losses:
        worse = lambda a, b: (a / b).max(1)  # noqa: E731
        yield "gtr-proper-within-68", at(ENERGY, "pixel 68 %").ravel() - 0.68, course("pixel 68 %", ENERGY)
        yield "gtr-proper-score", worse(at(ENERGY, "score"), at(TWO, "score")), course("score", ENERGY, TWO, of=worse)
    yield "gtr-agree", _worst(at(TWO, "apart")), course("apart", TWO, of=_worst)
    yield "gtr-towards-truth", _worst(at(TWO, "error")), course("error", TWO, of=_worst)
    if EQUATION_1 in losses:
        both = [[j.study.result(job)["history"]["critic"] for job in j.study.jobs(world, m)] for m in (EQUATION_1, TWO)]
        each = [jumps(b) / jumps(a) for a, b in zip(*both, strict=True)]
        yield "gtr-stable", [v[-1] for v in each], {
            f"KL over equation 1, {seed}": unrest(*_ends(v)) for seed, v in zip(j.study.seeds[world], each, strict=True)
        }  # fmt: skip


def _worst(rows: np.ndarray) -> np.ndarray:
    """Largest ratio of neighbors in rows of signals: below 1 where a row falls from every signal to the next."""
    return (rows[:, 1:] / rows[:, :-1]).max(1)


def jumps(critic: Sequence[float]) -> np.ndarray:
    """Fluctuation of the critic's loss from step to step in the second half of the training up to every step."""
    changes = np.diff(critic)
    return np.array([np.std(changes[k // 2 : k]) for k in range(min(4, len(changes)), len(changes) + 1)])


def _ends(values: np.ndarray) -> tuple[list[int], list[float]]:
    """Twelve points of a curve that ends at its last step, the first at 0."""
    at = sorted({max(1, len(values) * k // 12) for k in range(1, 13)})
    return [0, *at], [float(values[0]), *(float(values[k - 1]) for k in at)]


def gradient_claims(j: Judged, world: str) -> Iterator[Claim]:
    """(claim, values a training, curves along its iterations) of the projected gradient."""
    study, jobs = j.study, j.study.jobs(world, TWO)
    paths = [{s: j.path(job, s) for s in study.signals} for job in jobs]
    steps = range(j.pg_steps + 1)
    for claim, k in (("gtr-data-falls", 0), ("gtr-rmse-falls", 1)):
        along = [torch.cat([p[k] < p[k][0] for p in path.values()], 1).double().mean(1).tolist() for path in paths]
        told = {f"KL, {job.seed}": unrest(steps, v) for job, v in zip(jobs, along, strict=True)}
        yield claim, [v[-1] for v in along], told
    apart = {f"KL, {job.seed}, s = {s:g}": unrest(steps, p[s][0].mean(1).sqrt().tolist())
             for job, p in zip(jobs, paths, strict=True) for s in p}  # fmt: skip
    last = [max(misfit(j, job, s, p[s][2][-1]) for s in p) for job, p in zip(jobs, paths, strict=True)]
    yield "gtr-consistent", last, apart


def misfit(j: Judged, job: Job, signal: float, gray: Tensor) -> float:
    """Root mean square of (A x - mu) / sigma over the rays that hit, of gray images (B, Y, X) of the first bodies."""
    study, few = j.study, slice(0, len(gray))
    mu, sigma = study.posterior(job.world, job.seed)(study.scans(job.world).features["test"][signal][few])
    rays = hit(mu)
    masked = lambda x: torch.where(rays, study.scans(job.world).project(RANGE * x), 0.0)  # noqa: E731
    off = data_misfit(masked, gray, torch.where(rays, mu, 0.0), sigma)
    return float(off.mean() * (rays.numel() / rays.sum()) ** 0.5)


def insert_counts(j: Judged, signal: float) -> dict[str, tuple[Tensor, Tensor]]:
    """{estimate: (share of true inserts shown, false ones)}, (seeds, bodies) each, on drawn bodies."""
    study, world = j.study, "synthetic"
    features = study.scans(world).features["test"][signal][: j.bodies]
    count = lambda x: insert_rates(study, world, x)  # noqa: E731
    seeds, bench = study.seeds[world], study.scans(world).bench
    fbp = [count(bench.fbp(study.posterior(world, s)(features)[0])[:, 0]) for s in seeds]
    found = {"FBP of μ": fbp, "end to end": [count(predict(study.end_to_end(world, s), features)[:, 0]) for s in seeds]}
    for loss in study.losses[world]:
        drawn = [study.sampled(job, features, j.num) for job in study.jobs(world, loss)]
        found[f"sample, {loss}"] = [
            tuple(torch.stack(v).mean(0) for v in zip(*map(count, x[:4]), strict=True)) for x in drawn
        ]
        if loss in (TWO, ENERGY):
            found[f"mean, {loss}"] = [count(x.mean(0)) for x in drawn]
        if loss == TWO:
            found["refined sample"] = [count(j.path(job, signal)[2][-1]) for job in study.jobs(world, loss)]
    return {k: tuple(torch.stack(v) for v in zip(*rows, strict=True)) for k, rows in found.items()}


def with_interval(values: Tensor) -> str:
    """Mean (low to high), 95 % over seeds and bodies, of numbers (seeds, bodies)."""
    low, high = paired_interval(values, torch.Generator().manual_seed(0))
    return f"{float(values.mean()):.2f} ({low:.2f} to {high:.2f})"


def insert_claims(
    counts: Mapping[float, Mapping[str, tuple[Tensor, Tensor]]], j: Judged, world: str = "synthetic"
) -> Iterator[Claim]:
    """(claim, values, curves) of invented inserts: ends and mean of intervals of paired differences.

    Curves are those of the samples' energy score over that at the end: inserts are not counted while generators train.
    """
    low, high = min(counts), max(counts)
    sample, proper = f"sample, {TWO}", f"sample, {ENERGY}"

    def ends(off: Tensor) -> tuple[float, float, float]:
        low, high = paired_interval(off, torch.Generator().manual_seed(0))
        return low, float(off.mean()), high

    whole = lambda seen: seen.mean(1) / seen[-1].mean()  # noqa: E731
    told = j.courses(world, "score", TWO, of=whole)
    yield "gtr-invented", ends(counts[low][sample][1] - counts[low]["end to end"][1]), told
    yield "gtr-invented-signal", ends(counts[high][sample][1] - counts[low][sample][1]), told
    if proper in counts[low]:
        told = told | j.courses(world, "score", ENERGY, of=whole)
        yield "gtr-invented-proper", ends(counts[low][proper][1] - counts[low][sample][1]), told


def critic_claims(j: Judged, world: str) -> Iterator[Claim]:
    """(claim, values, curves) of the trained critics: norms of layers, slope at test bodies over its bound."""
    n, critics = j.study.n, [j.study.trained(job)[1] for job in j.study.jobs(world, TWO)]
    norms = [pair for critic in critics for pair in layer_norms(critic, n)]
    images = j.study.scans(world).gray("test")[: j.bodies]
    yield "gtr-lipschitz", [conv for _, conv in norms], {}
    yield "gtr-stride-bound", [conv / matrix for matrix, conv in norms], {}
    yield "gtr-critic-slope", [steepest(c, images) / lipschitz_bound(c, (n, n)) for c in critics], {}


def exact_claims(exact: Mapping[tuple[float, str], Mapping[int, Mapping[str, float]]]) -> Iterator[Claim]:
    """(claim, values a noise level, curves) of the case with an exact posterior, `judged_losses`."""

    def of(losses: Sequence[str], what: str, number: Callable) -> tuple[list[float], dict[str, tuple]]:
        levels = dict.fromkeys(level for level, _ in exact)
        seen = {level: [exact[level, m] for m in losses] for level in levels}
        values = {k: [number(*(f[what] for f in at)) for at in zip(*(s.values() for s in by), strict=True)]
                  for k, by in seen.items()}  # fmt: skip
        told = {f"{' and '.join(losses)}, {k:g}": unrest(list(seen[k][0]), v) for k, v in values.items()}
        return [v[-1] for v in values.values()], told

    yield "gtr-exact-rays", *of([TWO], "rays", float)
    yield "gtr-exact-pixels", *of([TWO], "within 68 %", lambda share: share - 0.68)
    yield "gtr-exact-proper", *of([ENERGY], "within 68 %", lambda share: share - 0.68)
    yield "gtr-exact-covariance", *of([ENERGY, TWO], "covariance", lambda a, b: a / b)


def law_claims(courses: Mapping[str, Sequence[Mapping[str, Mapping[int, float]]]]) -> Iterator[Claim]:
    """(claim, values a seed, curves) of generators of one number: by loss and seed, distances to both laws by step."""

    def of(loss: str, number: Callable) -> tuple[list[float], dict[str, tuple]]:
        seen = [
            (
                list(to["Gaussian"]),
                [number(*v) for v in zip(to["Gaussian"].values(), to["semicircle"].values(), strict=True)],
            )
            for to in courses[loss]
        ]
        return [v[-1] for _, v in seen], {f"{loss}, {k}": unrest(*one) for k, one in enumerate(seen, 1)}

    to_gaussian, told = of(TWO, lambda gaussian, _: gaussian)
    starts = [next(iter(to["Gaussian"].values())) for to in courses[TWO]]
    yield "gtr-law", [end - start for end, start in zip(to_gaussian, starts, strict=True)], told
    yield "gtr-law-semicircle", *of(TWO, lambda gaussian, semicircle: semicircle - gaussian)
    yield "gtr-proper-law", *of(ENERGY, lambda gaussian, _: gaussian)
    yield "gtr-proper-law-nearer", *of(ENERGY, lambda gaussian, semicircle: gaussian - semicircle)


def law_told(courses: Mapping[str, Sequence[Mapping[str, Mapping[int, float]]]]) -> tuple[tuple[bool, str], str]:
    """Which laws generators of one number learned, where that can be told."""
    _, nearer, proper, proper_nearer = (max(values) for _, values, _ in law_claims(courses))
    apart = max(nearer, proper_nearer) < 0 and proper <= 0.02
    learned = "The KL term learns the semicircle, the energy score the Gaussian."
    return (apart, learned), "After so few steps the laws are not told apart yet."


def training_panels(j: Judged, world: str) -> dict[str, dict[str, tuple]]:
    """Spread of samples and critic's loss by step and loss, first seed."""
    asked = {"spread / σ": "spread", "critic's loss": "critic"}
    first = lambda m, what: next(iter(j.history(world, m, what).values()))  # noqa: E731
    return {title: {m: first(m, what) for m in j.study.losses[world]} for title, what in asked.items()}


def fewest_invented(counts: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    """The estimate that invents fewest inserts, and what it shows of the true ones."""
    by = {m: [float(v.mean()) for v in pair] for m, pair in counts.items()}
    m = min(by, key=lambda m: by[m][1])
    return f"{m} invents fewest, {by[m][1]:.2f} a body, and shows {by[m][0]:.2f} of the true ones"


def law_rows(numbers: Mapping[str, Sequence[tuple[Tensor, Mapping[str, Mapping[int, float]]]]]) -> list[list]:
    """Rows: loss, deviation and largest sample of the first seed, median distances to both laws at the end."""
    at_end = lambda made: np.median([[list(course.values())[-1] for course in to.values()] for _, to in made], axis=0)  # noqa: E731
    return [[m, float(made[0][0].std()), float(made[0][0].max()), *at_end(made)] for m, made in numbers.items()]


def exact_told(exact: Mapping[tuple[float, str], Mapping[int, Mapping[str, float]]]) -> str:
    """What rays and pixels of the case with an exact posterior are like, and which covariance is nearer."""
    rays, kl, proper, ratio = (np.asarray(values) for _, values, _ in exact_claims(exact))
    width = " to ".join(dict.fromkeys(f"{v:.2f}" for v in (rays.min(), rays.max())))
    return (
        f"The KL term's rays are {width} times as wide as they should be; of the truths "
        f"{68 + 100 * kl.mean():.0f} % lie in the 68 % of its pixels, {68 + 100 * proper.mean():.0f} % with the energy "
        f"score, whose covariance is {'' if ratio.max() < 1 else 'not '}nearer at every noise level."
    )


def nearest_68(j: Judged, world: str) -> str:
    """By signal the loss whose samples miss 68 % of the pixels by least, in the mean over seeds."""
    off = {m: np.abs(j.of(world, m, "pixel 68 %") - 0.68).mean(0) for m in j.study.losses[world]}
    best = [min(off, key=lambda m: off[m][k]) for k in range(len(j.study.signals))]
    return ", ".join(
        f"{m} at s = {s:g} ({off[m][k]:.2f})" for k, (s, m) in enumerate(zip(j.study.signals, best, strict=True))
    )


def sample_cells(study: GeneratorStudy, shown: Sequence[tuple[str, int]]) -> tuple[list[str], list[Tensor]]:
    """(titles, images) of test bodies (world, place), a row a signal: FBP of mu, two samples of KL and of the energy
    score, the truth; first seed.
    """
    cells = []
    for (world, body), s in product(shown, study.signals):
        scans, seed = study.scans(world), study.seeds[world][0]
        feature = scans.features["test"][s][body : body + 1]
        cells.append((f"FBP, s = {s:g}", scans.bench.fbp(study.posterior(world, seed)(feature)[0])[0, 0]))
        for loss in (TWO, ENERGY):
            cells += [(loss, x) for x in study.sampled(study.job(world, loss, seed), feature, 2)[:, 0]]
        cells.append(("truth", scans.gray("test")[body, 0]))
    return [title for title, _ in cells], [x.cpu().clamp(0, 1) for _, x in cells]
