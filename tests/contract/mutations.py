"""One wrong or unusual value for one argument, and what is to become of the call.

equal    the same values in another guise: the result of the plain call
same     the same, or one error that names the argument
refused  one error that names the argument
typed    any result, or one error that names the argument: no foreign exception
nan      an error, or a result that is not finite
spread   an error, or the result of the value spread over the axes it lacks
batch    an error, or every slice of the result is that of the plain call
empty    an error, or a result of the plain shape behind the empty axis, or no finite number
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

DTYPES = (
    "uint8", "int8", "int16", "int32", "int64", "bool", "float16", "bfloat16", "float32", "float64",
)  # fmt: skip


class Mutation(NamedTuple):
    """What an argument becomes; `plain` is the value that the clean call gets instead of the example's."""

    name: str
    value: object
    fate: str
    plain: object = None
    tolerance: float = 1e-9


def of(name: str, value: object, whole: bool, optional: bool, at: int = 0) -> Iterator[Mutation]:
    """All mutations of an argument by its name and valid value; `at` chooses the element that is spoilt."""
    if isinstance(value, Tensor):
        yield from of_tensor(value, optional, at)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from of_number(value, whole, optional)
        if "seed" in name:
            yield Mutation("huge", 2**70, "typed")
    elif isinstance(value, tuple) and value and all(type(v) in (int, float) for v in value):
        yield from of_tuple(value)


def of_tensor(x: Tensor, optional: bool, at: int) -> Iterator[Mutation]:
    yield from dtypes(x)
    yield from layouts(x)
    yield from shapes(x)
    if x.is_floating_point() and x.numel():
        for name, bad in (("nan", math.nan), ("inf", math.inf), ("-inf", -math.inf)):
            spoilt = x.clone()
            spoilt.view(-1)[at % x.numel()] = bad
            yield Mutation(name, spoilt, "nan" if name == "nan" else "typed")
    yield Mutation("numpy", x.numpy(), "same")
    yield Mutation("list", x.tolist(), "same")
    yield Mutation("text", "3", "refused")
    yield Mutation("sparse", x.to_sparse(), "same") if x.ndim else Mutation("sparse", None, "typed")
    if not optional:
        yield Mutation("None", None, "refused")


def dtypes(x: Tensor) -> Iterator[Mutation]:
    for name in DTYPES:
        dtype = getattr(torch, name)
        if dtype != x.dtype:
            values = representable(x, dtype)
            loose = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-4}.get(name, 1e-6)
            yield Mutation(name, values.to(dtype), "same", values.to(dtype).to(x.dtype), loose)
    for dtype in (torch.complex64, torch.complex128):
        yield Mutation(str(dtype)[6:], x.to(dtype), "refused")


def representable(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The values, spread over integers where the dtype holds no others: 0 to about 100."""
    if dtype.is_floating_point or not x.is_floating_point() or not x.numel() or dtype == torch.bool:
        return x
    largest = float(x.abs().max())
    return (x * (100 / largest) if 0 < largest < 3 else x.clamp(-100, 100)).round().clamp_min(0)


def layouts(x: Tensor) -> Iterator[Mutation]:
    """The same values, otherwise stored."""
    wide = torch.stack([x, x + 1 if x.dtype != torch.bool else ~x], -1).flatten(-2 if x.ndim else -1)
    yield Mutation("sliced", wide[..., ::2].reshape(x.shape) if not x.ndim else wide[..., ::2], "equal")
    if x.ndim > 1:
        yield Mutation("transposed", x.transpose(0, -1).contiguous().transpose(0, -1), "equal")
    if x.ndim:
        first = x[..., :1].expand(x.shape)
        yield Mutation("expanded", first, "equal", first.contiguous())
    yield Mutation("offset", torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape), "equal")
    if x.is_floating_point():
        yield Mutation("requires_grad", x.clone().requires_grad_(), "same")


def shapes(x: Tensor) -> Iterator[Mutation]:
    for axis in range(x.ndim):
        longer = torch.cat([x, x.narrow(axis, x.shape[axis] - 1, 1)], axis) if x.shape[axis] else x
        yield Mutation(f"axis {axis} + 1", longer, "typed")
        yield Mutation(f"axis {axis} empty", x.narrow(axis, 0, 0), "typed")
    if x.ndim:
        yield Mutation("missing axis", x[0].clone(), "spread", x[0].expand(x.shape).clone())
        yield Mutation("0-dim", x.reshape(-1)[0].clone() if x.numel() else x.sum(), "typed")
    yield Mutation("batch", torch.stack([x, x]), "batch")
    yield Mutation("empty batch", x.new_zeros(0, *x.shape), "empty")


def of_number(x: float, whole: bool, optional: bool) -> Iterator[Mutation]:
    kind = "equal" if not whole else "same"
    if isinstance(x, int):
        guises = np.int64(x), np.int32(x), np.asarray(x), torch.tensor(x)
        yield from (Mutation(f"{type(g).__name__} {g.dtype}", g, "equal") for g in guises)
    guises = np.float64(x), np.asarray(float(x)), torch.tensor(float(x), dtype=torch.float64)
    yield from (Mutation(f"{type(g).__name__} {g.dtype}", g, kind) for g in guises)
    yield Mutation("float32", np.float32(x), kind, float(np.float32(x)) if not whole else None, 1e-5)
    for name, bad in (("text", "3"), ("complex", 1j), ("nan", math.nan), ("list", [x]), ("numpy axis", np.full(2, x))):
        yield Mutation(name, bad, "refused")
    if not optional:
        yield Mutation("None", None, "refused")
    for bad in (math.inf, -math.inf, -1, 0) if not whole else (-1, 0, math.inf):
        yield Mutation(f"{bad}", bad, "typed")
    yield Mutation("True", True, "refused")
    if not whole:
        yield Mutation("huge", 1e300, "typed")


def of_tuple(x: tuple) -> Iterator[Mutation]:
    """Of some numbers: one of them spoilt, other numbers of them, other containers."""
    for name, bad in (("text", "3"), ("complex", 1j), ("nan", math.nan), ("None", None), ("pair", (x[0], x[0]))):
        yield Mutation(f"{name} in it", (*x[:-1], bad), "refused")
    for bad in (-1, 0, math.inf):
        yield Mutation(f"{bad} in it", (*x[:-1], bad), "typed")
    guises = [np.asarray(v)[()] for v in x], tuple(torch.tensor(v) for v in x)
    yield from (Mutation(f"{type(g[0]).__name__}s", g, "same", tolerance=1e-6) for g in guises)
    yield Mutation("numpy", np.asarray(x), "same")
    yield Mutation("one number", x[0], "typed")
    yield Mutation("text", "3" * len(x), "refused")
    yield Mutation("none", (), "typed")
    yield Mutation("one more", (*x, x[-1]), "typed")
