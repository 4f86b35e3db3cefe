"""The chapter's experiment from the chapter's parameters."""

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


def bodies_of(p: Mapping) -> dict[str, Body]:
    """The bodies by role: a measured slice of the sample, of a folder or of the reader, one to tune on, a torso."""
    n, folder = p["n"], p["data"] or None
    multiple = math.lcm(2 ** max(p["scales"], *p["sweep_scales"]), p["sr_factor"])
    own = p["image"]
    real = own_body(own, n, p["image_unit"], multiple) if own else real_body(n, "test", folder, p["data_index"])
    found = {"real": real, "val": real_body(n, "val", folder), "synthetic": synthetic_body(n)}
    if p["large"] and not own:
        found["large"] = real_body(p["large"], "test", folder, p["data_index"])
    return {role: body.to(p["device"]) for role, body in found.items()}


def study_of(p: Mapping) -> Study:
    """The experiment of the chapter with these parameters, by name as its first cell declares them."""
    names = ("channels", "inputs", "skip", "scales", "lr", "reg_noise", "ema", "device", "precision")
    first = p["seeds"][0]
    return Study(
        bodies=bodies_of(p),
        seeds={
            "real": p["seeds"],
            "synthetic": p["synthetic_seeds"],
            "val": [first + OTHER_NOISE],
            "large": [first],
        },
        setup=Setup(**{name: p[name] for name in names}),
        steps={
            "denoise": p["iters"],
            "noisy": p["noisy_iters"],
            "sr": p["sr_iters"],
            "inpaint": p["inpaint_iters"],
            "restore": p["restore_iters"],
            "ct": p["ct_iters"],
        },
        sweep_steps=p["sweep_iters"],
        sigma_high=p["sigma_high"],
        degrade={"sigma": p["sigma"], "factor": p["sr_factor"], "keep": p["keep_prob"], "mask": p["mask_kind"]},
        sweeps={"lr": p["sweep_lr"], "reg_noise": p["sweep_reg"], "scales": p["sweep_scales"]},
        restore_reg=p["restore_reg"],
        swept={"real": p["real_sweeps"], "synthetic": p["synthetic_sweeps"]},
        advice={k: {n: _possible(n, v, p) for n, v in changes.items()} for k, changes in ADVICE.items()},
        scan=(p["ct_views"], p["ct_photons"]),
        changes={
            "inpaint": {"skip": p["inpaint_skip"], "up": p["inpaint_up"]},
            "restore": {"lr": p["restore_lr"]},
        },
        checkpoints=p["checkpoints"] or None,
    )


def _possible(name: str, value: float, p: Mapping) -> float:
    """No more halvings than the image allows."""
    return min(value, max(p["sweep_scales"])) if name == "scales" else value
