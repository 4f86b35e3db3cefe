"""The classical methods that a deep image prior is compared with, each with at most one weight to choose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ctlib.errors import MissingDependency
from ctlib.papers.dip.tasks import Task
from ctlib.prox import prox_tv
from ctlib.recon import tv_reconstruct

NOISE_WEIGHTS = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.25, 0.4)  # of total variation, and of non-local means
HOLE_WEIGHTS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)  # of total variation where there is no noise


def plain_input(task: Task) -> Tensor:
    """A task's input without any method, (Y, X): pixels enlarged, holes at the mean of the known, noise as it is."""
    if task.name == "sr":
        return task.x0.repeat_interleave(task.A.factor, 0).repeat_interleave(task.A.factor, 1)
    if not hasattr(task.A, "mask"):
        return task.x0
    return torch.where(task.A.mask > 0, task.x0, task.x0.sum() / task.A.num_observed)


def denoise_tv(task: Task, weight: float) -> Tensor:
    """argmin 1/2 |x - x0|^2 + weight TV(x), (Y, X)."""
    return prox_tv(task.x0, weight, 200)


def denoise_means(task: Task, weight: float) -> Tensor:
    """Non-local means with 5 x 5 patches, cut-off `weight`, (Y, X); float32."""
    try:
        from skimage.restoration import denoise_nl_means
    except ImportError as error:
        raise MissingDependency("scikit-image", "non-local means") from error
    x = denoise_nl_means(task.x0.cpu().numpy(), patch_size=5, patch_distance=7, h=weight, fast_mode=True)
    return torch.from_numpy(x).float()


def enlarge_bicubic(task: Task) -> Tensor:
    """Bicubic enlargement of a super-resolution task's pixels, (Y, X)."""
    x = task.x0[None, None]
    return interpolate(x, scale_factor=task.A.factor, mode="bicubic", align_corners=False)[0, 0]


def enlarge_lanczos(task: Task) -> Tensor:
    """Lanczos-3 enlargement of a super-resolution task's pixels, (Y, X), weights of every pixel made to sum to 1."""
    rows, cols = (_lanczos_matrix(n, task.A.factor).to(task.x0) for n in task.x0.shape)
    return rows @ task.x0 @ cols.T


def _lanczos_matrix(num: int, factor: int, lobes: int = 3) -> Tensor:
    """(factor num, num) weights of coarse pixels at the centers of fine ones; those beyond the border count nothing."""
    fine, coarse = ((torch.arange(n, dtype=torch.float64) + 0.5) / f for n, f in ((factor * num, factor), (num, 1)))
    t = fine[:, None] - coarse
    w = torch.where(t.abs() < lobes, torch.sinc(t) * torch.sinc(t / lobes), 0.0)
    return w / w.sum(1, keepdim=True)


def fill_tv(task: Task, weight: float, num_iters: int = 300) -> Tensor:
    """Total variation from what is observed, (Y, X); a mask, and the low-pass of super-resolution, have norm 1."""
    return tv_reconstruct(task.A, task.x0, weight, num_iters, norm=1.0)


def fill_linear(task: Task) -> Tensor:
    """Linear interpolation between the known pixels, the nearest one outside their hull; (Y, X), float32."""
    try:
        from scipy.interpolate import griddata
    except ImportError as error:
        raise MissingDependency("scipy", "interpolation of scattered pixels") from error
    known = task.A.mask.cpu().numpy() > 0
    points, values = np.argwhere(known), task.x0.cpu().numpy()[known]
    grid = np.argwhere(np.ones_like(known))
    linear, nearest = (griddata(points, values, grid, how) for how in ("linear", "nearest"))
    return torch.from_numpy(np.where(np.isnan(linear), nearest, linear).reshape(known.shape)).float()


def fill_biharmonic(task: Task) -> Tensor:
    """The smooth surface through the known pixels with zero bi-Laplacian in the holes; (Y, X), float32."""
    try:
        from skimage.restoration import inpaint_biharmonic
    except ImportError as error:
        raise MissingDependency("scikit-image", "biharmonic filling") from error
    return torch.from_numpy(inpaint_biharmonic(task.x0.cpu().numpy(), task.A.mask.cpu().numpy() == 0)).float()


def _without_weight(call: Callable[[Task], Tensor]) -> tuple[Callable, tuple]:
    return (lambda task, weight: call(task)), (None,)


RIVALS = {  # by task: name -> (method, the weights that are tried)
    "denoise": {"TV": (denoise_tv, NOISE_WEIGHTS), "non-local means": (denoise_means, NOISE_WEIGHTS)},
    "noisy": {"TV": (denoise_tv, NOISE_WEIGHTS), "non-local means": (denoise_means, NOISE_WEIGHTS)},
    "sr": {
        "bicubic": _without_weight(enlarge_bicubic),
        "Lanczos": _without_weight(enlarge_lanczos),
        "TV": (fill_tv, HOLE_WEIGHTS),
    },
    "inpaint": {
        "linear": _without_weight(fill_linear),
        "biharmonic": _without_weight(fill_biharmonic),
        "TV": (fill_tv, HOLE_WEIGHTS),
    },
    "restore": {
        "linear": _without_weight(fill_linear),
        "biharmonic": _without_weight(fill_biharmonic),
        "TV": (fill_tv, HOLE_WEIGHTS),
    },
}
