"""The first page's tables, intervals, and the values behind its claims with the curves behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import nn

from ctlib.metrics.paired import paired_interval
from ctlib.papers.tomography.contenders import APART, BEHIND, END, JOINT
from ctlib.papers.tomography.courses import drawn_out
from ctlib.papers.tomography.image_study import COMPARED, Job, Study
from ctlib.papers.tomography.throughput import frames_per_second

Claim = tuple[str, object, Mapping[str, tuple]]  # its id, values, curves


def home(study: Study) -> str:
    """The world of the main tables: people, where there are any."""
    return "real" if "real" in study.limits else "synthetic"


def of_bodies(results: Sequence[dict], signal: float, what: str) -> np.ndarray:
    """One score of every seed and test body, (seeds, bodies)."""
    return torch.stack([r["scores"][f"{signal:g}"][what] for r in results]).numpy()


def means(study: Study, results: Sequence[dict], what: str = "SSIM") -> np.ndarray:
    """A score, mean over the bodies: (seeds, signals)."""
    return np.array([of_bodies(results, s, what).mean(1) for s in study.signals]).T


def curves(**named: Sequence[dict]) -> dict[str, tuple]:
    """{"method, seed": curve} of the trainings behind a claim."""
    return {f"{m}, {k}": r["curve"] for m, results in named.items() for k, r in enumerate(results, 1)}


def interval(
    study: Study, world: str, a: Sequence[dict], b: Sequence[dict], signal: float
) -> tuple[float, float, float]:
    """(mean, low, high) of a - b in SSIM: 95 % over seeds and people, the bodies of a person averaged."""
    off = of_bodies(a, signal, "SSIM") - of_bodies(b, signal, "SSIM")
    people = study.world(world).people["test"]
    by = np.stack([off[:, [q == p for q in people]].mean(1) for p in dict.fromkeys(people)], 1)
    low, high = paired_interval(torch.tensor(by), torch.Generator().manual_seed(0))
    return float(by.mean()), low, high


def rows(study: Study) -> dict[str, list[dict]]:
    """Results of the main block by method, one a seed."""
    found = {m: study.found("main", method=m) for m in COMPARED}
    return found | ({JOINT: study.found("joint")} if study.seeds["joint"] else {})


def least_gap(study: Study, a: Sequence[dict], b: Sequence[dict], what: str = "SSIM") -> np.ndarray:
    """Smallest difference over the signals, each seed that both have."""
    pairs = zip(means(study, a, what), means(study, b, what), strict=False)
    return np.array([(x - y).min() for x, y in pairs])


def weight_ratios(study: Study) -> list[float]:
    """Weights of the methods with FBP over those of the end-to-end network, at every size."""
    sized = {j.size: study.contenders(j) for j in [*study.jobs("main"), *study.jobs("sizes")]}
    return [c.weights(m) / c.weights(END) for c in sized.values() for m in (BEHIND, APART)]


def main_claims(study: Study) -> Iterator[Claim]:
    """(claim, values a seed, curves) of the comparison at one size."""
    by, where = rows(study), home(study)
    both = curves(end=by[END], behind=by[BEHIND])
    yield "gtr-size", weight_ratios(study), {}
    yield "gtr-ssim", least_gap(study, by[END], by[BEHIND]), both
    yield "gtr-ssim-interval", [interval(study, where, by[END], by[BEHIND], s)[1] for s in study.signals], both
    yield "gtr-psnr", least_gap(study, by[END], by[BEHIND], "PSNR"), both
    ratio = means(study, by[END], "RMSE") / means(study, by[BEHIND], "RMSE")
    yield "gtr-rmse", ratio.max(1), both
    first = mean_curves(study)
    gain = lambda a, b: [float((x - y).mean()) for x, y in zip(means(study, a), means(study, b), strict=False)]  # noqa: E731
    yield "gtr-ssim-mean", least_gap(study, by[END], by[APART]), curves(end=by[END], apart=by[APART]) | first
    behind = curves(apart=by[APART], behind=by[BEHIND]) | first
    yield "gtr-noise-first", least_gap(study, by[APART], by[BEHIND]), behind
    part, whole = (np.array(gain(by[m], by[BEHIND])) for m in (APART, END))
    yield "gtr-noise-share", part - 0.5 * np.maximum(part, whole), both | behind
    if JOINT in by:
        yield "gtr-joint", gain(by[JOINT], by[APART]), curves(joint=by[JOINT], apart=by[APART]) | first
        yield "gtr-channels", gain(by[END], by[JOINT]), curves(end=by[END], joint=by[JOINT])


def mean_curves(study: Study) -> dict[str, tuple]:
    """Validation curves of the networks before FBP, one a seed."""
    jobs = [j for j in study.jobs("main") if j.method == APART]
    return {f"μ, {k}": drawn_out(*study.mean_trained(job)[1]) for k, job in enumerate(jobs, 1)}


def first_told(study: Study) -> tuple[tuple[bool, str], ...]:
    """How much of end to end's gain a network before FBP brings by itself, in the mean over seeds and signals."""
    by = rows(study)
    at = {m: float(means(study, by[m]).mean()) for m in COMPARED}
    whole, part = at[END] - at[BEHIND], at[APART] - at[BEHIND]
    told = f"FBP of μ + U-Net gains {100 * part:+.2f} points of SSIM over FBP + U-Net, end to end {100 * whole:+.2f}"
    return (part >= 0.5 * whole > 0, f"{told}: half or more."), (whole > 0, f"{told}: less than half."), f"{told}."


