"""The extension to projections: a body's attenuation, a noisy scan of it, and filtered back-projections to beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from ctlib.contract import number, tensor
from ctlib.errors import ArgumentError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.linop import LinearOperator, scaled
from ctlib.papers.dip.bodies import Body
from ctlib.papers.dip.tasks import Task, task_stream
from ctlib.physics.counts import line_integrals_from_counts, transmission_counts
from ctlib.projector import Projector
from ctlib.recon import fbp, tv_reconstruct
from ctlib.units import mu_from_hu

WHITE_PER_MM = 0.06  # attenuation at gray 1, above that of bone
WINDOWS = ("ram-lak", "cosine", "hann", "hamming")


def attenuation(body: Body) -> Tensor:
    """Attenuation of a body as gray image (Y, X): 0 is air, 1 is 0.06 per mm."""
    return (mu_from_hu(body.hu) / WHITE_PER_MM).clamp(0, 1)


def projector(body: Body, views: int) -> Projector:
    """Parallel beams through a body's grid, columns as wide as its pixels, the diagonal covered."""
    field = Volume(tuple(body.hu.shape), body.pixel_mm)
    return Projector(ParallelBeam(field, views, int(1.5 * max(body.hu.shape)), body.pixel_mm))


def scan_task(body: Body, views: int, photons: float, seed: int) -> Task:
    """Reconstruction from noisy line integrals of a body's attenuation; `photons` a reading in the open beam."""
    truth, A = attenuation(body), scaled(projector(body, views), WHITE_PER_MM)
    return Task("ct", A, noisy_scan(A, truth, photons, seed), truth)


def noisy_scan(A: LinearOperator, x: Tensor, photons: float, seed: int) -> Tensor:
    """Noisy line integrals (V, U) of an image x (Y, X), on its device; `photons` a reading in the open beam."""
    photons, x = number("photons", photons, above=0), tensor("x", x, ("Y", "X"))
    if x.ndim != 2:
        raise ArgumentError("x", f"shape {tuple(x.shape)}", "one image (Y, X)")
    y = A(x)
    if not bool(y.isfinite().all()):
        raise ArgumentError("x", "NaN or infinity in its line integrals", "finite numbers")
    counts = transmission_counts(y.cpu(), photons, task_stream(70_000, seed))
    return line_integrals_from_counts(counts, photons).to(x)


def reading_noise(task: Task, photons: float) -> float:
    """Standard deviation of a scan's readings, from the readings: counts c have Var(ln c) = 1 / c."""
    return float(task.x0.exp().mean() / number("photons", photons, above=0)) ** 0.5


def scan_by_fbp(body: Body, views: int, y: Tensor, window: str = "ram-lak", blur: float = 0.0) -> Tensor:
    """Filtered back-projection as gray image (Y, X), with a Gaussian of `blur` pixels over it."""
    x = fbp(projector(body, views), y, window) / WHITE_PER_MM
    return blurred(x, blur)


def scan_by_tv(task: Task, weight: float, num_iters: int = 200) -> Tensor:
    """Total-variation reconstruction of a scan's readings, gray >= 0, (Y, X)."""
    return tv_reconstruct(task.A, task.x0, weight, num_iters, nonneg=True)


def blurred(x: Tensor, std: float) -> Tensor:
    """Images (..., Y, X) under a Gaussian of standard deviation `std` [pixels], its border pixels repeated."""
    x, std = tensor("x", x, ("Y", "X")), number("std", std, at_least=0, at_most=1000)
    if std == 0 or not x.numel():
        return x
    r = int(3 * std + 0.5)
    t = torch.arange(-r, r + 1).to(x)
    g = torch.exp(-0.5 * (t / std).square())
    g = g / g.sum()
    wide = pad(x.reshape(-1, 1, *x.shape[-2:]), (r,) * 4, mode="replicate")
    return conv2d(conv2d(wide, g[None, None, None]), g[None, None, :, None]).reshape(x.shape)
