"""How a network is trained: numbers and names, the learning rate that follows from them, and the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch

from ctlib.contract import choice, count, number
from ctlib.errors import ArgumentError
from ctlib.train.precision import PRECISIONS
from ctlib.train.schedules import warm_up_rate

OPTIMIZERS = {  # one pass over memory, or one over all weights at once
    "adam": partial(torch.optim.Adam, fused=True),
    "radam": partial(torch.optim.RAdam, foreach=True),
}
SCHEDULES = ("constant", "cosine", "drop", "warm-up")


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    steps, batch  number of steps and samples a step, over all processes
    lr            peak learning rate
    schedule      of the rate, {eq}`gtr-rate` for "warm-up", else as in `learning_rate`
    seed          of the order of the samples and of what they are augmented by; not of the weights
    precision     "float32" (the network's own type), "bf16" or "fp16" by autocast with weights channels last, and loss
                  scaling for fp16; "auto": "bf16" where the processor has its arithmetic, else "float32"
    optimizer     "adam", or "radam", {cite}`liu2020`, whose first steps are not divided by the size of the gradient,
                  so that it needs a rise
    start_lr, rise, halve  of "warm-up", as in `warm_up_rate`
    """

    steps: int
    batch: int
    lr: float
    schedule: str = "constant"
    seed: int = 0
    precision: str = "float32"
    optimizer: str = "adam"
    start_lr: float = 1e-6
    rise: int = 0
    halve: int = 0

    def __post_init__(self):
        numbers = {"steps": count("steps", self.steps), "batch": count("batch", self.batch, at_least=1)}
        numbers |= {name: count(name, getattr(self, name)) for name in ("rise", "halve")}
        numbers |= {"seed": _seed(self.seed), "lr": number("lr", self.lr, above=0)}
        rising = {"above": 0, "at_most": numbers["lr"]} if self.schedule == "warm-up" else {}
        numbers["start_lr"] = number("start_lr", self.start_lr, **rising)
        for name, value in numbers.items():  # of NumPy or torch they would make checkpoints that cannot be read
            object.__setattr__(self, name, value)
        choices = {"schedule": SCHEDULES, "precision": PRECISIONS, "optimizer": tuple(OPTIMIZERS)}
        for name, known in choices.items():
            choice(name, getattr(self, name), known)
        if self.schedule == "warm-up":
            learning_rate(self, 0)  # refuses a start, a rise or a halving that it cannot follow
        elif self.rise or self.halve:
            raise ArgumentError("schedule", repr(self.schedule), "'warm-up' where there is a rise or a halving")


def _seed(value: object) -> int:
    """A whole number, of either sign."""
    return -count("seed", -value) if isinstance(value, int) and value < 0 else count("seed", value)


def learning_rate(settings: Settings, step: int) -> float:
    """Learning rate of a step k.

    constant  lr
    cosine    lr (1 + cos(pi k / steps)) / 2
    drop      lr in the first half of the steps, lr / 10 in the second
    warm-up   `warm_up_rate`
    """
    step = count("step", step)
    if settings.schedule == "cosine":
        return settings.lr * (1 + math.cos(math.pi * step / max(settings.steps, 1))) / 2
    if settings.schedule == "drop":
        return settings.lr if 2 * step < settings.steps else 0.1 * settings.lr
    if settings.schedule == "warm-up":
        return warm_up_rate(step, settings.lr, settings.start_lr, settings.rise, settings.halve)
    return settings.lr


def make_optimizer(settings: Settings, parameters: Iterable[torch.nn.Parameter], **options) -> torch.optim.Optimizer:
    """The optimizer of some parameters, with `options` of torch's; each step sets its own learning rate."""
    return OPTIMIZERS[settings.optimizer](parameters, settings.lr, **options)
