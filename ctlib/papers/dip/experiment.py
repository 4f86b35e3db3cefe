"""The chapter's runs: one fit, sweeps over its settings, the classical rivals, and scans for fits to projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ctlib import metrics
from ctlib.contract import count, number, tensor
from ctlib.contract import mask as as_mask
from ctlib.data.images import load_slice, window
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.geometry import Volume
from ctlib.linop import LinearOperator
from ctlib.papers.dip.fit import Fit, fit_dip
from ctlib.papers.dip.network import SkipNet, skip_prior
from ctlib.papers.dip.operators import Identity, Mask, bernoulli_mask
from ctlib.papers.dip.tasks import Task, gray_slice, task_stream
from ctlib.papers.dip.theory import mean_frequency, tangent_kernel
from ctlib.phantoms import torso_slice
from ctlib.physics.counts import line_integrals_from_counts, transmission_counts
from ctlib.recon import tv_reconstruct
from ctlib.units import hu_from_mu

FIELD_MM = 360.0  # side of the synthetic slices
SOFT_TISSUE_HU = (-160.0, 240.0)  # window of a reader's own slice


@dataclass(frozen=True)
class Setup:
    """What all fits of a run share, unless a sweep changes it.

    channels   feature channels of the network, and planes of its input
    skip       channels of its skip branches
    scales     number of halvings
    lr         learning rate of Adam
    reg_noise  standard deviation of the noise added to the network's input
    ema        weight of the past in the averaged output
    device     of the networks; tasks must lie there too
    """

    channels: int = 16
    skip: int = 4
    scales: int = 4
    lr: float = 0.01
    reg_noise: float = 0.03
    ema: float = 0.99
    device: str = "cpu"

    def prior(self, shape: tuple[int, int], seed: int) -> tuple[SkipNet, Tensor]:
        """The untrained network for images of this shape, and its fixed input (1, channels, Y, X)."""
        options = {"channels": self.channels, "skip_channels": self.skip, "scales": self.scales}
        return skip_prior(shape, seed, self.channels, self.device, **options)


def fit_task(task: Task, seed: int, num_iters: int, setup: Setup, **options) -> Fit:
    """One fit of a task; `seed` sets the network's weights, its input and the noise on it.

    options  of `fit_dip`: snapshots, held_out, callback
    """
    net, z = setup.prior(tuple(task.truth.shape), seed)
    noise = task_stream(50_000, seed)
    settings = (num_iters, noise, setup.lr, setup.reg_noise, setup.ema)
    return fit_dip(task.A, task.x0, net, z, *settings, truth=task.truth, **options)


def fit_all(tasks: Sequence[Task], seeds: Sequence[int], num_iters: int, setup: Setup, **options) -> list[Fit]:
    """One fit a task, each with the seed of its own."""
    return [fit_task(t, s, num_iters, setup, **options) for t, s in zip(tasks, seeds, strict=True)]


def sweep(
    tasks: Sequence[Task], seeds: Sequence[int], name: str, values: Sequence[float], num_iters: int, setup: Setup,
    done: Sequence[Fit] = (),
) -> dict[float, list[Fit]]:  # fmt: skip
    """Fits of the tasks over the values of one setting, all else equal: {value: [fit per seed]}.

    name  field of `Setup`
    done  fits of the tasks with the setup as it is, at least as long; where a value is the setup's own, their first
          steps are taken instead of fitting again
    """
    known = {getattr(setup, name): [f.first(num_iters) for f in done]} if done else {}
    return {v: known.get(v) or fit_all(tasks, seeds, num_iters, replace(setup, **{name: v})) for v in values}


def last_psnr(fits: Sequence[Fit], kind: str = "psnr_truth") -> np.ndarray:
    """Mean PSNR of the last 11 steps [dB], (fits,); kind: `psnr_truth`, `psnr_fit` or `psnr_average`."""
    return np.array([np.mean(getattr(f, kind)[-11:]) for f in fits])


def swept_psnr(fits: Mapping[float, Sequence[Fit]], kind: str = "psnr_truth") -> np.ndarray:
    """`last_psnr` of a sweep, (values, seeds)."""
    return np.array([last_psnr(f, kind) for f in fits.values()])


def target_energies(targets: Mapping[str, Tensor], seed: int, num_iters: int, setup: Setup) -> dict[str, list[float]]:
    """Data energy over the steps of a fit to each image (Y, X) itself."""
    tasks = {name: Task("denoise", Identity(tuple(x.shape)), x, x) for name, x in targets.items()}
    return {name: fit_task(task, seed, num_iters, setup).energy for name, task in tasks.items()}


def hold_out(task: Task, keep: float, seed: int) -> tuple[Task, tuple[Mask, Tensor]]:
    """The task with its pixels kept with probability `keep` alone, and (operator, observation) of the others."""
    m = bernoulli_mask(tuple(task.truth.shape), keep, task_stream(60_000, seed)).to(task.x0.device)
    fitted, left = Mask(m), Mask(1 - m)
    return Task(task.name, fitted, fitted(task.x0), task.truth), (left, left(task.x0))


def kernel_spectrum(seed: int, setup: Setup, n: int = 16, scales: int = 3) -> tuple[Tensor, Tensor]:
    """Eigenvalues of the tangent kernel at the start, largest first, and mean frequencies of the eigenvectors, (n^2,).

    The images have n x n pixels; frequencies in cycles a pixel. Computed on the CPU.
    """
    net, z = replace(setup, scales=scales, device="cpu").prior((n, n), seed)
    values, vectors = torch.linalg.eigh(tangent_kernel(net, z))
    return values.flip(0), mean_frequency(vectors.T.reshape(-1, n, n)).flip(0)


def synthetic_slice(n: int, seed: int = 0) -> Tensor:
    """A random torso as gray image (n, n): 0 to 0.035/mm mapped to [0.1, 0.9]."""
    n = count("n", n, 1)
    return gray_slice(torso_slice(Volume((n, n), FIELD_MM / n), seed), 0.0, 0.035)


def center_crop(image: Tensor, size: int) -> Tensor:
    """The middle (size, size) of an image (Y, X), or less where it is smaller."""
    size, image = count("size", size, 1), _one_image("image", image)
    top, left = (max(0, (have - size) // 2) for have in image.shape)
    return image[top : top + size, left : left + size]


def own_slice(path: str, n: int, unit: str = "") -> Tensor:
    """A reader's slice as gray image (n, n) in [0.1, 0.9]: means over blocks of its middle square.

    unit  of the numbers of a PNG, NumPy or NIfTI file, as `load_slice` takes it; "": as the file tells or suggests

    Images in HU or 1/mm are seen in the window of soft tissue. What was understood of the file is printed.
    """
    n, own = count("n", n, 1), load_slice(path, unit=unit or None)
    print(own.describe())
    hu = hu_from_mu(own.image) if own.unit == "1/mm" else own.image
    gray = own.image if own.unit == "1" else window(hu, *SOFT_TISSUE_HU)
    square = center_crop(gray, min(gray.shape) // n * n or min(gray.shape))
    return gray_slice(interpolate(square[None, None], (n, n), mode="area")[0, 0], 0.0, 1.0)


def psnr_db(x: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """PSNR against the truth (Y, X) at data range 1 [dB], of the pixels where a mask is true; x of any device."""
    x, truth = _one_image("x", x, promote=True), _one_image("truth", truth, promote=True)
    if mask is not None and as_mask("mask", mask, truth.shape).ndim != 2:
        raise ArgumentError("mask", f"shape {tuple(mask.shape)}", f"that of the truth, {tuple(truth.shape)}")
    return float(metrics.psnr(x.to(truth.device), truth, data_range=1.0, mask=mask))


def _one_image(name: str, x: Tensor, promote: bool = False) -> Tensor:
    x = tensor(name, x, ("Y", "X"), promote=promote)
    if x.ndim != 2:
        raise ArgumentError(name, f"shape {tuple(x.shape)}", "one image (Y, X)")
    return x


def plain_input(task: Task) -> Tensor:
    """A task's input without any method, (Y, X): pixels enlarged, holes at the mean of the known, noise as it is."""
    if task.name == "sr":
        return task.x0.repeat_interleave(task.A.factor, 0).repeat_interleave(task.A.factor, 1)
    if not hasattr(task.A, "mask"):
        return task.x0
    return torch.where(task.A.mask > 0, task.x0, task.x0.sum() / task.A.num_observed)


def enlarge_bicubic(task: Task) -> Tensor:
    """Bicubic enlargement of a super-resolution task's pixels, (Y, X)."""
    x = task.x0[None, None]
    return interpolate(x, scale_factor=task.A.factor, mode="bicubic", align_corners=False)[0, 0]


def fill_tv(task: Task, weight: float, num_iters: int = 300) -> Tensor:
    """Total variation from the known pixels, (Y, X); a mask has norm 1."""
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


def noisy_scan(A: LinearOperator, x: Tensor, photons: float, seed: int) -> Tensor:
    """Noisy line integrals (V, U) of an image x (Y, X), on its device; `photons` a reading in the open beam."""
    photons, y = number("photons", photons, above=0), A(_one_image("x", x))
    if not bool(y.isfinite().all()):
        raise ArgumentError("x", "NaN or infinity in its line integrals", "finite numbers")
    counts = transmission_counts(y.cpu(), photons, task_stream(70_000, seed))
    return line_integrals_from_counts(counts, photons).to(x)
