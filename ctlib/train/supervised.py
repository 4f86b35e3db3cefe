"""Supervised training of one network: the update that `train` repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from ctlib.errors import ArgumentError
from ctlib.train.distributed import average, rank_and_size, replicate
from ctlib.train.loop import Run, train
from ctlib.train.precision import Precision
from ctlib.train.sampling import batch_indices, stream
from ctlib.train.settings import Settings, learning_rate, make_optimizer


def fit(
    net: nn.Module,
    loss: Callable[..., Tensor],
    fetch: Callable[[Tensor, list[int]], tuple[Tensor, ...]],
    num_samples: int,
    settings: Settings,
    path: str | Path | None = None,
    every: int = 0,
    callback: Callable[[Run], None] | None = None,
    order: Sequence[Tensor] | None = None,
) -> Run:
    """Train a network in place: min over its weights of loss(net(inputs), *targets).

    loss    a mean over the samples of a batch
    fetch   fetch(indices, seeds) -> (inputs, *targets) of these samples on the network's device; `seeds` holds one
            number a sample to draw crops and noise from
    path, every, callback  as in `train`
    order   sample numbers of every step, in place of `batch_indices`

    In a process group every process takes its share of each batch, and the result is that of one process up to
    rounding: gradients are averaged, and batch normalization sees the whole batch.
    """
    rank, size = rank_and_size()
    if settings.batch % size:
        raise ArgumentError("batch", settings.batch, f"a multiple of the {size} processes")
    device, replica = next(net.parameters()).device, replicate(net)
    precision, optimizer = Precision(settings.precision, device), make_optimizer(settings, net.parameters())

    def update(step: int) -> dict[str, Tensor]:
        drawn = batch_indices(num_samples, settings.batch, step, settings.seed) if order is None else order[step]
        seeds = [stream("sample", settings.seed, step, place) for place in range(len(drawn))]
        inputs, *targets = fetch(drawn[rank::size], seeds[rank::size])
        net.train()
        value = loss(precision(replica, inputs), *targets)
        precision.descend(optimizer, value, learning_rate(settings, step))
        precision.scaler.update()
        return {"loss": average(value.detach())}

    parts = {"net": net, "optimizer": optimizer, "scaler": precision.scaler}
    run = Run(parts, {**asdict(settings), "num_samples": num_samples}, settings.seed)
    train(run, update, settings.steps, path, every, callback, device)
    net.eval()
    return run
