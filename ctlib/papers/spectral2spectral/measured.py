"""What is kept of a reconstruction: scores inside the body, errors of materials, three sections, a curve."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ctlib.papers.spectral2spectral.evaluation import (
    bone_contrast,
    edge_slope,
    iodine_steps,
    profile_error,
    rod_errors,
    vessel_error,
)
from ctlib.papers.spectral2spectral.experiment import Run
from ctlib.papers.spectral2spectral.scene import ScannedScene

IMAGES = ("x", "z")  # after the last data step; what the prior made before it


def seen(scene: ScannedScene, x: Tensor) -> dict:
    """Scores inside the body, errors of materials and three sections of an image."""
    middle, center = len(x) // 2, x.shape[-1] // 2
    pictures = {
        "transverse": x[middle],
        "coronal": x[:, :, center].movedim(0, 1),
        "sagittal": x[..., center].movedim(0, 1),
    }
    return {
        "scores": scene.scores(x),
        "materials": materials(scene, x),
        "pictures": {k: v.float().cpu().clone() for k, v in pictures.items()},
    }


def materials(scene: ScannedScene, x: Tensor) -> dict[str, list[float]]:
    """Of rods: RMSE of materials, edges, steps of iodine. Of a mouse: vessels [mg/mL], bone and profile by bin."""
    if scene.kind == "rods":
        return {
            "rmse": [float(v) for v in rod_errors(scene, x)],
            "edge": [edge_slope(scene, x)],
            "steps": [float(iodine_steps(scene, x))],
        }
    bins = range(x.shape[1])
    return {
        "vessels": [vessel_error(scene, x)],
        "bone": [bone_contrast(scene, x, e) for e in bins],
        "profile": [profile_error(scene, x, e) for e in bins],
    }


def measured(scene: ScannedScene, run: Run, course: Sequence[tuple[int, float]]) -> dict:
    """What is kept of a reconstruction: of both images what `seen` gives, the curve, CPU seconds, gaps."""
    both = {image: seen(scene, getattr(run, image)) for image in IMAGES}
    parts = {k: {image: both[image][k] for image in IMAGES} for k in ("scores", "materials", "pictures")}
    steps, values = ([c[k] for c in course] for k in (0, 1))
    return {**parts, "course": [steps, values], "seconds": run.seconds, "gaps": list(run.gaps)}
