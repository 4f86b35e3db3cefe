"""Supervised training of one network on pairs: the update that `train` repeats, and its settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib.errors import ArgumentError
from ctlib.train.distributed import average, rank_and_size, replicate
from ctlib.train.loop import Run, train
from ctlib.train.sampling import batch_indices, stream

SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "bf16", "fp16")


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    steps, batch  number of steps and samples a step, over all processes
    lr            learning rate of Adam; `schedule`: "constant", or "cosine" down to 0 over the steps
    seed          of the order of the samples and of what they are augmented by; not of the weights
    precision     "float32" (the network's own type), "bf16" or "fp16" by autocast, with loss scaling for fp16
    """

    steps: int
    batch: int
    lr: float
    schedule: str = "constant"
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self):
        if self.steps < 0 or self.batch < 1 or not self.lr > 0:
            raise ArgumentError("steps, batch, lr", (self.steps, self.batch, self.lr), "numbers >= 0, >= 1 and > 0")
        if self.schedule not in SCHEDULES:
            raise ArgumentError("schedule", repr(self.schedule), f"one of {SCHEDULES}")
        if self.precision not in PRECISIONS:
            raise ArgumentError("precision", repr(self.precision), f"one of {PRECISIONS}")


def learning_rate(settings: Settings, step: int) -> float:
    """Learning rate of a step: constant, or lr (1 + cos(pi k / steps)) / 2."""
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * (1 + math.cos(math.pi * step / settings.steps)) / 2


def half_type(precision: str) -> torch.dtype | None:
    """The type that autocast computes in, None for the network's own."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def fit(
    net: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    fetch: Callable[[Tensor, list[int]], tuple[Tensor, Tensor]],
    num_samples: int,
    settings: Settings,
    path: str | Path | None = None,
    every: int = 0,
    callback: Callable[[Run], None] | None = None,
) -> Run:
    """Train a network in place with Adam: min over its weights of loss(net(input), target).

    loss    a mean over the samples of a batch
    fetch   fetch(indices, seeds) -> (inputs, targets) of these samples on the network's device; `seeds` holds one
            number a sample to draw crops and noise from
    path, every, callback  as in `train`

    In a process group every process takes its share of each batch, and the result is that of one process up to
    rounding: gradients are averaged, and batch normalisation sees the whole batch.
    """
    rank, size = rank_and_size()
    if settings.batch % size:
        raise ArgumentError("batch", settings.batch, f"a multiple of the {size} processes")
    device, half = next(net.parameters()).device, half_type(settings.precision)
    replica = replicate(net)
    optimizer = torch.optim.Adam(net.parameters(), settings.lr)
    scaler = torch.amp.GradScaler(device.type, enabled=half is torch.float16)

    def update(step: int) -> dict[str, Tensor]:
        picked = batch_indices(num_samples, settings.batch, step, settings.seed)
        seeds = [stream("sample", settings.seed, step, place) for place in range(settings.batch)]
        inputs, targets = fetch(picked[rank::size], seeds[rank::size])
        optimizer.param_groups[0]["lr"] = learning_rate(settings, step)
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