def blur_told(study: Study) -> str:
    """The methods with the least noise and with the least blur at every signal."""
    lines = {line[0]: line[1:] for line in apart_rows(study)}
    names = [min(lines, key=lambda m: lines[m][k]) for k in range(2 * len(study.signals))]
    at = zip(study.signals, names[::2], names[1::2], strict=True)
    return " ".join(f"Least noise at s = {s:g}: {noise}; least blur: {blur}." for s, noise, blur in at)


def sizes_told(study: Study) -> str:
    """What the weights bring each method, in the mean over seeds and signals."""
    gains = {m: [float(means(study, r).mean()) for r in by_size(study, m)] for m in (BEHIND, END)}
    each = [f"{m} {100 * (v[-1] - v[0]):+.2f}" for m, v in gains.items()]
    return f"From the smallest to the largest network, in points of SSIM: {', '.join(each)}."


def other_rows(study: Study) -> list[list]:
    """Rows: scan or drawings and method, and SSIM by signal, median over seeds."""
    asked = {scan: ("scans", {"scan": scan}) for scan in ("few views", "short arc")} | {"drawings": ("drawings", {})}
    return [
        [f"{name}, {m}", *np.median(means(study, results), axis=0)]
        for name, (block, like) in asked.items()
        for m in (BEHIND, APART, END)
        if (results := study.found(block, method=m, **like))
    ]


def others_told(lines: Sequence[Sequence]) -> str:
    """The method that is ahead of each scan or world, of rows ("scan, method", SSIM by signal)."""
    by = {}
    for name, *scores in lines:
        scan, method = name.split(", ", 1)
        by.setdefault(scan, {})[method] = float(np.mean(scores))
    return "Ahead in the mean over the signals: " + "; ".join(f"{k}, {max(v, key=v.get)}" for k, v in by.items()) + "."


def by_size(study: Study, method: str) -> list[list[dict]]:
    """Results of a method by size, smallest first, with the seeds that all sizes have."""
    seeds = list(study.seeds["sizes"])
    main = [r for j, r in zip(study.jobs("main"), map(study.result, study.jobs("main")), strict=True)
            if j.method == method and j.seed in seeds]  # fmt: skip
    found = [main if i == study.main else study.found("sizes", method=method, size=i) for i in range(len(study.sizes))]
    return sorted(found, key=lambda results: results[0]["weights"])


def slope(study: Study, method: str) -> np.ndarray:
    """Gain in SSIM, mean over the signals, per unit of log(weights): one a seed."""
    sized = by_size(study, method)
    at = np.log([results[0]["weights"] for results in sized])
    return np.polyfit(at, np.array([means(study, results).mean(1) for results in sized]), 1)[0]


def size_claims(study: Study) -> Iterator[Claim]:
    """(claim, values a seed, curves) of what weights bring."""
    gain, gain_behind = slope(study, END), slope(study, BEHIND)
    sized, behind = by_size(study, END), by_size(study, BEHIND)
    told = curves(**{f"end {i}": r for i, r in enumerate(sized)}, **{f"behind {i}": r for i, r in enumerate(behind)})
    yield "gtr-efficient", means(study, sized[0]).mean(1) - means(study, behind[-1]).mean(1), told
    yield "gtr-scaling", gain - gain_behind, told
    yield "gtr-gain", 100 * gain * np.log(2.6), told
    yield "gtr-gain-fbp", 100 * gain_behind * np.log(2.5), told


def other_claims(study: Study) -> Iterator[Claim]:
    """(claim, values a seed, curves) of other scans and of drawings."""
    for claim, scan in (("gtr-sparse", "few views"), ("gtr-limited", "short arc")):
        if study.seeds["scans"]:
            pair = [study.found("scans", method=m, scan=scan) for m in (END, BEHIND)]
            yield claim, least_gap(study, *pair), curves(end=pair[0], behind=pair[1])
    if study.jobs("drawings"):
        pair = [study.found("drawings", method=m) for m in (END, BEHIND)]
        yield "gtr-drawings", least_gap(study, *pair), curves(end=pair[0], behind=pair[1])


