"""The chapter's experiment from the chapter's parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ctlib.papers.spectral2spectral.dose import COUNTS, PAPER, DoseFit, fbp_errors, fit_dose
from ctlib.papers.spectral2spectral.experiment import Settings
from ctlib.papers.spectral2spectral.methods import BINS, PRINTED, SPAN, TAUGHT
from ctlib.papers.spectral2spectral.study import VALIDATION, Study

METHODS = ("TV", "Noise2Sim", "Noise2Noise", "low-rank", PRINTED, TAUGHT, BINS, SPAN)
ABLATIONS = {  # options of the method as printed
    "without RG": {"lam_r": 0.0},
    "without IR": {"outer": 1},
    "without similarity": {"lam_s": 0.0},
    "schedules swapped": {"schedule": "swapped"},
    "scaled by mean": {"scaling": "mean"},
}
DOSE_SLICES = 2
WAYS = {  # how the paper's FBP may have been made: (window, bins counted or subtracted)
    "ramp, counted bins": ("ram-lak", "poisson"),
    "ramp, subtracted bins": ("ram-lak", "subtract"),
    "Hann, counted bins": ("hann", "poisson"),
    "Hann, subtracted bins": ("hann", "subtract"),
}


def dose_fits(p: Mapping, mode: str = "", window: str = "") -> dict[str, DoseFit]:
    """Photons that the paper's FBP row implies, for every way in which that FBP may have been made, or one of them."""
    found = {}
    for name, (filtered, counted) in WAYS.items():
        if mode in ("", counted) and window in ("", filtered):
            errors = fbp_errors(p["n"], p["views"], DOSE_SLICES, COUNTS, VALIDATION, filtered, counted)
            found[name] = fit_dose(COUNTS, errors, PAPER["FBP"])
    return found


def dose_rows(fits: Mapping[str, DoseFit]) -> list[list]:
    """Rows: how FBP was made, photons by material and jointly, what is left of each error there."""
    return [[way, *fit.each, fit.joint, *fit.left] for way, fit in fits.items()]


def apart(fit: DoseFit) -> float:
    """Largest over smallest number of photons that the materials ask for; infinite where one fits no number."""
    return float(np.max(fit.each) / np.min(fit.each)) if np.isfinite(fit.each).all() else float("inf")


def nearest(fits: Mapping[str, DoseFit]) -> str:
    """The way in which one number of photons explains the row best."""
    return min(fits, key=lambda way: float(np.square(np.log(fits[way].left)).sum()))


def study_of(p: Mapping) -> Study:
    """The experiment of the chapter with these parameters, by name as its first cell declares them."""
    settings = Settings(
        outer=p["outer"],
        rho=p["rho"],
        steps=max(1, p["steps"] // p["outer"]),
        lr=0.003,
        width=p["width"],
        depth=p["depth"],
        batch=p["batch"],
        decay=p["decay"],
        printed_width=p["printed_width"],
        printed_depth=p["printed_depth"],
        epochs=p["epochs"],
        classical_outer=p["classical_outer"],
        precision=p["precision"],
        watch_every=max(1, p["steps"] // 30),
    )
    return Study(
        seeds={"rods": p["rods_seeds"], "mouse": p["mouse_seeds"]},
        n=p["n"],
        views=p["views"],
        counts=p["counts"] or dose_fits(p, p["rods_mode"], "ram-lak").popitem()[1].joint,
        slices={"rods": p["rods_slices"], "mouse": p["mouse_slices"]},
        tuning_slices=p["tuning_slices"],
        drift=p["drift"],
        settings=settings,
        methods=METHODS,
        trials=p["trials"],
        doses=p["phase_doses"],
        sizes=p["phase_sizes"],
        phase_methods=p["phase_methods"],
        phase_trials=p["phase_trials"],
        phase_seeds=p["phase_seeds"],
        phase_steps=max(1, p["phase_steps"] // p["outer"]),
        ablations=ABLATIONS,
        modes={"rods": p["rods_mode"]},
        device=p["device"],
        checkpoints=p["checkpoints"] or None,
    )
