"""What the scatter page says of its results: tables, and the values behind every claim with the curves behind them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ctlib.papers.pcct.panel_study import ANALYTIC, PanelStudy
from ctlib.papers.pcct.panel_test import LOSSES, ROWS, floor_of

LABELS = (
    "projected water [cm]", "projected calcium [cm]", "scatter over primary [%]", "water image [mg/mL]",
    "calcium image [mg/mL]", "60 keV image [HU]",
)  # fmt: skip
PANELS = ("center SPR [%]", "off-center SPR [%]", "water [mg/mL]", "Ca [mg/mL]", "VMI [HU]")  # of Fig. 11
PAPER = {  # Table II: uncorrected, kernel, Direct, Cross
    "water-proj": (0.2587, 0.1297, 0.0632, 0.0628), "ca-proj": (0.0374, 0.0332, 0.0146, 0.0113),
    "spr": (10.47, 5.56, 2.30, 2.12), "water": (34.95, 19.43, 11.80, 10.06), "ca": (17.10, 6.06, 5.51, 4.38),
    "vmi": (68.82, 30.16, 20.13, 17.60),
}  # fmt: skip
IMAGES = [ROWS.index(r) for r in ("water", "ca", "vmi")]
Claim = tuple[str, object, dict | None]


def table2(study: PanelStudy, method: str) -> np.ndarray:
    """Errors (seeds, bodies, 6) of a method in the order of ROWS."""
    seeds = study.seeds.get(method, (0,)) if method not in ANALYTIC else (0,)
    return np.stack([study.scores(method, s)["rows"].numpy() for s in seeds])


def of_kind(study: PanelStudy, real: bool) -> list[int]:
    """Test bodies that are people (or numerical patients), or synthetic ones."""
    return [k for k, b in enumerate(study.bodies["test"]) if (b.kind != "synthetic") == real]


def methods_of(study: PanelStudy) -> list[str]:
    """All methods of the study in the order of its tables."""
    return [*ANALYTIC, *study.seeds]


def table2_rows(study: PanelStudy, which: Sequence[int]) -> list[list]:
    """Rows of Table II over some test bodies: mean over seeds and bodies, spread over the bodies; the paper's last."""
    found = {m: table2(study, m)[:, list(which)].mean(0) for m in methods_of(study)}
    rows = []
    for k, (row, label) in enumerate(zip(ROWS, LABELS, strict=True)):
        cells = [(float(e[:, k].mean()), float(e[:, k].std(ddof=1)) if len(which) > 1 else 0.0) for e in found.values()]
        rows.append([label, *cells, " / ".join(f"{x:g}" for x in PAPER[row])])
    return rows


def losses_rows(study: PanelStudy) -> list[list]:
    """Every method's value of every loss on the validation bodies: the scatter's, and the images' [mg/mL]."""
    rows = []
    for m in methods_of(study):
        found = study.losses(m, study.seeds.get(m, (0,))[0] if m in study.seeds else 0)
        rows.append([m, 100 * found["scatter"], *(1000 * found[k] for k in LOSSES)])
    return rows


def curve(study: PanelStudy, method: str, seed: int) -> tuple[list[int], list[float]]:
    """(steps, validation loss) of a training."""
    history = study.training(method, seed)[1]
    return [int(s) for s in history["validation_step"]], list(history["validation"])


def curves(study: PanelStudy, *methods: str, relative: bool = True) -> dict[str, tuple]:
    """Validation curves of all seeds; relative: over the least value, so that what is still gained is a share of it."""
    out = {}
    for m in (m for m in methods if m in study.seeds):
        for s in study.seeds[m]:
            steps, values = curve(study, m, s)
            least = min(values) if relative else 1.0
            out[f"{m}, seed {s}"] = steps, [v / least for v in values]
    return out


def paired(study: PanelStudy, better: str, worse: str) -> dict[str, list[float]]:
    """Differences of two methods body by body, over seeds averaged, relative to the mean error of the second."""
    a, b = (table2(study, m).mean(0) for m in (better, worse))
    return {label: ((a - b)[:, k] / b[:, k].mean()).tolist() for k, label in enumerate(LABELS)}


