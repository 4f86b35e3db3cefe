"""One fit with its settings, and what the chapter asks of fits: last steps, energies, held-out pixels, kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ctlib import metrics
from ctlib.contract import mask as as_mask
from ctlib.contract import tensor
from ctlib.errors import ArgumentError
from ctlib.papers.dip.fit import Fit, fit_dip
from ctlib.papers.dip.network import SkipNet, skip_prior
from ctlib.papers.dip.operators import Identity, Mask, bernoulli_mask
from ctlib.papers.dip.tasks import Task, task_stream
from ctlib.papers.dip.theory import mean_frequency, tangent_kernel


@dataclass(frozen=True)
class Setup:
    """What all fits of a run share, unless a sweep changes it.

    channels   feature channels of the network
    inputs     planes of its input
    skip       channels of its skip branches
    scales     number of halvings
    up         "bilinear" or "nearest"
    lr         learning rate of Adam
    reg_noise  standard deviation of the noise added to the network's input
    ema        weight of the past in the averaged output
    device     of the networks; tasks must lie there too
    precision  of the networks: "float32", "bf16", or "auto"
    """

    channels: int = 16
    inputs: int = 16
    skip: int = 4
    scales: int = 4
    up: str = "bilinear"
    lr: float = 0.01
    reg_noise: float = 0.03
    ema: float = 0.99
    device: str = "cpu"
    precision: str = "float32"

    def prior(self, shape: tuple[int, int], seed: int) -> tuple[SkipNet, Tensor]:
        """The untrained network for images of this shape, and its fixed input (1, inputs, Y, X)."""
        options = {"channels": self.channels, "skip_channels": self.skip, "scales": self.scales, "up": self.up}
        return skip_prior(shape, seed, self.inputs, self.device, **options)


def fit_task(task: Task, seed: int, num_iters: int, setup: Setup, **options) -> Fit:
    """One fit of a task; `seed` sets the network's weights, its input and the noise on it.

    options  of `fit_dip`: region, snapshots, held_out, callback, path, every
    """
    net, z = setup.prior(tuple(task.truth.shape), seed)
    noise = task_stream(50_000, seed)
    settings = (num_iters, noise, setup.lr, setup.reg_noise, setup.ema)
    return fit_dip(task.A, task.x0, net, z, *settings, truth=task.truth, precision=setup.precision, **options)


def last_psnr(fits: Sequence[Fit], kind: str = "psnr_truth") -> np.ndarray:
    """Mean PSNR of the last 11 steps [dB], (fits,); kind: `psnr_truth`, `psnr_fit` or `psnr_average`."""
    return np.array([np.mean(getattr(f, kind)[-11:]) for f in fits])


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

    The images have n x n pixels; frequencies in cycles a pixel. Computed on the CPU in the network's own type.
    """
    net, z = replace(setup, scales=scales, device="cpu").prior((n, n), seed)
    values, vectors = torch.linalg.eigh(tangent_kernel(net, z))
    return values.flip(0), mean_frequency(vectors.T.reshape(-1, n, n)).flip(0)


def psnr_db(x: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """PSNR against the truth (Y, X) at data range 1 [dB], of the pixels where a mask is true; x of any device."""
    x, truth = _one_image("x", x), _one_image("truth", truth)
    if mask is not None and as_mask("mask", mask, truth.shape).ndim != 2:
        raise ArgumentError("mask", f"shape {tuple(mask.shape)}", f"that of the truth, {tuple(truth.shape)}")
    return float(metrics.psnr(x.to(truth.device), truth, data_range=1.0, mask=mask))


def _one_image(name: str, x: Tensor) -> Tensor:
    x = tensor(name, x, ("Y", "X"), promote=True)
    if x.ndim != 2:
        raise ArgumentError(name, f"shape {tuple(x.shape)}", "one image (Y, X)")
    return x
