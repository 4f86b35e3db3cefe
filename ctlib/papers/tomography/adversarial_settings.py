"""How a generator and its critic are trained, and the latent samples of a step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.latent import random_sphere
from ctlib.train.sampling import stream
from ctlib.train.schedules import warm_up_rate
from ctlib.train.supervised import PRECISIONS

OPTIMIZERS = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}


@dataclass(frozen=True)
class GanSettings:
    """How a generator and its critic are trained.

    steps, batch  one step of the critic and one of the generator each, and readings a step
    lr            peak learning rate of both; start_lr, rise, halve as in `warm_up_rate`
    lam           weight of the critic in the generator's loss
    z_shape       of one latent sample; drawn on the sphere of radius z_radius, by default sqrt of its size
    kind          "data": equation 1; "kl": two-sample KL, with its estimator and eta
    seed          of the order of the readings, their noise and z; not of the weights
    precision     of the networks, as in `Settings`; projections and losses are in float32
    optimizer     "adam" or "radam"; RAdam's first steps are not divided by the gradient's size, so it needs a rise
    betas         of the optimizer; no momentum, as is usual with spectral normalisation
    """

    steps: int
    batch: int
    lr: float
    lam: float
    z_shape: tuple[int, ...]
    kind: str = "kl"
    estimator: str = "ml"
    eta: float = 0.05
    z_radius: float | None = None
    start_lr: float = 1e-6
    rise: int = 0
    halve: int = 0
    seed: int = 0
    precision: str = "float32"
    optimizer: str = "adam"
    betas: tuple[float, float] = (0.0, 0.9)

    def __post_init__(self):
        if self.steps < 0 or self.batch < 1 or not self.lr > 0 or self.lam < 0:
            given = (self.steps, self.batch, self.lr, self.lam)
            raise ArgumentError("steps, batch, lr, lam", given, "numbers >= 0, >= 1, > 0 and >= 0")
        for name, known in (("kind", ("data", "kl")), ("precision", PRECISIONS), ("optimizer", tuple(OPTIMIZERS))):
            if getattr(self, name) not in known:
                raise ArgumentError(name, repr(getattr(self, name)), f"one of {known}")


def rate_of(settings: GanSettings, step: int) -> float:
    """Learning rate of a step; a start above the peak is the peak."""
    return warm_up_rate(step, settings.lr, min(settings.start_lr, settings.lr), settings.rise, settings.halve)


def latents(settings: GanSettings, step: int) -> Tensor:
    """The two z of every reading of a step, (2 batch, *z_shape): first all first ones, then all second ones."""
    source = torch.Generator().manual_seed(stream("latent", settings.seed, step))
    return random_sphere((2 * settings.batch, *settings.z_shape), source, settings.z_radius)
