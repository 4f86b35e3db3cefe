"""Sampling, schedules, settings and precision of training."""

import torch
from torch import nn

from ctlib.train.loop import Run, train
from ctlib.train.precision import Precision
from ctlib.train.settings import Settings
from ctlib.train.supervised import fit


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def descended(lr):
    """The weight after a step of plain gradient descent."""
    net = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(net.weight)
    Precision("float32", torch.device("cpu")).descend(torch.optim.SGD(net.parameters(), 1.0), net.weight.sum(), lr)
    return net.weight.detach()


def counted(steps, every):
    """The history of a training of nothing."""
    return torch.tensor(train(Run({}), lambda step: {"step": step}, steps, every=every).history.get("step", []))


def fitted(num_samples, every, validate_every):
    """The best weight of three steps."""
    net = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(net.weight)
    fetch = lambda indices, seeds: (indices[:, None].double(), indices[:, None].double() / 2)  # noqa: E731
    checks = {"validate": lambda net: net.weight.item(), "validate_every": validate_every}
    fit(net, nn.functional.mse_loss, fetch, num_samples, Settings(3, 2, 0.1), every=every, **checks)
    return net.weight.detach()


EXAMPLES = {
    "ctlib.train.sampling.batch_indices": lambda: dict(num_samples=5, batch=3, step=2, seed=1),
    "ctlib.train.schedules.warm_up_rate": lambda: dict(step=2, peak=0.1, start=0.001, rise=4, halve=3),
    "ctlib.train.settings.Settings": lambda: dict(
        steps=4, batch=2, lr=0.1, schedule="warm-up", seed=1, start_lr=0.001, rise=2, halve=3
    ),
    "ctlib.train.settings.learning_rate": lambda: dict(settings=Settings(4, 2, 0.1, "cosine"), step=2),
    "ctlib.train.precision.full": lambda: dict(x=rand(3)),
    "ctlib.train.precision.Precision.descend": lambda: dict(call=descended, lr=0.1),
    "ctlib.train.loop.train": lambda: dict(call=counted, steps=3, every=2),
    "ctlib.train.supervised.fit": lambda: dict(call=fitted, num_samples=3, every=2, validate_every=1),
    "ctlib.train.distributed.average": lambda: dict(value=rand(3)),
}
SKIP = {
    "ctlib.train.plan.run_plan": "takes an experiment, which is checked where it is made",
    "ctlib.train.loop.Run": "a record of a training under way",
    "ctlib.train.sketch.*": "of whatever a training holds, also of other types",
    "ctlib.train.described.*": "of whatever a training holds, also of other types",
    "ctlib.train.identity.*": "what `fit` says of a training whose arguments it has checked",
    "ctlib.train.tuning.*": "settings by name and a function that scores them: tests/train/test_tuning.py",
    "ctlib.train.validation.*": "a part of `fit`, which checks what it is given",
    "ctlib.files.*": "paths and marks of processes",
    "ctlib.compiled.*": "wraps functions, takes no values of its own",
    "ctlib.train.distributed.WholeBatchNorm2d.*": "a layer within networks, which check what they are given",
    "ctlib.train.sampling.stream": "any keys; tested in tests/train",
    "ctlib.train.precision.Precision.__call__": "calls a network with whatever it takes",
}
ANY = "turns half precision into float32 and leaves everything else as it is"
ALLOW = {"ctlib.train.precision.full": {n: ANY for n in ("complex64", "complex128", "sparse")}}
