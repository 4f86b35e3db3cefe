"""What the chapter says of its results: tables, maps, and the values behind every claim with the curves behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from ctlib.decompose import decompose_images
from ctlib.papers.spectral2spectral.dose import PAPER
from ctlib.papers.spectral2spectral.methods import (
    PRINTED,
    PRINTED_START,
    SHORT,
    TAUGHT,
    TRAINED,
)
from ctlib.papers.spectral2spectral.noise_level import neighbor_correlation
from ctlib.papers.spectral2spectral.regions import in_units
from ctlib.papers.spectral2spectral.start import first_images
from ctlib.papers.spectral2spectral.study import VALIDATION, Study

MATERIALS = ("aluminium", "water", "iodine")
BINS_SHOWN = (0, 2, 4)  # bins 1, 3 and 5, as in the paper's figures
NAMES = {"first": "no prior", "noiseless": "no prior, no noise"}


def said(method: str) -> str:
    """A method's name in a table."""
    return NAMES.get(method, method)


def short(method: str) -> str:
    """A method's name over a picture."""
    return SHORT.get(method, NAMES.get(method, method))


def theirs(study: Study, kind: str) -> str:
    """The paper's method: as printed, or tuned like the others, whichever has the smaller error on validation."""
    best = {m: _validation(study, kind, m) for m in (PRINTED, TAUGHT) if m in study.methods}
    return min(best, key=best.get)


def _validation(study: Study, kind: str, method: str) -> float:
    options, image = study.chosen(method, kind)
    result = study.result(study.trial(method, kind, options))
    return float(np.mean(result["scores"][image]["error"]))


def found(study: Study, kind: str, seed: int) -> dict[str, dict]:
    """{method: scores, materials, pictures} of a specimen, baselines and truth among them."""
    return {**study.baselines(kind, seed), **{m: study.found(m, kind, seed) for m in study.methods}}


def scores_of(study: Study, kind: str, score: str) -> dict[str, np.ndarray]:
    """{method: (seeds, bins)} of a score, without the truth."""
    by_seed = [found(study, kind, seed) for seed in study.seeds[kind]]
    return {m: np.array([f[m]["scores"][score] for f in by_seed]) for m in by_seed[0] if m != "truth"}


def materials_of(study: Study, kind: str, what: str) -> dict[str, np.ndarray]:
    """{method: (seeds, ...)} of a measure of materials, without the truth."""
    by_seed = [found(study, kind, seed) for seed in study.seeds[kind]]
    return {m: np.array([f[m]["materials"][what] for f in by_seed]) for m in by_seed[0] if m != "truth"}


def spread(values: np.ndarray, scale: float = 1.0) -> float | tuple[float, float]:
    """A cell of a table: the median over seeds, and half the range where there are several."""
    middle = scale * float(np.median(values))
    return (middle, scale * float(np.ptp(values)) / 2) if len(values) > 1 else middle


def table1_rows(study: Study) -> list[list]:
    """Rows: method, then of aluminium, water and iodine the RMSE x 1e-3 here and in the paper."""
    rows = []
    for method, rmse in materials_of(study, "rods", "rmse").items():
        paper = PAPER.get("Spectral2Spectral" if method == PRINTED else method)
        cells = [(spread(rmse[:, k], 1e3), None if paper is None else 1e3 * paper[k]) for k in range(3)]
        rows.append(_row(method, [c for pair in cells for c in pair], (1,) * 6))
    return rows


def score_rows(study: Study, kind: str) -> list[list]:
    """Rows: method, then error, similarity, noise [%] and edges in bins 1 and 5."""
    by = {s: scores_of(study, kind, s) for s in ("error", "ssim", "noise", "edges")}
    scale = {"noise": 100.0, "error": 100.0}
    rows = []
    for m in by["error"]:
        cells = [spread(by[s][m][:, e], scale.get(s, 1.0)) for s in by for e in (0, 4)]
        rows.append(_row(m, cells, (1, 1, 2, 2, 1, 1, 2, 2)))
    return rows


