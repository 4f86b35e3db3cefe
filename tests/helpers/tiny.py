"""The smallest sizes at which every cell of a chapter runs; what claims say is not asked: few steps teach nothing.

Cells treat all seeds alike, so one is enough where a seed means training; the first and the fifth chapter have two.
"""

from contextlib import contextmanager
from unittest import mock

import ctlib.book
from ctlib.book.ledger.claims import Ledger
from ctlib.book.page import widgets
from ctlib.papers.dip import rivals, scan
from ctlib.papers.forward import checks, comparison
from ctlib.papers.spectral2spectral import scene, start
from ctlib.recon import sirt

TINY = {
    "01-forward-model": {
        "size": 32, "num_views": 24, "seeds": [0, 1], "cone_size": 16,
    },
    "01a-iterative-reconstruction": {
        "size": 32, "num_views": 24, "seeds": [0, 1], "few_views": 12, "explore_size": 32,
    },
    "01b-projector-tested": {"grid_sizes": [16, 32, 256], "dense_size": 8},
    "02-deep-image-prior": {
        "seeds": [0], "n": 16, "channels": 2, "inputs": 2, "skip": 1, "inpaint_skip": 1, "scales": 2, "sr_factor": 2,
        "iters": 52, "noisy_iters": 52, "sr_iters": 52, "inpaint_iters": 52, "restore_iters": 52,
    },
    "02a-why-it-works": {
        "seeds": [0], "n": 16, "channels": 2, "inputs": 2, "skip": 1, "scales": 2, "sr_factor": 2, "ct_views": 8,
        "ct_iters": 52,
    },
    "02b-settings": {
        "n": 16, "large": 16, "channels": 2, "inputs": 2, "skip": 1, "inpaint_skip": 1, "scales": 2, "sr_factor": 2,
        "sweep_halved": 0, "iters": 52, "sr_iters": 52, "inpaint_iters": 52, "restore_iters": 52,
        "sweep_scales": [2, 3], "sweep_reg": [0.01, 0.03], "restore_reg": [0.03, 0.1], "original_skip": 2,
    },
    "03-spectral2spectral": {
        "n": 32, "views": 12, "counts": 2e4, "rods_seeds": [1], "rods_slices": 2, "mouse_slices": 2, "tuning_slices": 2,
        "outer": 2, "classical_outer": 2, "steps": 12, "width": 2, "depth": 1, "printed_width": 2, "printed_depth": 2,
        "epochs": 8, "phase_sizes": [16], "phase_doses": [1e4, 1e5], "phase_steps": 3,
    },
    "03a-splitting-and-losses": {"n": 24, "views": 16, "seeds": [1, 2], "outer": 12},
    "03b-own-scan": {"n": 48, "outer": 1, "classical_outer": 1, "steps": 3, "width": 2, "depth": 1},
    "04-hqinet": {
        "seeds": [0], "n": 64, "pixel_mm": 6.0, "views": 48, "num_synthetic": 8, "slices": 3, "shrink": 64,
        "blocks": [1, 1, 1, 1], "aspp_rates": [1], "patch": 32, "full_patch": 32, "batch": 2, "steps": 6,
        "tune_rates": [0.01, 0.003], "tune_steps": 6, "looks": 6,
    },
    "04a-hqinet-tested": {
        "seeds": [0], "n": 64, "pixel_mm": 6.0, "views": 48, "num_synthetic": 8, "slices": 3, "shrink": 64,
        "blocks": [1, 1, 1, 1], "aspp_rates": [1], "patch": 32, "full_patch": 32, "batch": 2, "steps": 6,
        "tune_rates": [0.01, 0.003], "tune_steps": 6, "looks": 6,
        "lesion_mm": 15.0, "lesion_sites": 2, "repeats": 8,
    },
    "05-differentiable-pcct": {
        "seeds": [0, 1], "n_det": 32, "views": 12, "bad_pixels": [9, 12], "lbfgs_steps": 8, "image_steps": 3,
        "adam_steps": 6, "adam_rates": [0.1],
    },
    "05a-likelihood-and-fold": {"seeds": [0, 1], "lbfgs_steps": 3},
    "05b-scatter": {
        "methods": ["Direct", "Cross"], "size": 16, "slices": 1, "cols": 16, "rows": 4, "step_deg": 30.0,
        "synthetic": [2, 1, 2], "people": [1, 1, 1], "photons": 64, "cells": [2, 4], "modes": [2, 3], "harmonics": 2,
        "check_photons": 200, "channels": [4, 4], "pools": [[2, 2], [1, 2]], "epochs": 6, "proxy_samples": 50,
        "proxy_steps": 2,
    },
    "05c-beyond-the-paper": {
        "seeds": [0, 1], "size": 24, "views": 12, "bad_pixels": [9, 14], "readings": 10, "trials": 2, "tol": 0.05,
    },
    "05d-derived": {
        "seeds": [0, 1], "draws": 200, "simplex_pixels": 2, "memory_pixels": 20, "memory_iters": [2, 16],
        "proxy_samples": 60, "proxy_steps": 4, "timed_pixels": 200,
    },
    "06-generative-tomography": {
        "seeds": [0], "seeds_of": [1, 1, 1, 1, 1], "n": 32, "views": 16, "few_views": 8, "worlds": ["synthetic"],
        "num_real": [4, 2, 2], "num_synthetic": [4, 2, 2], "sizes": [[2, 4, 2], [4, 4, 2]], "depths": [1, 2],
        "steps": 6, "short_steps": 6, "tune_steps": 6, "batch": 2, "noise_images": [4, 2, 2],
        "noise_steps": [2, 1, 1], "noise_width": 4, "noise_seeds": [0],
    },
    "06a-generator": {
        "seeds": [0], "n": 32, "views": 16, "num_synthetic": [4, 2, 2], "size": [4, 4, 2], "image_steps": 2,
        "image_batch": 2, "noise_width": 4, "noise_steps": [2, 1, 1], "noise_batch": 2, "critic_widths": [4, 4],
        "gan_steps": 6, "gan_batch": 2, "z_shape": [2, 4, 4], "samples": 4, "bodies": 2, "pg_steps": 2,
        "law_steps": 2, "exact_steps": 2, "signals": [3.0, 4.0],
    },
    "06b-side-matters": {
        "n": 32, "views": 16, "noise_images": [4, 2, 2], "noise_steps": [2, 1, 1], "noise_width": 4,
        "noise_seeds": [0], "batch": 2,
    },
    "performance": {"size": 32, "views": 12, "view": 3, "plane": 12},
    "lab-dip-fit": {"n": 32, "channels": 4, "iters": 60, "scales": 2},
    "lab-real-mouse": {"seeds": [1], "views": 12, "outer": 1, "classical_outer": 1, "steps": 3, "width": 2},
}  # fmt: skip


