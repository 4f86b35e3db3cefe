"""Tensors in few numbers, to tell one set of samples or weights from another.

Computed numbers differ in their last digits between machines, so sketches are compared with a tolerance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

TOLERANCE = 1e-4  # relative to the root mean square
MAX_ROW, MAX_ROWS, LARGE = 1 << 20, 256, 1 << 26  # of a sketch; of tensors with more than `LARGE` numbers


def sketch(x: Tensor | np.ndarray) -> Tensor:
    """(N, 3) mean, root mean square and projection of every sample x[k] in float64; some samples of a large tensor."""
    num = len(x) if x.ndim else 1
    size = x.numel() if isinstance(x, Tensor) else x.size
    if x.ndim and size > LARGE and num > MAX_ROWS:
        x = x[spread(num, MAX_ROWS)]
        num = MAX_ROWS
    rows = torch.as_tensor(np.asarray(x)) if isinstance(x, np.ndarray) else x.detach()
    rows = (torch.view_as_real(rows) if rows.is_complex() else rows).reshape(num, -1 if size else 0)
    rows = rows[:, :: max(1, rows.shape[1] // MAX_ROW)] if num and size else rows[:, :0]
    weights = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = [torch.zeros(0, 3, dtype=torch.float64)]
    for part in rows.split(max(1, (1 << 24) // max(1, rows.shape[1]))):
        part = part.cpu().double()
        norm = max(1, part.shape[1])
        moments = part.sum(1) / norm, (part.square().sum(1) / norm).sqrt(), part @ weights / norm**0.5
        found.append(torch.stack(moments, 1))
    return torch.cat(found)


def alike(a: object, b: object) -> bool:
    """Whether two identities are equal, their sketches up to `TOLERANCE`."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        a, b = a.cpu(), b.cpu()
        if a.shape != b.shape:
            return False
        near = (a - b).abs() <= TOLERANCE * torch.maximum(a[:, 1:2].abs(), b[:, 1:2].abs())
        return bool((near | (a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    return type(a) is type(b) and a == b


def tensors_in(value: object) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists, dictionaries and dataclasses."""
    if isinstance(value, Tensor):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from tensors_in([getattr(value, f.name) for f in dataclasses.fields(value)])
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from tensors_in(inner)


def form(x: Tensor | np.ndarray) -> str:
    return f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}"


def spread(num: int, most: int) -> list[int]:
    """At most `most` of the numbers below `num`, evenly spread, the first and the last among them."""
    return sorted({round(k) for k in np.linspace(0, num - 1, min(num, most))}) if num else []
