"""Units, linear operators, proximal maps, implicit derivatives, the projector and the engines behind it."""

import torch

from ctlib.geometry import ParallelBeam, Volume
from ctlib.projector import Projector


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def projector():
    return Projector(ParallelBeam(Volume((4, 4), 1.0), 3, 5, 1.0), backend="reference")


EXAMPLES = {
    "ctlib.units.hu_from_mu": lambda: dict(mu=rand(3, 4), mu_water=0.02),
    "ctlib.units.mu_from_hu": lambda: dict(hu=rand(3, 4), mu_water=0.02),
    "ctlib.prox.gradient": lambda: dict(x=rand(3, 4), ndim=2),
}
SKIP = {}
ALLOW = {}
