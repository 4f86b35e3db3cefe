"""The paper's sweeps as claims: what it calls best, measured by truth, and what its own measure says."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ctlib.papers.dip.compare import Measured, advantage, curves_of, peaks
from ctlib.papers.dip.experiment import last_psnr
from ctlib.papers.dip.fit import Fit
from ctlib.papers.dip.plan import SETTINGS, Study

PAPERS = {  # (setting, task): what the paper calls best, and the claim that it is
    ("lr", "denoise"): (0.001, "dip-denoise-lr"),
    ("lr", "sr"): (0.001, "dip-sr-lr"),
    ("lr", "inpaint"): (0.1, "dip-inpaint-lr"),
    ("lr", "restore"): (0.001, "dip-restore-original"),
    ("reg_noise", "denoise"): (0.03, "dip-denoise-noise"),
    ("reg_noise", "sr"): (0.01, ""),
    ("reg_noise", "restore"): (0.03, "dip-restore-noise"),
    ("scales", "denoise"): (3, "dip-denoise-scales"),
    ("scales", "sr"): (4, "dip-sr-scales"),
    ("scales", "inpaint"): (4, "dip-inpaint-scales"),
    ("scales", "restore"): (5, "dip-restore-scales"),
}
NAMES = {"lr": "learning rate", "reg_noise": "input noise", "scales": "scales", "sr": "super-resolve"}  # as readers say
COLUMNS = ["sweep", "paper's", "best by fit", "best by truth", "PSNR [dB]", "paper's behind [dB]"]
Sweep = Mapping[float, Fit]
Place = tuple[str, str, str]  # role, setting, task


def in_words(name: str) -> str:
    """A setting or a task in words."""
    return NAMES.get(name, name)


def all_sweeps(study: Study) -> dict[Place, Sweep]:
    """{(role, setting, task): {value: fit}} of everything that is swept."""
    places = [(role, s, kind) for role, asked in study.swept.items() for s in asked for kind in SETTINGS[s]]
    return {place: study.sweep(*place) for place in places}


def fit_ends(fits: Sweep) -> dict[float, float]:
    """{value: PSNR against the fitted image at the end [dB]}: what the paper's figures plot."""
    return {v: float(last_psnr([f], "psnr_fit")[0]) for v, f in fits.items()}


def misled(fits: Sweep) -> int:
    """Pairs of values that the last PSNR against the fitted image orders otherwise than that against the truth."""
    fit, truth = (np.array([last_psnr([f], k)[0] for f in fits.values()]) for k in ("psnr_fit", "psnr_truth"))
    return sum((fit[i] > fit[j]) != (truth[i] > truth[j]) for i in range(len(fit)) for j in range(i))


def largest_drop(fit: Fit) -> float:
    """Largest loss of the PSNR against the fitted image in one step, after step 50 [dB]."""
    return float(-np.diff(fit.psnr_fit[50:]).min())


def sweep_row(place: Place, fits: Sweep) -> list:
    """Row of a table with COLUMNS; the PSNR is that of the best by truth."""
    by_truth, by_fit = peaks(fits), fit_ends(fits)
    paper, top = PAPERS[place[1:]][0], max(by_truth, key=by_truth.get)
    behind = by_truth[top] - by_truth[paper] if paper in by_truth else None
    role, setting, kind = place
    best = (f"{v:g}" for v in (paper, max(by_fit, key=by_fit.get), top))
    return [f"{role}, {in_words(kind)}, {in_words(setting)}", *best, by_truth[top], behind]


def sweep_plots(sweeps: Mapping[Place, Sweep]) -> tuple[dict, dict, list]:
    """({plot: {value: (steps, PSNR)}}, {plot: {value: best step}}, (plot, value) that the paper calls best)."""
    lines, tops, papers = {}, {}, []
    for (_, setting, kind), fits in sweeps.items():
        title = f"{in_words(kind)}, {in_words(setting)}"
        lines[title] = {f"{v:g}": (np.arange(1, len(f.energy) + 1), f.psnr_average) for v, f in fits.items()}
        best = {f"{v:g}": f.best(averaged=True) for v, f in fits.items()}
        tops[title] = {v: (step + 1, db) for v, (step, db) in best.items()}
        papers.append((title, f"{PAPERS[setting, kind][0]:g}"))
    return lines, tops, papers


def winners(sweeps: Mapping[Place, Sweep]) -> dict[str, Fit]:
    """{sweep and value, as a title: fit} of the best value of every sweep."""
    out = {}
    for (_, setting, kind), fits in sweeps.items():
        by = peaks(fits)
        top = max(by, key=by.get)
        out[f"{in_words(kind)}\n{in_words(setting)} {top:g}"] = fits[top]
    return out


def settings_claims(sweeps: Mapping[Place, Sweep]) -> Measured:
    """Every setting that the paper calls best: its best PSNR minus the best of the other values."""
    for (setting, kind), (value, claim) in PAPERS.items():
        swept = {role: fits for (role, *place), fits in sweeps.items() if place == [setting, kind] and value in fits}
        if claim and swept:
            traces = {f"{role}, {v:g}": f for role, fits in swept.items() for v, f in fits.items()}
            yield claim, [advantage(fits, value) for fits in swept.values()], curves_of(traces)


def rate_rows(sweeps: Mapping[Place, Sweep]) -> list[list]:
    """A row, as those of `compare.original_rows`: restoration at the original learning rate, if that was swept."""
    fits = sweeps.get(("real", "lr", "restore"), {})
    if not {0.01, 0.001} <= fits.keys():
        return []
    by = peaks(fits)
    return [["restore, best step", by[0.01], by[0.001], by[0.001] - by[0.01]]]


def other_claims(study: Study, sweeps: Mapping[Place, Sweep]) -> Measured:
    """What the paper says of sweeps beside the best values."""

    def over(setting: str, kind: str, measure: Callable[[Sweep], float]) -> list[float]:
        return [float(measure(fits)) for place, fits in sweeps.items() if place[1:] == (setting, kind)]

    def width(fits: Sweep) -> float:
        return float(np.ptp(list(fit_ends(fits).values())))

    found = {
        "dip-fit-misleads": over("lr", "denoise", misled),
        "dip-lr-slow": over("lr", "denoise", lambda f: fit_ends(f)[0.01] - fit_ends(f)[0.0001]),
        "dip-lr-unstable": over("lr", "denoise", lambda f: largest_drop(f[0.1]) - largest_drop(f[0.01])),
        "dip-regnoise-order": over("reg_noise", "sr", lambda f: -np.diff(list(fit_ends(f).values())).max()),
    }
    depth, rate = over("scales", "sr", width), over("lr", "sr", width)
    found["dip-depth-small"] = [a / b for a, b in zip(depth, rate, strict=False)]
    yield from ((claim, values, None) for claim, values in found.items() if values)
    roles = [role for role, asked in study.swept.items() if "lr" in asked]
    fits = {(role, "paper"): study.fit(study.advice_job(role, "sr")) for role in roles}
    fits |= {(role, "original"): study.fits(role, "sr")[0].first(study.sweep_steps("sr")) for role in roles}
    top = {name: f.best(averaged=True)[1] for name, f in fits.items()}
    if roles:
        gain = [top[role, "paper"] - top[role, "original"] for role in roles]
        yield "dip-sr-settings", gain, curves_of({", ".join(k): f for k, f in fits.items()})
