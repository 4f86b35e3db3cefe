"""How the networks of this paper are trained: the proxy of the solver, and the scatter networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib.papers.pcct.proxy import ProxyDecomposition, WithJacobian, sobolev_loss
from ctlib.papers.pcct.scatter_net import ScatterNet, scatter_ratio
from ctlib.train import Run, Settings, fit


def fit_proxy(
    net: ProxyDecomposition,
    samples: tuple[Tensor, Tensor, Tensor],
    steps: int,
    seed: int,
    beta: float = 1.0,
    batch: int = 1024,
    lr: float = 3e-3,
    path: str | Path | None = None,
    every: int = 0,
) -> Run:
    """Train the network in place on `solver_samples` by `sobolev_loss`, with Adam and a cosine schedule.

    seed         of the batches, each drawn from all samples whatever was drawn before
    path, every  as in `fit`
    """
    source = torch.Generator().manual_seed(seed)
    order = [torch.randint(len(samples[0]), (batch,), generator=source) for _ in range(steps)]
    loss = partial(sobolev_loss, size=net.high - net.low, beta=beta)
    settings = Settings(steps, batch, lr, "cosine", seed)
    fetch = lambda indices, seeds: tuple(t[indices] for t in samples)  # noqa: E731
    return fit(WithJacobian(net), loss, fetch, len(samples[0]), settings, path, every, order=order)


class Scatterer(nn.Module):
    """Counts (N, E, V, [R,] U) -> scatter-to-total ratio of a network at the detector's resolution, `scatter_ratio`."""

    def __init__(self, net: ScatterNet):
        super().__init__()
        self.net = net

    def forward(self, counts: Tensor) -> Tensor:
        return scatter_ratio(self.net, counts)


def fit_scatter_net(
    net: ScatterNet,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    counts: Tensor,
    target: Tensor,
    train_set: Tensor,
    validate_set: Tensor,
    epochs: int,
    lr: float,
    seed: int,
    batch: int = 2,
    path: str | Path | None = None,
    every: int = 0,
    precision: str = "float32",
    validate_epochs: int = 1,
) -> Run:
    """Train the network in place and give it the weights of the least validation loss; its history has the curve.

    Adam, a tenth of the rate after half of the epochs; the last batch of an epoch may be smaller.

    loss           loss(ratio, counts, target): `direct_loss`, or `cross_loss` with its operators and limit
    counts         (N, E, V, [R,] U) relative to the open beam;  target  (N, ...), its scatter or the reference images
    train_set, validate_set  which of the N scans
    seed           of the order of the scans
    path, every, precision  as in `fit`;  validate_epochs  passes between two validations
    """
    source = torch.Generator().manual_seed(seed)
    shuffled = (train_set[torch.randperm(len(train_set), generator=source)] for _ in range(epochs))
    order = [part for epoch in shuffled for part in epoch.split(batch)]
    scatterer = Scatterer(net)

    def fetch(indices: Tensor, seeds: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        return counts[indices], counts[indices], target[indices]

    def validate(net: Scatterer) -> float:
        values = []
        for one in validate_set.split(1):
            inputs, *targets = fetch(one, [])
            values.append(float(loss(net(inputs), *targets)))
        return sum(values) / len(values)

    settings = Settings(len(order), batch, lr, "drop", seed, precision)
    between = validate_epochs * -(-len(train_set) // batch)
    return fit(
        scatterer, loss, fetch, len(train_set), settings, path, every, order=order, validate=validate,
        validate_every=between,
    )  # fmt: skip
