"""The experiments of the chapter's three pages from their parameters."""

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


def setup_of(p: Mapping) -> Setup:
    """The network and its settings."""
    names = ("channels", "inputs", "skip", "scales", "lr", "reg_noise", "ema", "device", "precision")
    return Setup(**{name: p[name] for name in names})


def common_of(p: Mapping) -> dict:
    """What the studies of tasks and of settings share: fits of the one are those of the other."""
    return {
        "setup": setup_of(p),
        "steps": {
            "denoise": p["iters"],
            "sr": p["sr_iters"],
            "inpaint": p["inpaint_iters"],
            "restore": p["restore_iters"],
        },
        "degrade": {"sigma": p["sigma"], "factor": p["sr_factor"], "keep": p["keep_prob"], "mask": p["mask_kind"]},
        "changes": {
            "inpaint": {"skip": p["inpaint_skip"], "up": p["inpaint_up"]},
            "restore": {"lr": p["restore_lr"]},
        },
        "checkpoints": p["checkpoints"] or None,
    }


def study_of(p: Mapping) -> Study:
    """The tasks of the chapter with these parameters, by name as its first cell declares them."""
    study = Study(
        bodies=measured_bodies(p, math.lcm(2 ** p["scales"], p["sr_factor"])),
        seeds={"real": p["seeds"], "synthetic": p["synthetic_seeds"], "val": [p["seeds"][0] + OTHER_NOISE]},
        sigma_high=p["sigma_high"],
        **common_of(p),
    )
    study.bodies["synthetic"] = synthetic_body(p["n"]).to(p["device"])
    study.steps["noisy"] = p["noisy_iters"]
    return study


def settings_of(p: Mapping) -> Study:
    """The sweeps over settings, and the tasks at a larger size, with one seed."""
    folder = p["data"] or None
    bodies = measured_bodies(p, math.lcm(2 ** max(p["scales"], *p["sweep_scales"]), p["sr_factor"]))
    if p["synthetic_sweeps"]:
        bodies["synthetic"] = synthetic_body(p["n"]).to(p["device"])
    if p["large"] and not p["image"]:
        bodies["large"] = real_body(p["large"], "test", folder, p["data_index"]).to(p["device"])
    else:
        del bodies["val"]  # only what is compared with other methods is tuned
    return Study(
        bodies=bodies,
        seeds={role: [p["seed"] + (OTHER_NOISE if role == "val" else 0)] for role in bodies},
        halved=p["sweep_halved"],
        sweeps={"lr": p["sweep_lr"], "reg_noise": p["sweep_reg"], "scales": p["sweep_scales"]},
        restore_reg=p["restore_reg"],
        swept={"real": p["real_sweeps"], "synthetic": p["synthetic_sweeps"]},
        advice={k: {n: _possible(n, v, p) for n, v in changes.items()} for k, changes in ADVICE.items()},
        original={"inpaint": {"skip": p["original_skip"], "up": "nearest"}} if p["original_skip"] else {},
        **common_of(p),
    )


def projections_of(p: Mapping) -> Study:
    """The extension to projections: one task, on a measured slice and on the one to tune on."""
    return Study(
        bodies=measured_bodies(p, math.lcm(2 ** p["scales"], p["sr_factor"])),
        seeds={"real": p["seeds"], "val": [p["seeds"][0] + OTHER_NOISE]},
        setup=setup_of(p),
        steps={"ct": p["ct_iters"]},
        scan=(p["ct_views"], p["ct_photons"]),
        checkpoints=p["checkpoints"] or None,
    )


def words_of(study: Study) -> dict[str, str]:
    """The tasks of a study in words, by kind."""
    d = study.degrade
    words = {
        "denoise": f"denoise, {d['sigma']:g}",
        "noisy": f"denoise, {study.sigma_high:g}",
        "sr": f"super-resolve x{d['factor']}",
        "inpaint": f"inpaint, {d['mask']}",
        "restore": f"restore, {d['keep']:.0%} known",
    }
    return {kind: words[kind] for kind in words if kind in study.steps}


def _possible(name: str, value: float, p: Mapping) -> float:
    """No more halvings than the image allows."""
    return min(value, max(p["sweep_scales"])) if name == "scales" else value
