"""Deep image prior against its rivals: as many trials for all on another body, scores inside the skin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from ctlib.papers.dip.experiment import psnr_db
from ctlib.papers.dip.fit import Fit
from ctlib.papers.dip.plan import SWEPT, Study
from ctlib.papers.dip.rivals import RIVALS, plain_input
from ctlib.papers.dip.scan import WINDOWS, scan_by_fbp, scan_by_tv
from ctlib.train.tuning import Tuning, tune

PRIOR = "prior"
Measured = Iterator[tuple[str, Sequence[float], dict | None]]  # claim, values, curves behind them
SCAN_WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of total variation in reconstruction
SCAN_BLURS = (0.0, 1.0)  # over filtered back-projection [pixels]


def trials_of(study: Study, kind: str) -> dict[str, list[dict]]:
    """{method: settings to try} of a task; stopping points for the prior, weights for the others."""
    if kind == "ct":
        found = {
            "FBP": [{"window": w, "blur": b} for w in WINDOWS for b in SCAN_BLURS],
            "TV": [{"weight": w} for w in SCAN_WEIGHTS],
        }
    else:
        found = {m: [{} if w is None else {"weight": w} for w in weights] for m, (_, weights) in RIVALS[kind].items()}
    return {**found, PRIOR: [{"step": s} for s in study.stops(kind)]}


def restored(study: Study, role: str, kind: str, seed: int, method: str, settings: Mapping) -> Tensor:
    """What a classical method makes of a task, (Y, X)."""
    task = study.seen(role, kind, seed)
    if method == "FBP":
        return scan_by_fbp(study.bodies[role], study.scan[0], task.x0, **settings)
    if kind == "ct":
        return scan_by_tv(task, **settings)
    return RIVALS[kind][method][0](task, settings.get("weight"))


def judged(study: Study, role: str, kind: str, seed: int) -> Tensor:
    """The pixels on which methods are compared, (Y, X) bool: inside the skin, where there are holes those alone."""
    region, A = study.bodies[role].region, study.seen(role, kind, seed).A
    return region & (A.mask == 0) if hasattr(A, "mask") else region


def score_of(study: Study, role: str, kind: str, seed: int, x: Tensor) -> float:
    """PSNR of an image (Y, X) on the pixels that are judged [dB]."""
    return psnr_db(x, study.seen(role, kind, seed).truth, judged(study, role, kind, seed))


def tuned(study: Study, kind: str) -> Tuning:
    """As many trials for every method of a task on the body to tune on; PSNR [dB], higher is better."""
    seed = study.seeds["val"][0]

    def score(method: str, settings: Mapping) -> float:
        return score_of(study, "val", kind, seed, _made(study, "val", kind, seed, method, settings))

    return tune(trials_of(study, kind), score, better="higher")


def _made(study: Study, role: str, kind: str, seed: int, method: str, settings: Mapping) -> Tensor:
    if method != PRIOR:
        return restored(study, role, kind, seed, method, settings)
    return study.fits(role, kind)[list(study.seeds[role]).index(seed)].averages[settings["step"]]


def outcomes(study: Study, role: str, kind: str, tuning: Tuning) -> dict[str, list[Tensor]]:
    """{method: images, one a seed}, each method with the settings that were best on the other body."""
    methods = dict.fromkeys(t.method for t in tuning.trials)
    return {
        m: [_made(study, role, kind, seed, m, tuning.best(m).settings) for seed in study.seeds[role]] for m in methods
    }


def scores(study: Study, role: str, kind: str, images: Mapping[str, Sequence[Tensor]]) -> dict[str, np.ndarray]:
    """{method: PSNR on the judged pixels [dB], one a seed}; the input, and the prior's last step, among them."""
    seeds = study.seeds[role]
    given = {} if kind == "ct" else {"input": [plain_input(study.seen(role, kind, s)) for s in seeds]}
    ends = {f"{PRIOR}, last step": [f.average for f in study.fits(role, kind)]}
    return {
        m: np.array([score_of(study, role, kind, s, x) for x, s in zip(xs, seeds, strict=True)])
        for m, xs in {**given, **images, **ends}.items()
    }


def rivals_of(found: Mapping[str, np.ndarray]) -> list[str]:
    """The methods among scores that are neither the input nor the prior."""
    return [m for m in found if m != "input" and not m.startswith(PRIOR)]


def ahead_in(found: Mapping[str, Mapping[str, np.ndarray]], words: Mapping[str, str], margin_db: float = 0.2) -> str:
    """The tasks, in words, in which the prior leads all rivals by more than a margin at its stopping point."""
    return ", ".join(words[kind] for kind, by in found.items() if np.median(lead(by)) > margin_db)