def _row(method: str, cells: list, places: Sequence[int]) -> list:
    """A row of a table; the floor's numbers as texts, so that it is not marked as the best method."""
    if method == "noiseless":
        middles = [c[0] if isinstance(c, tuple) else c for c in cells]
        cells = [None if v is None else f"{v:.{d}f}" for v, d in zip(middles, places, strict=True)]
    return [said(method), *cells]


def maps_of(study: Study, method: str, seed: int, pictures: Mapping[str, Tensor] | None = None) -> Tensor:
    """Maps (3, Y, X) of aluminium (share), water and iodine [g/cm3] in the middle slice of the rods."""
    pictures = found(study, "rods", seed)[method]["pictures"] if pictures is None else pictures
    matrix = study.matrix(study.site("rods", VALIDATION))
    return in_units(decompose_images(pictures["transverse"][None], matrix))[0]


def ablations(study: Study) -> dict[str, list[dict]]:
    """{name: results, one a mouse} of the method as printed and of parts of it."""
    jobs, names = study.ablation_jobs(), ["as printed", *study.ablations]
    return {name: [study.result(j) for j in jobs[k :: len(names)]] for k, name in enumerate(names)}


def phase(study: Study) -> dict[str, np.ndarray]:
    """{method: error (sizes, doses)} of the phase diagram, mean of the bins, median over its seeds."""

    def error(method: str, n: int, counts: float) -> float:
        runs = [study.found(method, "mouse", s, n, counts) for s in study.phase_seeds]
        return float(np.median([np.mean(r["scores"]["error"]) for r in runs]))

    return {m: np.array([[error(m, n, c) for c in study.doses] for n in study.sizes]) for m in study.phase_methods}


def phase_wins(errors: Mapping[str, np.ndarray], method: str, over: Sequence[str]) -> int:
    """Points of the diagram at which a method has a smaller error than all of some others."""
    return int((errors[method] < np.min([errors[m] for m in over], axis=0)).sum())


def keep_all(study: Study, keep: Callable) -> None:
    """keep(name, values) of the absolute values of both kinds: RMSE of materials, mean error of the bins."""
    for method, rmse in materials_of(study, "rods", "rmse").items():
        for k, material in enumerate(MATERIALS):
            keep(f"rods, {method}, {material}", rmse[:, k])
    for kind in ("rods", "mouse"):
        for method, error in scores_of(study, kind, "error").items():
            keep(f"{kind}, {method}, mean error", error.mean(1))


def start_rows(study: Study) -> list[list]:
    """Rows: first images, what neighbors share of their noise, error of bin 5 with and without noise, edges."""
    scene, rows = study.scene(study.site("mouse", VALIDATION)), []
    clean = scene.scan.line_integrals(scene.scan.expected)
    for name, iterations in (("SIRT-50", PRINTED_START), ("solved", 0)):
        noisy, floor = (first_images(scene.A, y, iterations) for y in (scene.y, clean))
        shared = float(neighbor_correlation((noisy - floor)[:, 2]).mean())
        found = [scene.scores(x) for x in (noisy, floor)]
        rows.append([name, shared, *(100 * s["error"][4] for s in found), found[1]["edges"][4]])
    return rows


def ablation_image(study: Study, name: str) -> str:
    """The image that is judged where a part is left out: without iterations the network's own is the last."""
    return "z" if name == "without IR" else study.chosen(PRINTED, "mouse")[1]


def ablation_errors(study: Study) -> dict[str, np.ndarray]:
    """{part that is left out: mean error of the bins, one a mouse}."""
    return {
        name: np.array([np.mean(r["scores"][ablation_image(study, name)]["error"]) for r in runs])
        for name, runs in ablations(study).items()
    }


def ablation_rows(study: Study) -> list[list]:
    """Rows: part that is left out, error [%] in bins 1, 3 and 5."""
    rows = []
    for name, runs in ablations(study).items():
        errors = np.array([r["scores"][ablation_image(study, name)]["error"] for r in runs])
        rows.append([name, *(spread(errors[:, e], 100) for e in BINS_SHOWN)])
    return rows


