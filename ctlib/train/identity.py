"""What a training is: a checkpoint of other data, another loss, another network or another start is noticed."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn

from ctlib.linop import LinearOperator
from ctlib.train.described import PLAIN, cells, code_of, described, digest, layers, name_of, states
from ctlib.train.sampling import stream
from ctlib.train.sketch import alike, form, sketch, spread, tensors_in

PROBED = 32  # samples that are fetched


def differing(stored: object, own: dict, name: str = "") -> str | None:
    """Name of the first ingredient that differs, such as "data" or "settings.lr"."""
    if not isinstance(stored, dict):
        return name or "about"
    for key in [*own, *(k for k in stored if k not in own)]:
        a, b = stored.get(key), own.get(key)
        if isinstance(b, dict) and isinstance(a, dict) and name == "" and key == "settings":
            if found := differing(a, b, "settings"):
                return found
        elif (key in stored) != (key in own) or not alike(a, b):
            return f"{name}.{key}".lstrip(".")
    return None


def of_parts(parts: dict[str, object]) -> dict[str, object]:
    """Networks and optimizers before the first step: architecture, initial weights, kinds and options, code."""
    nets = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    optimizers = {name: part for name, part in parts.items() if isinstance(part, torch.optim.Optimizer)}
    start = {name: [sketch(t.reshape(1, -1)) for t in states(net)] for name, net in nets.items()}
    kinds = {name: [name_of(type(o)), *(repr(_options(g)) for g in o.param_groups)] for name, o in optimizers.items()}
    return {
        "architecture": {name: digest(layers(net)) for name, net in nets.items()},
        "initial weights": start,
        "optimizer": kinds,
        "code of the networks": code_of(*{type(m) for net in nets.values() for m in net.modules()}),
    }


def _options(group: dict) -> dict:
    return {k: v for k, v in sorted(group.items()) if k not in ("params", "lr", "initial_lr")}


def of_training(
    settings: object, fetch: Callable, num_samples: int, order: Sequence[Tensor] | None = None
) -> dict[str, object]:  # fmt: skip
    """Settings, a dataclass with the size of a batch among them, and the samples that `fetch` gives in which order."""
    data = of_data(fetch, num_samples, settings.batch, order)
    return {"settings": asdict(settings), "order": of_order(order), "data": data}


def of_loss(loss: object) -> dict[str, str]:
    """A loss by name, parameters and code."""
    return {"loss": digest(described(loss)), "code of the loss": code_of(loss)}


def of_data(fetch: Callable, num_samples: int, batch: int, order: Sequence[Tensor] | None = None) -> dict[str, object]:
    """A set of samples: their number, a few fetched ones, and what the function holds with one entry a sample."""
    places = range(num_samples) if order is None else torch.cat([*order, torch.zeros(0, dtype=torch.long)]).unique()
    picked = torch.as_tensor([int(places[k]) for k in spread(len(places), PROBED)])
    held = [(form(t), sketch(t)) if not isinstance(t, str) else t for t in _held(fetch, num_samples, 0, {})]
    probes = []
    with torch.random.fork_rng(), torch.no_grad():  # as `train` does, so that what is fetched is repeated
        torch.manual_seed(stream("probe"))
        for part in picked.split(max(1, batch)):
            fetched = fetch(part, [stream("probe", int(k)) for k in part]) if len(part) else ()
            for t in tensors_in(fetched):
                probes.append((form(t[:0] if t.ndim else t), sketch(t)))
    return {"samples": num_samples, "fetched": probes, "held": held}


def of_order(order: Sequence[Tensor] | None) -> str:
    """Which samples the steps see."""
    return "" if order is None else digest(repr([part.tolist() for part in order]))


def _held(value: object, num: int, depth: int, seen: dict) -> Iterator[Tensor | np.ndarray | str]:
    """What a function or object holds that has `num` entries: tensors and arrays, and lists of them or of names."""
    if depth > 8 or id(value) in seen or isinstance(value, (nn.Module, LinearOperator, type, types.ModuleType, str)):
        return
    seen[id(value)] = value
    deeper = lambda values: (t for v in values for t in _held(v, num, depth + 1, seen))  # noqa: E731
    if isinstance(value, (Tensor, np.ndarray)):
        if value.ndim and len(value) == num and getattr(value, "dtype", None) != np.dtype(object):
            yield value
    elif isinstance(value, (list, tuple)):
        if len(value) == num and all(isinstance(v, (Tensor, np.ndarray)) for v in value):
            yield torch.cat([sketch(v.reshape(1, -1)) for v in value])
        elif len(value) == num and all(isinstance(v, PLAIN) for v in value):
            yield digest(repr([str(v) for v in value]))
        elif isinstance(value, tuple):
            yield from deeper(value)
    elif isinstance(value, dict):
        yield from deeper(value.values())
    elif isinstance(value, functools.partial):
        yield from deeper([value.func, *value.args, *value.keywords.values()])
    elif inspect.ismethod(value):
        yield from deeper([value.__self__])
    elif inspect.isfunction(value):
        known, names = value.__globals__, value.__code__.co_names
        yield from deeper([*cells(value), *(value.__defaults__ or ())])
        yield from deeper([known[n] for n in names if n in known and not callable(known[n])])
    elif hasattr(value, "__dict__"):
        yield from deeper(vars(value).values())