def task_panels(study: Study, images: Mapping, found: Mapping) -> tuple[list[Tensor], list[str]]:
    """(images, titles) on the measured slice: of every task the input, the best rival, the prior and the truth."""
    seed, panels, titles = study.seeds["real"][0], [], []
    for kind, made in images.items():
        by = {m: float(v[0]) for m, v in found[kind].items()}
        rival = max(rivals_of(found[kind]), key=by.get)
        panels += [plain_input(study.seen("real", kind, seed)), made[rival][0], made[PRIOR][0]]
        panels.append(study.bodies["real"].gray)
        titles += [f"{m} {by[m]:.1f}" for m in ("input", rival, PRIOR)] + ["truth"]
    return panels, titles


def original_rows(study: Study) -> list[list]:
    """Rows of a table for what the original would have given: task, ours, the original [dB], its gain; first seed."""
    rows = []
    for kind in study.original:
        fits, seed = (study.fits("real", kind)[0], study.fit(study.original_job(kind))), study.seeds["real"][0]
        step = len(fits[1].energy) - 1
        ours, theirs = (score_of(study, "real", kind, seed, f.averages[step]) for f in fits)
        rows.append([f"{kind}, last step", ours, theirs, theirs - ours])
    return rows


def lead(found: Mapping[str, np.ndarray], over: Sequence[str] = ()) -> np.ndarray:
    """The prior's lead over the best of some methods (all rivals by default) [dB], one a seed."""
    return found[PRIOR] - np.max([found[m] for m in (over or rivals_of(found))], axis=0)


def score_rows(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[list]:
    """Rows of a table from {task: scores}: method, then median and range of every task, None where it has none."""
    methods = list(dict.fromkeys(m for by in found.values() for m in by))
    methods.sort(key=lambda m: (m.startswith(PRIOR), m != "input" and not m.startswith(PRIOR)))
    cell = lambda v: None if v is None else spread(v)  # noqa: E731
    return [[m, *(cell(by.get(m)) for by in found.values())] for m in methods]


def spread(values: np.ndarray) -> float | tuple[float, float]:
    """A cell of a table: the median, and half the range where there are several values."""
    middle = float(np.median(values))
    return (middle, float(np.ptp(values)) / 2) if len(values) > 1 else middle


def curves_of(fits: Mapping[str, Fit], points: int = 30, kind: str = "psnr_average") -> dict[str, tuple]:
    """{name: (steps, PSNR)} of fits at evenly spaced steps, as `ledger.check` takes curves."""
    out = {}
    for name, fit in fits.items():
        values = getattr(fit, kind)
        steps = np.unique(np.linspace(0, len(values) - 1, points).round().astype(int))
        out[name] = steps.tolist(), [values[s] for s in steps]
    return out


def peaks(fits: Mapping[float, Fit]) -> dict[float, float]:
    """{value: best PSNR of the averaged output [dB]} of a sweep."""
    return {v: f.best(averaged=True)[1] for v, f in fits.items()}


def advantage(fits: Mapping[float, Fit], value: float) -> float:
    """Best PSNR at one value of a sweep minus the best at any other [dB]."""
    found = peaks(fits)
    return found[value] - max(db for v, db in found.items() if v != value)


def losses(fits: Sequence[Fit], stops: Sequence[int]) -> np.ndarray:
    """Best PSNR of the averaged output minus that at a stop [dB], one a fit."""
    return np.array([f.best(averaged=True)[1] - f.psnr_average[s] for f, s in zip(fits, stops, strict=True)])


RIVAL_CLAIMS = {  # task: {claim: the methods it is about, all if none is named}
    "sr": {"dip-sr-bicubic": ("bicubic",), "dip-sr-best": ()},
    "inpaint": {"dip-inpaint-holes": ()},
    "restore": {"dip-restore-bilinear": ("linear",), "dip-restore-best": ()},
    "denoise": {"dip-denoise-tv": ("TV",), "dip-denoise-best": ()},
}


def rival_claims(study: Study, role: str, found: Mapping[str, Mapping[str, np.ndarray]]) -> Measured:
    """The prior's lead over rivals on a body [dB], one a seed."""
    ending = "" if role == "real" else f"-{role}"
    for kind, claims in RIVAL_CLAIMS.items():
        curves = curves_of(named_fits(study, role, kind))
        yield from ((claim + ending, lead(found[kind], over), curves) for claim, over in claims.items())


def task_claims(study: Study, found: Mapping[str, Mapping], restored: Sequence[Tensor]) -> Measured:
    """What is claimed of the tasks, from {role: {kind: scores}} and the images that restoration gave on "real"."""
    for role, by_kind in found.items():
        yield from rival_claims(study, role, by_kind)
    gains = [found["real"][k][PRIOR] - found["real"][k]["input"] for k in SWEPT]
    yield "dip-four-tasks", np.min(gains, axis=0), None
    body = study.bodies["real"]
    whole = [psnr_db(x, body.gray, body.region) for x in restored]
    yield "dip-restore-level", whole, curves_of(named_fits(study, "real", "restore"))


def named_fits(study: Study, role: str, kind: str) -> dict[str, Fit]:
    """The main fits of a task on a body by name, for curves."""
    return {f"prior, seed {s}": f for s, f in zip(study.seeds[role], study.fits(role, kind), strict=True)}
