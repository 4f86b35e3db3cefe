"""The values behind every claim of the chapter, one a specimen, with the trainings behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch

from ctlib import metrics
from ctlib.papers.spectral2spectral.compare import (
    BINS_SHOWN,
    ablation_image,
    ablations,
    materials_of,
    phase_wins,
    scores_of,
    short,
    theirs,
)
from ctlib.papers.spectral2spectral.dose import PAPER
from ctlib.papers.spectral2spectral.methods import BINS, PRINTED, RIVALS, SPAN, TAUGHT, TRAINED
from ctlib.papers.spectral2spectral.study import VALIDATION, Study

ABLATION_CLAIMS = {
    "s2s-similarity-helps": "without similarity",
    "s2s-schedule": "schedules swapped",
    "s2s-scaling": "scaled by mean",
}
LOOKS = 6  # points of a curve that a claim asks for
Claim = tuple[str, object, Mapping[str, tuple]]  # its id, values, curves


def geometric(values: np.ndarray) -> np.ndarray:
    """Geometric mean over the last axis."""
    return np.exp(np.log(values).mean(-1))


def curves_of(study: Study, kind: str, *methods: str) -> dict[str, tuple]:
    """{"method, seed": (steps, error over its last value)} of the trainings behind a claim, lower is better."""
    curves = {}
    for m in dict.fromkeys(methods):
        for seed in study.seeds[kind]:
            course = study.found(m, kind, seed)["course"] if m in study.methods else ([], [])
            if course[0]:
                curves[f"{short(m)}, seed {seed}"] = _flat(course)
    return curves


def _flat(course: tuple[Sequence[int], Sequence[float]]) -> tuple[list[int], list[float]]:
    """(steps, error over its last value) of a training; one of few looks holds its first value before the first."""
    steps, values = course
    early = [steps[0] * k / LOOKS for k in range(LOOKS - len(steps))]
    return [*early, *steps], (np.array([values[0]] * len(early) + list(values)) / values[-1]).tolist()


def rod_claims(study: Study) -> Iterator[Claim]:
    """(claim, values a seed, curves) of Table 1 and Figs. 4 and 5."""
    ours, rmse = theirs(study, "rods"), materials_of(study, "rods", "rmse")
    error = scores_of(study, "rods", "error")
    others = ["FBP", "TV", *RIVALS]
    curves = lambda *m: curves_of(study, "rods", ours, *m)  # noqa: E731
    best = np.min([rmse[m] for m in others], axis=0)
    yield "s2s-table1-best", (rmse[ours] < best).sum(1), curves(*RIVALS)
    names = [*others, ours]
    paper = np.array([PAPER["Spectral2Spectral" if m == ours else m] for m in names])
    ranks = [[_rank_correlation(paper[:, k], [rmse[m][s, k] for m in names]) for k in range(3)] for s in _seeds(rmse)]
    yield "s2s-table1-order", np.mean(ranks, axis=1), curves(*RIVALS)
    for k, name in enumerate(("al", "water", "iodine")):
        yield f"s2s-table1-fbp-{name}", rmse["FBP"][:, k] / rmse[ours][:, k], curves()
    pairs = {"tv": "TV", "noise2sim": "Noise2Sim", "noise2noise": "Noise2Noise", "sister": "low-rank"}
    for name, m in pairs.items():
        yield f"s2s-table1-{name}", geometric(rmse[m] / rmse[ours]), curves(m)
    yield "s2s-table1-tv-iodine", rmse["TV"][:, 2] / rmse["FBP"][:, 2], {}
    cells = np.array([np.abs(np.log(rmse[m] / PAPER["Spectral2Spectral" if m == ours else m])) for m in names])
    yield "s2s-table1-cells", (cells < np.log(1.25)).sum((0, 2)), curves(*RIVALS)
    rivals = np.min([error[m] for m in ("FBP", *RIVALS)], axis=0)[:, BINS_SHOWN]
    yield "s2s-fig4", (error[ours][:, BINS_SHOWN] < rivals).sum(1), curves(*RIVALS)
    gain = lambda a, b: geometric(error[a][:, BINS_SHOWN] / error[b][:, BINS_SHOWN])  # noqa: E731
    yield "s2s-fig4-noise2sim", gain("Noise2Sim", "Noise2Noise"), curves_of(study, "rods", "Noise2Sim", "Noise2Noise")
    yield "s2s-fig4-sister", gain("Noise2Noise", "low-rank"), curves_of(study, "rods", "Noise2Noise")
    yield "s2s-fig5-iodine", materials_of(study, "rods", "steps")[ours][:, 0], curves()
    yield "s2s-bins-rods", geometric(rmse[ours] / rmse[BINS]), curves(BINS)
    yield "s2s-span-rods", geometric(rmse[ours] / rmse[SPAN]), curves()


def mouse_claims(study: Study) -> Iterator[Claim]:
    """(claim, values a seed, curves) of Figs. 6 to 10."""
    ours = theirs(study, "mouse")
    error, ssim = (scores_of(study, "mouse", s) for s in ("error", "ssim"))
    shown, curves = list(BINS_SHOWN), lambda *m: curves_of(study, "mouse", ours, *m)
    ratio = lambda a, b: geometric(error[a][:, shown] / error[b][:, shown])  # noqa: E731
    without = np.minimum(error["FBP"], error["SIRT-50"])[:, 4]
    yield "s2s-no-reference", without / error[ours][:, 4], curves()
    rivals = np.min([error[m] for m in ("FBP", *RIVALS)], axis=0)[:, shown]
    yield "s2s-mouse-best", (error[ours][:, shown] < rivals).sum(1), curves(*RIVALS)
    for name, m in {"tv": "TV", "noise2noise": "Noise2Noise", "sister": "low-rank"}.items():
        yield f"s2s-mouse-{name}", ratio(m, ours), curves(m)
    worst = np.max([error[m][:, 4] for m in ("Noise2Sim", "low-rank", ours)], axis=0)
    yield "s2s-noise2noise-bin5", error["Noise2Noise"][:, 4] / worst, curves("Noise2Noise", "Noise2Sim")
    gain = error["FBP"] / error[ours]
    yield "s2s-gain-noise", gain[:, 4] / gain[:, 0], curves()
    spreads = np.ptp([ssim[m] for m in (*RIVALS, ours)], axis=0)
    yield "s2s-bin1-alike", spreads[:, 0] / spreads[:, 4], curves(*RIVALS)
    bone, profile = (materials_of(study, "mouse", w) for w in ("bone", "profile"))
    against = ("FBP", *RIVALS)
    yield "s2s-bone-views", bone[ours][:, 4] / np.max([bone[m][:, 4] for m in against], axis=0), curves(*RIVALS)
    yield "s2s-profile", profile[ours][:, 4] / np.min([profile[m][:, 4] for m in against], axis=0), curves(*RIVALS)
    yield "s2s-cost", _seconds(study, ours) / _seconds(study, "TV"), {}
    yield "s2s-bins-mouse", ratio(ours, BINS), curves(BINS)
    yield "s2s-bins-noise2noise", ratio("Noise2Noise", BINS), curves_of(study, "mouse", "Noise2Noise", BINS)
    yield "s2s-span-mouse", ratio(ours, SPAN), curves()


def ablation_claims(study: Study) -> Iterator[Claim]:
    """(claim, values a mouse, curves) of Figs. 11 and 12, Table 2 and what the paper says of its losses."""
    by = ablations(study)
    full, shown = by["as printed"], list(BINS_SHOWN)
    image = study.chosen(PRINTED, "mouse")[1]
    made = partial(ablation_image, study)
    error = {name: np.array([r["scores"][made(name)]["error"] for r in runs]) for name, runs in by.items()}
    first = np.array([study.start_scores(seed)["error"] for seed in study.ablated])
    course = lambda *names: {  # noqa: E731
        f"{n}, seed {s}": _flat(r["course"])
        for n in ("as printed", *names)
        for s, r in zip(study.ablated, by[n], strict=True)
    }
    worse = lambda name: error[name] / error["as printed"]  # noqa: E731
    yield "s2s-need-dn", (first / error["as printed"])[:, shown].min(1), course()
    if "without RG" in by:
        lost = worse("without RG")
        yield "s2s-need-rg", lost[:, 4] / lost[:, 0], course("without RG")
        yield "s2s-rg-helps", geometric(lost[:, [2, 4]]), course("without RG")
    if "without IR" in by:
        names = "as printed", "without IR"
        edges = [np.array([r["scores"][made(n)]["edges"] for r in by[n]])[:, 2] for n in names]
        yield "s2s-need-ir", edges[0] / edges[1], course("without IR")
        yield "s2s-ir-helps", geometric(worse("without IR")[:, shown]), course("without IR")
    if {"without RG", "without IR"} <= by.keys():
        alike = {n: _similarity(study, by[n], full, image) for n in ("without RG", "without IR")}
        yield "s2s-table2-self", (alike["without RG"] > alike["without IR"])[:, shown].sum(1), course(*alike)
    for claim, name in ABLATION_CLAIMS.items():
        if name in by:
            yield claim, geometric(worse(name)), course(name)


def _similarity(study: Study, runs: Sequence[dict], full: Sequence[dict], image: str) -> np.ndarray:
    """SSIM to the full method's own picture, as Table 2 counts it, (seeds, bins)."""
    top = 0.3 * study.matrix(study.site("mouse", VALIDATION))[:, 1].float()[:, None, None]
    pairs = [
        [(r["pictures"][image]["transverse"] / top).clamp(0, 1) for r in both] for both in zip(runs, full, strict=True)
    ]
    return torch.stack([metrics.ssim(a, b, data_range=1.0) for a, b in pairs]).numpy()


