"""The second page's tables, and the values behind its claims with the curves behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import numpy as np
import torch
from torch import Tensor

from ctlib.metrics.paired import paired_interval
from ctlib.papers.tomography.consistency import data_misfit
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

    def courses(self, world: str, *losses: str) -> dict[str, tuple]:
        """How near the spread of the two samples comes to sigma, 1 at best, for every training of some losses."""
        found = {}
        for loss in losses:
            for name, (steps, values) in self.history(world, loss, "spread").items():
                found[name] = steps, [1 - abs(v - 1) for v in values]
        return found


def _spread(values: np.ndarray):
    return (float(np.median(values)), float(np.ptp(values) / 2)) if len(values) > 1 else float(values[0])


def spread_claims(j: Judged, world: str) -> Iterator[Claim]:
    """(claim, values a training and signal, curves) of collapse, its cure and its calibration."""
    losses = j.study.losses[world]
    at = lambda loss, what="rays": j.of(world, loss, what)  # noqa: E731
    if EQUATION_1 in losses:
        yield "gtr-collapse", at(EQUATION_1).ravel(), j.history(world, EQUATION_1, "spread")
    yield "gtr-spread", at(TWO).ravel(), j.courses(world, TWO)
    if PLAIN in losses:
        yield "gtr-spread-created", at(PLAIN).ravel(), j.courses(world, PLAIN)
    if UNBIASED in losses:
        yield "gtr-unbiased-trained", (at(UNBIASED) / at(TWO)).mean(1), j.courses(world, TWO, UNBIASED)
    yield "gtr-compatible", at(TWO, "match").ravel(), {}
    yield "gtr-samples-within-68", at(TWO, "pixel 68 %").ravel() - 0.68, j.courses(world, TWO)
    if ENERGY in losses:
        both = j.courses(world, TWO, ENERGY)
        yield "gtr-proper-within-68", at(ENERGY, "pixel 68 %").ravel() - 0.68, j.courses(world, ENERGY)
        yield "gtr-proper-score", (at(ENERGY, "score") / at(TWO, "score")).max(1), both
    yield "gtr-agree", [_worst(row) for row in at(TWO, "apart")], j.courses(world, TWO)
    yield "gtr-towards-truth", [_worst(row) for row in at(TWO, "error")], j.courses(world, TWO)
    if EQUATION_1 in losses:
        jumps = [[_jumps(j.study.result(job)["history"]["critic"]) for job in j.study.jobs(world, m)]
                 for m in (EQUATION_1, TWO)]  # fmt: skip
        yield "gtr-stable", [b / a for a, b in zip(*jumps, strict=True)], {}


def _worst(row: np.ndarray) -> float:
    """Largest ratio of neighbors: below 1 where the row falls from every signal to the next."""
    return max(b / a for a, b in pairwise(row))


def _jumps(critic: list[float]) -> float:
    """Fluctuation of the critic's loss from step to step, second half."""
    return float(np.std(np.diff(critic[len(critic) // 2 :])))


def gradient_claims(j: Judged, world: str) -> Iterator[Claim]:
    """(claim, values a training, curves) of the projected gradient."""
    study, jobs = j.study, j.study.jobs(world, TWO)
    paths = [{s: j.path(job, s) for s in study.signals} for job in jobs]
    falls = lambda path, k: float(torch.cat([p[k][-1] < p[k][0] for p in path.values()]).double().mean())  # noqa: E731
    yield "gtr-data-falls", [falls(p, 0) for p in paths], {}
    yield "gtr-rmse-falls", [falls(p, 1) for p in paths], {}
    yield (
        "gtr-consistent",
        [max(misfit(j, job, s, p[s][2][-1]) for s in p) for job, p in zip(jobs, paths, strict=True)],
        {},
    )


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


def insert_claims(counts: Mapping[float, Mapping[str, tuple[Tensor, Tensor]]]) -> Iterator[Claim]:
    """(claim, values, curves) of invented inserts: ends of intervals of paired differences."""
    low, high = min(counts), max(counts)
    sample = f"sample, {TWO}"
    off = counts[low][sample][1] - counts[low]["end to end"][1]
    yield "gtr-invented", paired_interval(off, torch.Generator().manual_seed(0)), {}
    change = counts[high][sample][1] - counts[low][sample][1]
    yield "gtr-invented-signal", paired_interval(change, torch.Generator().manual_seed(0)), {}
    if f"sample, {ENERGY}" in counts[low]:
        off = counts[low][f"sample, {ENERGY}"][1] - counts[low][sample][1]
        yield "gtr-invented-proper", paired_interval(off, torch.Generator().manual_seed(0)), {}


def critic_claims(j: Judged, world: str) -> Iterator[Claim]:
    """(claim, values, curves) of the trained critics: norms of layers, slope at test bodies over its bound."""
    n, critics = j.study.n, [j.study.trained(job)[1] for job in j.study.jobs(world, TWO)]
    norms = [pair for critic in critics for pair in layer_norms(critic, n)]
    images = j.study.scans(world).gray("test")[: j.bodies]
    yield "gtr-lipschitz", [conv for _, conv in norms], {}
    yield "gtr-stride-bound", [conv / matrix for matrix, conv in norms], {}
    yield "gtr-critic-slope", [steepest(c, images) / lipschitz_bound(c, (n, n)) for c in critics], {}


def exact_claims(exact: Mapping[tuple[float, str], Mapping[str, float]]) -> Iterator[Claim]:
    """(claim, values a noise level, curves) of the case with an exact posterior, `judged_exactly` by level and loss."""
    at = lambda loss, what: np.array([found[what] for (_, m), found in exact.items() if m == loss])  # noqa: E731
    yield "gtr-exact-rays", at(TWO, "rays"), {}
    yield "gtr-exact-pixels", at(TWO, "within 68 %") - 0.68, {}
    yield "gtr-exact-proper", at(ENERGY, "within 68 %") - 0.68, {}
    yield "gtr-exact-covariance", at(ENERGY, "covariance") / at(TWO, "covariance"), {}


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
