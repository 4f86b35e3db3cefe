"""The tasks a deep image prior is put to: an operator, an observation and the truth, from one clean image."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.data.images import window
from ctlib.errors import ArgumentError
from ctlib.linop import LinearOperator
from ctlib.papers.dip.operators import Downsample, Identity, Mask, bernoulli_mask, box_mask, text_mask

TASKS = ("denoise", "sr", "inpaint", "restore")


@dataclass(frozen=True)
class Task:
    """Observation x0 = A truth (+ noise); truth is a gray image in [0, 1], (Y, X)."""

    name: str
    A: LinearOperator
    x0: Tensor
    truth: Tensor


def make_task(
    name: str, truth: Tensor, seed: int, sigma: float = 0.1, factor: int = 4, keep: float = 0.5, mask: str = "text"
) -> Task:
    """One of the four tasks; noise and random masks come from `seed`.

    denoise  A = I, white noise of standard deviation sigma      sr       A = d, every factor-th pixel after a low-pass
    inpaint  A = diag(m), m leaves out text (or a box)    restore  A = diag(m), a pixel kept with probability keep
    """
    generator, shape = _stream(20_000, truth, seed), tuple(truth.shape)
    sigma = contract.number("sigma", sigma, at_least=0)
    if name == "denoise":
        noise = torch.randn(shape, generator=generator).to(truth)
        return Task(name, Identity(shape), truth + sigma * noise, truth)
    if name == "sr":
        d = Downsample(shape, factor)
        return Task(name, d, d(truth), truth)
    if name in ("inpaint", "restore"):
        known = {"text": text_mask, "box": box_mask} if name == "inpaint" else {}
        m = (
            known[contract.choice("mask", mask, tuple(known))](shape)
            if name == "inpaint"
            else bernoulli_mask(shape, keep, generator)
        )
        A = Mask(m.to(truth.device))
        return Task(name, A, A(truth), truth)
    raise ArgumentError("name", repr(name), f"one of {', '.join(TASKS)}")


def task_stream(first: int, seed: int) -> torch.Generator:
    """The random stream of a seed, apart from those that start elsewhere."""
    return torch.Generator().manual_seed(first + contract.count("seed", seed, 0, 2**62))


def _stream(first: int, truth: Tensor, seed: int) -> torch.Generator:
    """The random stream of a seed for one image, which is checked."""
    if contract.tensor("truth", truth, ("Y", "X")).ndim != 2 or truth.numel() < 2:
        raise ArgumentError("truth", f"shape {tuple(truth.shape)}", "one image (Y, X)")
    return task_stream(first, seed)


def impedance_targets(truth: Tensor, seed: int, sigmas: tuple[float, ...] = (0.1, 0.3)) -> dict[str, Tensor]:
    """The clean image, noisy ones and its shuffled pixels, all brought to the clean image's mean and variance.

    Only then are their energies comparable: a target of less contrast starts at less energy whatever it shows.
    """
    generator, sigmas = _stream(30_000, truth, seed), contract.numbers("sigmas", sigmas, at_least=0)
    out = {"clean": truth}
    for sigma in sigmas:
        out[f"noise {sigma:g}"] = truth + sigma * torch.randn(truth.shape, generator=generator).to(truth)
    order = torch.randperm(truth.numel(), generator=generator).to(truth.device)
    out["shuffled"] = truth.flatten()[order].reshape(truth.shape)
    return {k: (v - v.mean()) / v.std() * truth.std() + truth.mean() for k, v in out.items()}


def rescaled_targets(truth: Tensor, seed: int, variances: tuple[float, ...] = (0.01, 1.0, 10.0)) -> dict[str, Tensor]:
    """Noisy images min-max rescaled to [0, 1] before they are saved: how the paper's Fig. 2 was fed."""
    generator, variances = _stream(40_000, truth, seed), contract.numbers("variances", variances, at_least=0)
    out = {"clean": truth}
    for v in variances:
        out[f"variance {v:g}"] = truth + v**0.5 * torch.randn(truth.shape, generator=generator).to(truth)
    return {k: (t - t.min()) / (t.max() - t.min()) for k, t in out.items()}


def gray_slice(mu: Tensor, low: float, high: float) -> Tensor:
    """Image mapped linearly from [low, high] to [0.1, 0.9] and clipped there: room for noise inside (0, 1)."""
    return 0.1 + 0.8 * window(contract.tensor("mu", mu), low, high)
