"""Deep image prior against its rivals: as many trials for all on another body, scores inside the skin, crossings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from ctlib.papers.dip.experiment import psnr_db
from ctlib.papers.dip.fit import Fit
from ctlib.papers.dip.plan import Study
from ctlib.papers.dip.rivals import RIVALS, plain_input
from ctlib.papers.dip.scan import WINDOWS, scan_by_fbp, scan_by_tv
from ctlib.train.tuning import Tuning, tune

PRIOR = "prior"
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


def tuned(study: Study, kind: str) -> Tuning:
    """As many trials for every method of a task on the body to tune on: PSNR inside its skin [dB], higher is better."""
    body, seed = study.bodies["val"], study.seeds["val"][0]
    truth = study.seen("val", kind, seed).truth

    def score(method: str, settings: Mapping) -> float:
        if method == PRIOR:
            return study.fits("val", kind)[0].psnr_average[settings["step"]]
        return psnr_db(restored(study, "val", kind, seed, method, settings), truth, body.region)

    return tune(trials_of(study, kind), score, better="higher")


def outcomes(study: Study, role: str, kind: str, tuning: Tuning) -> dict[str, list[Tensor]]:
    """{method: images, one a seed}, each method with the settings that were best on the other body."""
    found: dict[str, list[Tensor]] = {}
    for fit, seed in zip(study.fits(role, kind), study.seeds[role], strict=True):
        for method in dict.fromkeys(t.method for t in tuning.trials):
            settings = tuning.best(method).settings
            x = (
                fit.averages[settings["step"]]
                if method == PRIOR
                else restored(study, role, kind, seed, method, settings)
            )
            found.setdefault(method, []).append(x)
    return found


def scores(study: Study, role: str, kind: str, images: Mapping[str, Sequence[Tensor]]) -> dict[str, np.ndarray]:
    """{method: PSNR inside the skin [dB], one a seed}; the input, and the prior's last and best steps, among them."""
    body, tasks = study.bodies[role], [study.seen(role, kind, s) for s in study.seeds[role]]
    of = lambda xs: np.array([psnr_db(x, t.truth, body.region) for x, t in zip(xs, tasks, strict=True)])  # noqa: E731
    fits = study.fits(role, kind)
    found = {} if kind == "ct" else {"input": of([plain_input(t) for t in tasks])}
    found |= {method: of(xs) for method, xs in images.items()}
    found["prior, last step"] = np.array([f.psnr_average[-1] for f in fits])
    found["prior, best step"] = np.array([f.best(averaged=True)[1] for f in fits])
    return found


def hole_scores(study: Study, role: str, images: Mapping[str, Sequence[Tensor]]) -> dict[str, np.ndarray]:
    """{method: PSNR of inpainted pixels inside the skin alone [dB], one a seed}."""
    body, seeds = study.bodies[role], study.seeds[role]
    masks = [(study.seen(role, "inpaint", s).A.mask == 0) & body.region for s in seeds]
    return {m: np.array([psnr_db(x, body.gray, k) for x, k in zip(v, masks, strict=True)]) for m, v in images.items()}


def rivals_of(found: Mapping[str, np.ndarray]) -> list[str]:
    """The methods among scores that are neither the input nor the prior."""
    return [m for m in found if m != "input" and not m.startswith(PRIOR)]


def lead(found: Mapping[str, np.ndarray], over: Sequence[str] = ()) -> np.ndarray:
    """The prior's lead over the best of some methods (all rivals by default) [dB], one a seed."""
    return found[PRIOR] - np.max([found[m] for m in (over or rivals_of(found))], axis=0)


def crossing(fit: Fit, level: float) -> int | None:
    """First step at which the averaged output reaches a PSNR [dB]; None where it never does."""
    return next((t for t, db in enumerate(fit.psnr_average) if db >= level), None)


def curves_of(fits: Mapping[str, Fit], points: int = 60, kind: str = "psnr_average") -> dict[str, tuple]:
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