def at_edges(study: Study) -> str:
    """Which methods' best strengths lie at the end of what was tried, in words."""
    tuned = {kind: study.tuned(kind) for kind in ("rods", "mouse")}
    found = {k: [m for m in dict.fromkeys(x.method for x in t.trials) if t.at_edge(m)] for k, t in tuned.items()}
    told = [f"{', '.join(map(short, methods))} ({kind})" for kind, methods in found.items() if methods]
    return "; ".join(told) or "no method"


def chosen_words(study: Study) -> str:
    """The settings of the networks that were best on the validation specimens, in words."""
    words = lambda o: (  # noqa: E731
        f"{'solved' if not o['start'] else 'SIRT-50'} first images, {o['share']:g} of the steps, "
        f"{'applied once' if o.get('outer') == 1 else 'applied in each outer step'}"
    )
    told = {
        (m, kind): words(dict(study.chosen(m, kind)[0]))
        for kind in ("rods", "mouse") for m in study.methods if m in TRAINED and m != PRINTED
    }  # fmt: skip
    alike = {text: [f"{short(m)} ({kind})" for (m, kind), t in told.items() if t == text] for text in told.values()}
    return "; ".join(f"{', '.join(who)}: {text}" for text, who in alike.items())


def gallery(study: Study, kind: str, seeds: Sequence[int], methods: Sequence[str]) -> tuple[list[Tensor], list[str]]:
    """(images, titles) of bins 1, 3 and 5 of specimens in rows, methods and the truth in columns."""
    top, images, titles = 0.3 * study.matrix(study.site(kind, VALIDATION))[:, 1], [], []
    for seed, e in ((seed, e) for seed in seeds for e in BINS_SHOWN):
        results = found(study, kind, seed)
        for m in [*methods, "truth"]:
            images.append(results[m]["pictures"]["transverse"][e] / top[e])
            error = "" if m == "truth" else f"{results[m]['scores']['error'][e]:.2f}"
            titles.append(error if len(titles) > len(methods) else f"{short(m)}\n{error}")
    return images, titles


def ablation_pictures(study: Study, mice: int = 2) -> tuple[list[Tensor], list[str]]:
    """(images, titles) of bin 5 of the first mice, one a row, with every part left out: from 0 to three times water."""
    by, top = ablations(study), 0.3 * study.matrix(study.site("mouse", VALIDATION))[4, 1]
    images, titles = [], []
    for k in range(min(mice, len(study.ablated))):
        for name, runs in by.items():
            image = ablation_image(study, name)
            images.append(runs[k]["pictures"][image]["transverse"][4] / top)
            titles.append(f"{name} {runs[k]['scores'][image]['error'][4]:.2f}")
    return images, titles


def courses(study: Study, kind: str) -> dict[str, tuple[list[int], np.ndarray]]:
    """{method: (steps, error of the middle slice (seeds, steps))} of every network."""
    found = {}
    for m in (m for m in study.methods if m in TRAINED):
        runs = [study.found(m, kind, seed)["course"] for seed in study.seeds[kind]]
        found[m] = runs[0][0], np.array([values for _, values in runs])
    return found


def winners(study: Study, errors: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Rows: size, then the method with the smallest error at every dose."""
    best = np.array([errors[m] for m in study.phase_methods]).argmin(0)
    return [[f"{n} px", *(study.phase_methods[i] for i in row)] for n, row in zip(study.sizes, best, strict=True)]


def smallest(study: Study, kind: str) -> dict[str, list[str]]:
    """{method: materials of the rods in which its median error is the smallest of FBP and all methods}."""
    rmse = {m: np.median(v, 0) for m, v in materials_of(study, kind, "rmse").items()}
    names = ["FBP", *study.methods]
    best = [min(names, key=lambda m: rmse[m][k]) for k in range(3)]
    return {m: [MATERIALS[k] for k in range(3) if best[k] == m] for m in names}


def ranking(study: Study) -> dict[str, float]:
    """{method: median over mice of the mean error of the bins}, the smallest first, FBP among them."""
    error = scores_of(study, "mouse", "error")
    found = {m: float(np.median(error[m].mean(1))) for m in ("FBP", *study.methods)}
    return dict(sorted(found.items(), key=lambda item: item[1]))
