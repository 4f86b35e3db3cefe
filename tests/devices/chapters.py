"""A chapter's cells on the stand-in device, at the smallest sizes at which all of them run.

    python tests/devices/chapters.py 03-spectral2spectral n_slices=4      # a minute; 02-deep-image-prior takes five

What the claims say is not asked: so few steps teach nothing.
"""

import json
import sys
from unittest import mock

from stand_in import DEVICE, stand_in

import ctlib.book
from ctlib.book.ledger.claims import Ledger
from ctlib.book.page import widgets
from ctlib.book.project import Project
from ctlib.book.runner import inprocess

TINY = {
    "02-deep-image-prior": {
        "seeds": [0, 1], "n": 32, "channels": 4, "iters": 60, "sr_iters": 60, "sweep_iters": 60, "ct_iters": 60,
        "scales": 2, "sweep_scales": [2, 3], "sweep_reg": [0.01, 0.03], "ct_views": 8,
    },
    "03-spectral2spectral": {
        "seeds": [1, 2], "n": 24, "views": 18, "n_slices": 3, "outer": 2, "sirt_start": 4, "sirt_inner": 2, "steps": 3,
        "width": 4, "tv_grid": [1.0], "lowrank_grid": [6.0], "ours_grid": [0.0, 1.0], "drifts": [0.0, 0.01],
        "redraw": 2,
    },
    "04-hqinet": {
        "seeds": [0, 1], "n": 32, "slices": 4, "num_patients": 16, "steps": 2, "batch": 2, "stem": 4, "mids": [2, 2],
        "blocks": [1, 1], "aspp": 4, "low": 2, "decoder": 4, "tune_rates": [0.01, 0.003],
    },
    "06-generative-tomography": {
        "seeds": [0, 1], "n": 32, "angles": 16, "num_images": [4, 2, 2], "widths": [[8, 8], [8, 8]],
        "blocks": [[1, 1], [1, 1]], "bp_channels": [2, 2], "ramp_residual": [False, True], "other_channels": [1],
        "train_steps": 2, "batch": 2, "few_views": 8, "few_steps": 1, "noise_steps": [2, 1, 1], "noise_batch": 2,
        "noise_width": 4, "critic_widths": [4, 4, 4], "gan_steps": 6, "gan_batch": 2, "z_shape": [2, 4, 4],
        "samples": 4, "gan_bodies": 2, "pg_steps": 2, "other_embeds": ["learned", "none"],
    },
    "lab-dip-fit": {"n": 32, "channels": 4, "iters": 60, "scales": 2},
    "lab-real-mouse": {
        "seeds": [1, 2], "views": 12, "outer": 2, "sirt_inner": 2, "steps": 3, "width": 4, "tv_grid": [1.0],
        "lowrank_grid": [3.0], "ours_grid": [1.0],
    },
}  # fmt: skip


def first_and_last(render, width=640, **axes):
    """In place of `explore`: draw two of the states, which otherwise needs Jupyter."""
    for k in (0, -1):
        image, caption = render(**{name: list(values)[k] for name, values in axes.items()})
        widgets.to_png(image)
        assert str(caption).strip()


def run_on_device(slug: str, **changes):
    """What the chapter measured; BookError names the cell that mixes devices."""
    values = {**TINY[slug], **changes, "device": DEVICE}
    with (
        stand_in(),
        mock.patch.object(ctlib.book, "explore", first_and_last),
        mock.patch.object(Ledger, "verify", return_value=None),
    ):
        return inprocess.run_cells(Project(), slug, values, "ci")


if __name__ == "__main__":
    slug, *changes = sys.argv[1:]
    run_on_device(slug, **{name: json.loads(value) for name, value in (c.split("=", 1) for c in changes)})