FEW_TRIALS = {
    "FBP": [{"window": "ram-lak"}, {"window": "hann"}],
    "SIRT": [{"num_iters": 2}, {"num_iters": 4}],
    "TV": [{"kappa": 1.0}, {"kappa": 2.0}],
}


def few_iterations(A, y, num_iters, **options):
    """SIRT of three iterations."""
    return sirt(A, y, min(num_iters, 3), **options)


def first_and_last(render, width=640, **axes):
    """In place of `explore`: draw two of the states, which otherwise needs Jupyter."""
    for k in (0, -1):
        image, caption = render(**{name: list(values)[k] for name, values in axes.items()})
        widgets.to_png(image)
        assert str(caption).strip()


@contextmanager
def few_steps():
    """Chapters run by plain `exec` in here need no Jupyter, and no claim of theirs must hold."""
    with (
        mock.patch.object(ctlib.book, "explore", first_and_last),
        mock.patch.object(Ledger, "verify", return_value=None),
        mock.patch.object(comparison, "SETTLED", 1e9),
        mock.patch.object(comparison, "FIRST_ITERS", 2),
        mock.patch.object(comparison.Scan, "trials", FEW_TRIALS),
        mock.patch.object(checks.center_noise, "__defaults__", (20, 1e5)),
        mock.patch.object(checks.noise_by_views, "__defaults__", ((9, 18, 36, 72), 4e6)),
        mock.patch.object(rivals.fill_tv, "__defaults__", (3,)),
        mock.patch.object(scan.scan_by_tv, "__defaults__", (3,)),
        mock.patch.object(start, "sirt", few_iterations),
        mock.patch.object(scene, "sirt", few_iterations),
    ):
        yield
