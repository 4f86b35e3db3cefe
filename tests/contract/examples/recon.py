"""Reconstruction: filtered back-projection and its parts, the iterative solvers."""

import math

import torch

from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.projector import Projector


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def parallel():
    return Projector(ParallelBeam(Volume((4, 4)), 5, 7, 1.0), backend="torch")


def cone():
    places = {"source_origin_mm": 9.0, "source_detector_mm": 14.0, "detector_offset_mm": 2.5}
    return Projector(ConeBeam(Volume((2, 3, 3)), 4, 7, 1.5, num_rows=3, **places), backend="torch")


def short_fan():
    angles = [0.5 * k for k in range(9)]
    return FanBeam(Volume((4, 4)), 9, 7, 1.2, source_origin_mm=9.0, source_detector_mm=14.0, angles=angles)


ANGLES = torch.arange(5, dtype=torch.float64) * math.pi / 5
EXAMPLES = {
    "ctlib.recon.backproject.backproject": lambda: dict(
        q=rand(9, 7), geometry=short_fan(), view_weights=rand(9, seed=1), backend="torch"
    ),
    "ctlib.recon.fbp.fbp": lambda: dict(A=cone(), y=rand(4, 3, 7), window="hann", truncation="ignore"),
    "ctlib.recon.fbp.fan_cosine": lambda: dict(geometry=short_fan(), like=rand(2)),
    "ctlib.recon.fbp.ramp_kernel": lambda: dict(num=6, pitch_mm=0.7),
    "ctlib.recon.fbp.window_response": lambda: dict(name="hann", f=rand(5)),
    "ctlib.recon.fbp.filter_sinogram": lambda: dict(y=rand(3, 7), pitch_mm=0.7, window="cosine"),
    "ctlib.recon.redundancy.view_weights": lambda: dict(angles=ANGLES.clone(), period=math.pi),
    "ctlib.recon.cgls.cgls": lambda: dict(A=parallel(), y=rand(5, 7), num_iters=3, x0=rand(4, 4, seed=1)),
    "ctlib.recon.sirt.sirt": lambda: dict(
        A=parallel(), y=rand(5, 7), num_iters=3, x0=rand(4, 4, seed=1), relaxation=0.7, nonneg=True
    ),
    "ctlib.recon.sirt.sirt_scaling": lambda: dict(A=parallel(), like=rand(5, 7)),
    "ctlib.recon.tv.tv_objective": lambda: dict(A=parallel(), x=rand(4, 4), y=rand(5, 7, seed=1), weight=0.3),
    "ctlib.recon.tv.tv_reconstruct": lambda: dict(
        A=parallel(), y=rand(5, 7), weight=0.3, num_iters=3, x0=rand(4, 4, seed=1), norm=5.0, prox_iters=4
    ),
}
SKIP = {}
ALLOW = {}