def intervals(
    rows: Mapping[str, Sequence[float]], margin: float, level: float = 0.05
) -> list[tuple[str, float, float, float, str]]:
    """(row, mean, low, high, what it shows) of paired differences: their mean and its interval at 1 - 2 level.

    "same": the interval lies within the margin, which is what two one-sided t tests at this level ask; "apart": the
    mean lies outside, at the level over the number of rows; "open": neither is shown, as of one difference alone
    """
    from scipy.stats import t

    out = []
    for row, given in rows.items():
        d, n = np.asarray(given, dtype=float), len(given)
        error = float(d.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
        mean, reach = float(d.mean()), (error * float(t.ppf(1 - p, max(n - 1, 1))) for p in (level, level / len(rows)))
        one, alone = reach
        word = "same" if abs(mean) + one < margin else "apart" if abs(mean) - alone > margin else "open"
        out.append((row, mean, mean - one, mean + one, word))
    return out


def least(study: PanelStudy, which: Sequence[int]) -> str:
    """In how many rows of Table II every method has the least mean error over some test bodies, in words."""
    names, means = methods_of(study), [table2(study, m)[:, list(which)].mean((0, 1)) for m in methods_of(study)]
    best = [names[i] for i in np.argmin(means, axis=0)]
    return ", ".join(f"{m} in {best.count(m)}" for m in dict.fromkeys(best))


def per_body(study: PanelStudy, method: str) -> np.ndarray:
    """Errors (5, bodies) of Fig. 11: scatter ratio in the center and off it, water, calcium and 60 keV images."""
    s = study.scores(method, study.seeds.get(method, (0,))[0])
    return np.stack([s["center"], s["off"], *s["rows"][:, 3:].T])


def case_panels(study: PanelStudy, methods: Sequence[str]) -> tuple[list[Tensor], list[str]]:
    """Errors of water, calcium and 60 keV images of two test bodies, in shares of 50, 20 mg/mL and 60 HU; titles."""
    images, titles = [], []
    found = {m: study.scores(m, study.seeds.get(m, (0,))[0]) for m in methods}
    for c in range(min(2, len(study.bodies["test"]))):
        for part, reach in enumerate((0.05, 0.02, 60.0)):
            for m, s in found.items():
                images.append((s["images"][c, part] if part < 2 else s["vmi"][c]) / reach)
                titles.append(f"{m}: {float(s['rows'][c, 3 + part]):.3g}")
    return images, titles


def projected(study: PanelStudy, methods: Sequence[str]) -> list[Tensor]:
    """Projected water of the first view of two test bodies, -1 to 1 for 0 to 40 cm, and errors in units of 0.5 cm."""
    maps = []
    for c, body in enumerate(study.bodies["test"][:2]):
        first_view = study.test_signals(body)[0][None, :, :1]
        truth = study.tested_on.paths(first_view)[0, 0, 0]
        of = [study.scores(m, study.seeds.get(m, (0,))[0])["paths"][c, 0] for m in methods]
        maps += [2 * truth / 40 - 1, *((x - truth) / 0.5 for x in of)]
    return maps


def quotients(study: PanelStudy) -> Iterator[Claim]:
    """(claim, values, curves) of every row of Table II: kernel, Direct and Cross against what stands before them."""
    mean = {m: table2(study, m).mean(1) for m in methods_of(study)}  # (seeds, 6)
    pairs = {"kernel": ("kernel", "uncorrected", ()), "network": ("Direct", "kernel", ("Direct",)),
             "cross": ("Cross", "Direct", ("Cross", "Direct"))}  # fmt: skip
    for name, (top, bottom, trained) in pairs.items():
        for k, row in enumerate(ROWS):
            yield f"pcct-t2-{row}-{name}", (mean[top] / mean[bottom])[:, k].tolist(), curves(study, *trained) or None


def others(study: PanelStudy) -> Iterator[Claim]:
    """(claim, values, curves) of the paper's sentences and figures, and of what this page adds."""
    both = curves(study, "Cross", "Direct")
    yield "pcct-equivalent", paired(study, "Cross", "Direct"), both
    kernel = table2(study, "kernel")[0]
    won = [(table2(study, m)[..., IMAGES] < kernel[:, IMAGES]).mean() for m in ("Direct", "Cross")]
    yield "pcct-fig9-cases", float(np.mean(won)), both
    none, by_kernel = (study.scores(m)["view"] for m in ("uncorrected", "kernel"))
    direct = study.scores("Direct", study.seeds["Direct"][0])["view"]
    ordered = (none > by_kernel) & (by_kernel > direct)
    yield "pcct-fig10", float(ordered.double().mean()), curves(study, "Direct")
    off = [study.scores("Direct", s)["off"] / study.scores("Cross", s)["off"] for s in study.seeds["Cross"]]
    yield "pcct-fig11-off", [float(x.mean()) for x in off], both
    for name, claim in (("Cross whitened", "pcct-whitened"), ("Cross with 60 keV", "pcct-with-vmi")):
        if name in study.seeds:
            seeds = study.seeds[name]
            worst = [(table2(study, name)[i].mean(0) / table2(study, "Cross")[i].mean(0)) for i in range(len(seeds))]
            yield claim, [float(w[ROWS.index("spr")]) for w in worst], curves(study, name, "Cross")
    for name, claim in (("Cross limited", "pcct-limit"), ("Cross by proxy", "pcct-t3-proxy-equal")):
        if name in study.seeds:
            ratio = float((table2(study, name)[0].mean(0) / table2(study, "Cross")[0].mean(0))[IMAGES].max())
            yield claim, ratio if claim == "pcct-t3-proxy-equal" else 1 / ratio, curves(study, name, "Cross")


def simulation_error(study: PanelStudy) -> float:
    """rms standard error of the simulated scatter over its rms, mean over the bodies."""
    found = [study.cells(b) for part in study.bodies.values() for b in part]
    return float(
        np.mean([float(c["error"].square().mean().sqrt() / c["scatter"].square().mean().sqrt()) for c in found])
    )


def missed_share(study: PanelStudy) -> float:
    """What series and harmonics leave out of the simulated scatter, rms over its rms, mean over bodies and bins."""
    found = [study.cells(b) for part in study.bodies.values() for b in part]
    return float(np.mean([float((c["missed"] / c["scatter"].square().mean((0, 2, 3)).sqrt()).mean()) for c in found]))


def limited_share(study: PanelStudy, limit: float = 5e-4) -> float:
    """Share of the counts of a training body on which the Cross loss has a gradient beyond a limit, uncorrected."""
    primary, scatter = study.stack("train")
    total = (primary + scatter)[:1].clone().requires_grad_()
    loss = study.trained_on.loss("cross", study.rows("printed"))
    loss(torch.zeros_like(total), total, study.scatterless()[:1]).backward()
    return float((total.grad.abs() > limit).double().mean())


def network_error(study: PanelStudy, method: str) -> float:
    """Error of a method's scatter-to-primary ratio over the ratio itself, on the test bodies."""
    return float(
        table2(study, method)[..., ROWS.index("spr")].mean()
        / table2(study, "uncorrected")[..., ROWS.index("spr")].mean()
    )


def coarse_grid(study: PanelStudy) -> tuple[int, int]:
    """Rows and columns of cells on which the networks return the share of scatter."""
    rows, cols = (math.prod(p) for p in zip(*study.pools, strict=True))
    return study.scan.rows // rows, study.scan.cols // cols


def water_floor(study: PanelStudy) -> float:
    """Error of the water image [mg/mL] that the best scatter on the networks' grid leaves in the first test body."""
    cells = coarse_grid(study)
    signals = study.test_signals(study.bodies["test"][0])
    return float(floor_of(study.tested_on, *signals, study.cm, cells)[ROWS.index("water")])


def body_ratio(study: PanelStudy) -> Tensor:
    """Mean scatter-to-primary ratio (bodies,) [%] of the test bodies."""
    return study.scores("uncorrected")["rows"][:, ROWS.index("spr")]