def table2(study: Study, speeds: Mapping[str, tuple[float, float]]) -> tuple[list[str], list[list]]:
    """(columns, rows) of Table 2, remade: weights, frames a second, the projector's share, scores by signal."""
    columns = [
        "",
        "weights",
        "frames/s",
        "projector [%]",
        *(f"{w}, s = {s:g}" for w in ("SSIM", "RMSE") for s in study.signals),
    ]
    plain = study.plain(home(study))
    found = {"FBP without noise": [{"scores": {f"{s:g}": plain["floor"] for s in study.signals}, "weights": 0}]}
    found |= {"FBP": [plain | {"weights": 0}]} | rows(study)
    lines = []
    for method, results in found.items():
        cells = [_spread(means(study, results, w)[:, k]) for w in ("SSIM", "RMSE") for k in range(len(study.signals))]
        frames, share = speeds.get(method, ("", ""))
        lines.append([method, results[0]["weights"], frames, share, *cells])
    return columns, lines


def _spread(values: np.ndarray):
    """Median and half the range over seeds."""
    return (float(np.median(values)), float(np.ptp(values) / 2)) if len(values) > 1 else float(values[0])


def interval_rows(study: Study) -> list[list]:
    """Rows: comparison, and per signal the mean difference in SSIM with its interval, in points of a hundred."""
    by, where = rows(study), home(study)
    asked = {"end to end - FBP + U-Net": (END, BEHIND), "FBP of μ + U-Net - FBP + U-Net": (APART, BEHIND),
             "training together": (JOINT, APART), "channels instead of the ramp": (END, JOINT)}  # fmt: skip
    lines = []
    for label, (a, b) in asked.items():
        if a in by and b in by:
            pairs = list(zip(by[a], by[b], strict=False))
            cells = [interval(study, where, *map(list, zip(*pairs, strict=True)), s) for s in study.signals]
            lines.append([label, *(f"{100 * m:.2f} ({100 * lo:.2f} to {100 * hi:.2f})" for m, lo, hi in cells)])
    return lines


def apart_rows(study: Study) -> list[list]:
    """Rows: method and, per signal, noise and blur of its images (RMS inside, gray)."""
    found = {"FBP": [study.plain(home(study))], **rows(study)}
    cell = lambda results, s, w: float(np.median([r["apart"][f"{s:g}"][w] for r in results]))  # noqa: E731
    return [[m, *(cell(r, s, w) for s in study.signals for w in ("noise", "blur"))] for m, r in found.items()]


def frames(study: Study) -> dict[str, tuple[float, float]]:
    """{method: (frames per second, share of the back-projection in it [%])} on this machine, first seed."""
    job = study.jobs("main")[0]
    bench = study.bench(job.world)
    features = bench.features("test")[study.signals[0]][:8]
    found = {"FBP": (frames_per_second(lambda f: bench.fbp(f[:, 1]), features), 100.0)}
    for j in [*study.jobs("main")[: len(COMPARED)], *study.jobs("joint")[:1]]:
        net, makers = loaded(study, j), study.contenders(j)
        before = makers.before(j.method, study.mean_net(j) if j.method == APART else None)
        whole = frames_per_second(lambda f, net=net, before=before: net(before(f)), features)
        channels = study.sizes[j.size].channels if j.method == END else 1
        sinograms = features[:, :1].expand(-1, channels, -1, -1)
        alone = frames_per_second(bench.back, sinograms)
        found[j.method] = whole, 100 * whole / alone
    return found


def loaded(study: Study, job: Job) -> nn.Module:
    """The trained network of a job."""
    net = study.contenders(job).make(job.method, job.seed).to(study.device)
    net.load_state_dict(study.result(job)["net"])
    return net.eval()


def picture_rows(study: Study, body: int, methods: Sequence[str]) -> list[list[tuple[str, torch.Tensor]]]:
    """By signal: (title, image) of a test body by FBP and every method, first seed, and the truth."""
    plain, by = study.plain(home(study)), rows(study)
    truth = study.bench(home(study)).gray("test")[body, 0].cpu()
    lines = []
    for s in study.signals:
        found = {"FBP": plain, **{m: by[m][0] for m in methods}}
        score = lambda r, s=s: float(r["scores"][f"{s:g}"]["SSIM"][body])  # noqa: E731
        line = [(f"{m}, s = {s:g}: {score(r):.3f}", r["pictures"][f"{s:g}"][body]) for m, r in found.items()]
        lines.append([*line, ("truth", truth)])
    return lines
