"""Supervised training of one network: the update that `train` repeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from ctlib.contract import choice, count
from ctlib.errors import ArgumentError
from ctlib.train.distributed import average, rank_and_size, replicate
from ctlib.train.identity import of_loss, of_parts, of_training
from ctlib.train.loop import Run, train
from ctlib.train.precision import Precision
from ctlib.train.sampling import batch_indices, stream
from ctlib.train.settings import Settings, learning_rate, make_optimizer
from ctlib.train.validation import KEEP, Validation


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
    validate: Callable[[nn.Module], float] | None = None,
    validate_every: int = 0,
    keep: str = "best",
) -> Run:
    """Train a network in place: min over its weights of loss(net(inputs), *targets).

    loss    a mean over the samples of a batch
    fetch   fetch(indices, seeds) -> (inputs, *targets) of these samples on the network's device; `seeds` holds one
            number a sample to draw crops and noise from
    path, every, callback  as in `train`
    order   sample numbers of every step, in place of `batch_indices`
    validate, validate_every  validate(net), lower is better, after every so many steps and after the last one: the
            history's "validation", with the steps done in "validation_step"; in evaluation mode, without gradients
    keep    "best": the network ends with the weights of the least validation;  "last": with those of the last step

    A checkpoint belongs to its settings, data, loss, order and validation, and to the network as it is given: one of
    another training is refused with a DataError that names what differs.

    In a process group every process takes its share of each batch, and the result is that of one process up to
    rounding: gradients and validations are averaged, and batch normalization sees the whole batch.
    """
    rank, size = rank_and_size()
    if settings.batch % size:
        raise ArgumentError("batch", settings.batch, f"a multiple of the {size} processes")
    num_samples, device = count("num_samples", num_samples, at_least=1), next(net.parameters()).device
    if validate is None and validate_every:
        raise ArgumentError("validate", "nothing", f"a function of the network for validate_every = {validate_every}")
    precision, keep = Precision(settings.precision, device), choice("keep", keep, KEEP)
    settings, optimizer = replace(settings, precision=precision.name), make_optimizer(settings, net.parameters())
    validation = None if validate is None else Validation(net, validate, validate_every, settings.steps, keep)
    parts = {"net": precision.prepare(net), "optimizer": optimizer, "scaler": precision.scaler}
    about = {} if path is None else {**of_training(settings, fetch, num_samples, order), **of_loss(loss)}
    parts, about = _identified(parts, about, validation)
    replica = replicate(net)  # below, for it exchanges layers

    def update(step: int) -> dict[str, Tensor]:
        drawn = batch_indices(num_samples, settings.batch, step, settings.seed) if order is None else order[step]
        seeds = [stream("sample", settings.seed, step, place) for place in range(len(drawn))]
        inputs, *targets = fetch(drawn[rank::size], seeds[rank::size])
        net.train()
        value = loss(precision(replica, inputs), *targets)
        precision.descend(optimizer, value, learning_rate(settings, step))
        precision.scaler.update()
        if validation is not None:
            validation.after(step + 1, run.history)
        return {"loss": average(value.detach())}

    run = Run(parts, about, settings.seed)
    train(run, update, settings.steps, path, every, callback, device)
    return _finished(run, net, validation)


def _identified(parts: dict, about: dict, validation: Validation | None) -> tuple[dict, dict]:
    """Parts and ingredients of a training, with those of its validation; none are told where nothing is kept."""
    about = {**about, **of_parts(parts)} if about else about
    if validation is None:
        return parts, about
    return {**parts, "validation": validation}, {**about, **validation.about()} if about else about


def _finished(run: Run, net: nn.Module, validation: Validation | None) -> Run:
    """The training at its end: the network in evaluation mode, with the weights that are kept."""
    if validation is not None:
        validation.restore()
    net.eval()
    return run
