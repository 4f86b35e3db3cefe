"""Supervised training as the tomography paper does it: RAdam, a rate that rises exponentially and is then halved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib.errors import ArgumentError
from ctlib.train.distributed import average, rank_and_size, replicate
from ctlib.train.loop import Run, train
from ctlib.train.sampling import batch_indices, stream
from ctlib.train.schedules import warm_up_rate
from ctlib.train.supervised import PRECISIONS, half_type


@dataclass(frozen=True)
class RadamSettings:
    """How a network is trained with RAdam, {cite}`liu2020`.

    steps, batch  number of steps and samples a step, over all processes
    lr            peak learning rate; start_lr, rise, halve as in `warm_up_rate`. RAdam's first steps are not divided by
                  the size of the gradient, so it needs a rise
    seed          of the order of the samples and of their noise; not of the weights
    precision     as in `Settings`
    """

    steps: int
    batch: int
    lr: float
    start_lr: float = 1e-6
    rise: int = 0
    halve: int = 0
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self):
        if self.steps < 0 or self.batch < 1 or not 0 < self.start_lr <= self.lr:
            given = (self.steps, self.batch, self.start_lr, self.lr)
            raise ArgumentError("steps, batch, start_lr, lr", given, ">= 0, >= 1, and 0 < start_lr <= lr")
        if self.precision not in PRECISIONS:
            raise ArgumentError("precision", repr(self.precision), f"one of {PRECISIONS}")


def fit_radam(
    net: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    fetch: Callable[[Tensor, list[int]], tuple[Tensor, Tensor]],
    num_samples: int,
    settings: RadamSettings,
    path: str | Path | None = None,
    every: int = 0,
    callback: Callable[[Run], None] | None = None,
) -> Run:
    """Train a network in place: as `fit`, with RAdam and the rate of {eq}`gtr-rate`; resumes bit by bit.

    fetch  fetch(indices, seeds) -> (inputs, targets): readings drawn anew from the seeds, so never twice the same
    """
    rank, size = rank_and_size()
    if settings.batch % size:
        raise ArgumentError("batch", settings.batch, f"a multiple of the {size} processes")
    device, half = next(net.parameters()).device, half_type(settings.precision)
    replica, scaler = replicate(net), torch.amp.GradScaler(device.type, enabled=half is torch.float16)
    optimizer = torch.optim.RAdam(net.parameters(), settings.lr)

    def update(step: int) -> dict[str, Tensor]:
        picked = batch_indices(num_samples, settings.batch, step, settings.seed)
        seeds = [stream("sample", settings.seed, step, place) for place in range(settings.batch)]
        inputs, targets = fetch(picked[rank::size], seeds[rank::size])
        rate = warm_up_rate(step, settings.lr, settings.start_lr, settings.rise, settings.halve)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        net.train()
        with torch.autocast(device.type, half, enabled=half is not None):
            estimate = replica(inputs)
        value = loss(estimate.to(targets.dtype), targets)
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
        return {"loss": average(value.detach())}

    parts = {"net": net, "optimizer": optimizer, "scaler": scaler}
    run = Run(parts, {**asdict(settings), "num_samples": num_samples}, settings.seed)
    train(run, update, settings.steps, path, every, callback, device)
    net.eval()
    return run
