"""The experiments of the chapter's two pages from their parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ctlib.papers.dip.bodies import Body, own_body, real_body, synthetic_body
from ctlib.papers.dip.experiment import Setup
from ctlib.papers.dip.plan import Study

OTHER_NOISE = 1000  # added to the seed of what is tuned on: another body, other noise and other holes
ADVICE = {  # what Sec. 4 of the paper recommends; for restoration it is the original
    "denoise": {"lr": 0.001, "scales": 3},
    "inpaint": {"lr": 0.1, "scales": 4},
    "sr": {"lr": 0.001, "reg_noise": 0.01, "scales": 4},
}


def measured_bodies(p: Mapping, multiple: int) -> dict[str, Body]:
    """The measured slices by role: one to judge on, of the sample, a folder or the reader; one to tune on.

    multiple  of which the sides of a reader's slice are cut
    """
    n, folder, own = p["n"], p["data"] or None, p["image"]
    real = own_body(own, n, p["image_unit"], multiple) if own else real_body(n, "test", folder, p["data_index"])
    found = {"real": real, "val": real_body(n, "val", folder)}
    return {role: body.to(p["device"]) for role, body in found.items()}


def bodies_of(p: Mapping) -> dict[str, Body]:
    """All bodies of the tasks by role: the measured ones, a torso of ellipses, the measured one larger."""
    found = measured_bodies(p, math.lcm(2 ** max(p["scales"], *p["sweep_scales"]), p["sr_factor"]))
    found["synthetic"] = synthetic_body(p["n"]).to(p["device"])
    if p["large"] and not p["image"]:
        found["large"] = real_body(p["large"], "test", p["data"] or None, p["data_index"]).to(p["device"])
    return found


def setup_of(p: Mapping) -> Setup:
    """The network and its settings."""
    names = ("channels", "inputs", "skip", "scales", "lr", "reg_noise", "ema", "device", "precision")
    return Setup(**{name: p[name] for name in names})


def study_of(p: Mapping) -> Study:
    """The experiment of the chapter with these parameters, by name as its first cell declares them."""
    first = p["seeds"][0]
    return Study(
        bodies=bodies_of(p),
        seeds={
            "real": p["seeds"],
            "synthetic": p["synthetic_seeds"],
            "val": [first + OTHER_NOISE],
            "large": [first],
        },
        setup=setup_of(p),
        steps={
            "denoise": p["iters"],
            "noisy": p["noisy_iters"],
            "sr": p["sr_iters"],
            "inpaint": p["inpaint_iters"],
            "restore": p["restore_iters"],
        },
        sweep_steps=p["sweep_iters"],
        sigma_high=p["sigma_high"],
        degrade={"sigma": p["sigma"], "factor": p["sr_factor"], "keep": p["keep_prob"], "mask": p["mask_kind"]},
        sweeps={"lr": p["sweep_lr"], "reg_noise": p["sweep_reg"], "scales": p["sweep_scales"]},
        restore_reg=p["restore_reg"],
        swept={"real": p["real_sweeps"], "synthetic": p["synthetic_sweeps"]},
        advice={k: {n: _possible(n, v, p) for n, v in changes.items()} for k, changes in ADVICE.items()},
        original={"inpaint": {"skip": p["original_skip"], "up": "nearest"}} if p["original_skip"] else {},
        changes={
            "inpaint": {"skip": p["inpaint_skip"], "up": p["inpaint_up"]},
            "restore": {"lr": p["restore_lr"]},
        },
        checkpoints=p["checkpoints"] or None,
    )


def projections_of(p: Mapping) -> Study:
    """The extension to projections: one task, on a measured slice and on the one to tune on."""
    return Study(
        bodies=measured_bodies(p, math.lcm(2 ** p["scales"], p["sr_factor"])),
        seeds={"real": p["seeds"], "val": [p["seeds"][0] + OTHER_NOISE]},
        setup=setup_of(p),
        steps={"ct": p["ct_iters"]},
        sweep_steps=p["ct_iters"],
        scan=(p["ct_views"], p["ct_photons"]),
        checkpoints=p["checkpoints"] or None,
    )


def words_of(study: Study) -> dict[str, str]:
    """The tasks in words, by kind."""
    d = study.degrade
    return {
        "denoise": f"denoise, {d['sigma']:g}",
        "noisy": f"denoise, {study.sigma_high:g}",
        "sr": f"super-resolve x{d['factor']}",
        "inpaint": f"inpaint, {d['mask']}",
        "restore": f"restore, {d['keep']:.0%} known",
    }


def _possible(name: str, value: float, p: Mapping) -> float:
    """No more halvings than the image allows."""
    return min(value, max(p["sweep_scales"])) if name == "scales" else value