def drift_claims(study: Study) -> Iterator[Claim]:
    """(claim, values a mouse, curves) of Noise2Sim's slices."""
    image = study.chosen("Noise2Sim", "mouse")[1]
    pairs = study.drift_jobs()
    errors = [[np.mean(study.result(job)["scores"][image]["error"]) for job in pair] for pair in pairs]
    curves = {f"{word}, seed {j.site.seed}": _flat(study.result(j)["course"])
              for pair in pairs for word, j in zip(("alike", "changing"), pair, strict=True)}  # fmt: skip
    yield "s2s-noise2sim-slices", [moving / still for still, moving in errors], curves


def phase_claims(study: Study, errors: Mapping[str, np.ndarray], over: Sequence[str]) -> Iterator[Claim]:
    """(claim, share of the diagram's points that a method wins over some others, curves) of both kinds of pairs."""
    for claim, method in {"s2s-phase": TAUGHT, "s2s-phase-bins": BINS}.items():
        curves = {
            f"{short(m)}, {n} pixels, {c:g} photons, seed {s}": _flat(study.found(m, "mouse", s, n, c)["course"])
            for m in (method, *(m for m in over if m in TRAINED))
            for n in study.sizes for c in study.doses for s in study.phase_seeds
        }  # fmt: skip
        yield claim, phase_wins(errors, method, over) / errors[method].size, curves


def _seconds(study: Study, method: str) -> np.ndarray:
    return np.array([study.found(method, "mouse", s)["seconds"] for s in study.seeds["mouse"]])


def _seeds(values: Mapping[str, np.ndarray]) -> range:
    return range(len(next(iter(values.values()))))


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, for values without ties."""
    ranks = [np.argsort(np.argsort(v)) for v in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])
