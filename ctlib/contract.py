"""The input contract: what every public function accepts, checked in one place with one kind of message.

Tensors are float32 or float64 with any strides and any leading axes; a function that says so promotes integers and
half precision. Numbers may be Python's, NumPy's or tensors of one element; booleans, text, complex and NaN are no
numbers. Everything else is an `ArgumentError` that names the argument, before any work is done.
"""

import math
import operator
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from itertools import zip_longest

import numpy as np
import torch
from torch import Tensor

from ctlib.errors import ArgumentError

REAL = ("float32", "float64")
HALF = ("float16", "bfloat16")
PROMOTED = {
    **dict.fromkeys(("bool", "uint8", "int8", "int16", "uint16", "float16", "bfloat16"), "float32"),
    **dict.fromkeys(("int32", "uint32", "int64", "uint64"), "float64"),
}
"""What a promoting function computes in: float32 where that holds every value exactly, else float64."""
COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


def tensor(
    name: str,
    value: object,
    shape: Sequence[int | str | None] = (),
    *,
    promote: bool = False,
    dtypes: Sequence[str] = REAL,
) -> Tensor:
    """The value as a real tensor, unchanged if it is float32 or float64.

    shape    its trailing axes, leading ones are free: a length, or a name or None for any length
    promote  take integers, booleans and half precision too, in the dtype of `PROMOTED`
    dtypes   names of the types that are left unchanged
    """
    if not isinstance(value, Tensor):
        raise ArgumentError(name, _kind(value), "a torch tensor (torch.as_tensor makes one)")
    if value.layout != torch.strided or value.is_nested:
        given = "a nested tensor" if value.is_nested else f"a tensor of layout {value.layout}"
        raise ArgumentError(name, given, "a dense tensor (t.to_dense())")
    if _plain(value.dtype) not in dtypes:
        if not promote or _plain(value.dtype) not in PROMOTED:
            needed = f"{', '.join(dtypes[:-1])} or {dtypes[-1]} {_axes(shape)}"
            raise ArgumentError(name, f"{_plain(value.dtype)} {tuple(value.shape)}", needed)
        value = value.to(getattr(torch, PROMOTED[_plain(value.dtype)]))
    return trailing(name, value, shape)


def trailing(name: str, value: Tensor, shape: Sequence[int | str | None]) -> Tensor:
    """The tensor, if its last axes are these."""
    own = tuple(value.shape[value.ndim - len(shape) :]) if value.ndim >= len(shape) else None
    if own is None or any(isinstance(n, int) and n != m for n, m in zip(shape, own, strict=True)):
        raise ArgumentError(name, f"shape {tuple(value.shape)}", _axes(shape))
    return value


def alike(name: str, value: Tensor, other_name: str, other: Tensor) -> Tensor:
    """The tensor, if it has the dtype of another one and lies on its device."""
    if value.dtype != other.dtype or value.device != other.device:
        given = f"{_plain(value.dtype)} on {value.device}"
        raise ArgumentError(
            name, given, f"the dtype and device of {other_name}: {_plain(other.dtype)} on {other.device}"
        )
    return value


def spreads(name: str, value: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor, if it broadcasts to this shape without enlarging it."""
    own = (1,) * (len(shape) - value.ndim) + tuple(value.shape)
    if len(own) != len(shape) or any(a not in (1, b) for a, b in zip(own, shape, strict=True)):
        raise ArgumentError(name, f"shape {tuple(value.shape)}", f"one that spreads over {tuple(shape)}")
    return value


def together(shape: Sequence[int | str | None] = (), *, promote: bool = False, **values: object) -> list[Tensor]:
    """Tensors of one dtype on one device, with the same trailing axes; their leading ones spread over each other.

    promote  as in `tensor`; then all come in the widest of their dtypes
    """
    found = {name: tensor(name, value, shape, promote=promote) for name, value in values.items()}
    if promote:
        widest = reduce(torch.promote_types, (t.dtype for t in found.values()))
        found = {name: t.to(widest) for name, t in found.items()}
    (first, like), *others = found.items()
    sizes = like.shape[like.ndim - len(shape) :]
    for name, t in others:
        alike(name, t, first, like)
        if t.shape[t.ndim - len(shape) :] != sizes:
            raise ArgumentError(first, f"shape {tuple(like.shape)}", f"the sizes of {name}: {tuple(t.shape)}")
    if not fit(*(t.shape for t in found.values())):
        given = f"shapes {', '.join(str(tuple(t.shape)) for t in found.values())}"
        raise ArgumentError(", ".join(found), given, "leading axes that spread over each other")
    return list(found.values())


def fit(*shapes: Sequence[int]) -> bool:
    """Whether the shapes spread over each other."""
    return all(len({n for n in axis if n != 1}) < 2 for axis in zip_longest(*(s[::-1] for s in shapes), fillvalue=1))


def factor(name: str, value: object, like_name: str, like: Tensor, *, above=None, at_least=None) -> float | Tensor:
    """A number within these bounds, or a tensor of such that spreads over another one and has its dtype."""
    if not isinstance(value, Tensor) or (value.ndim == 0 and (value.dtype, value.device) != (like.dtype, like.device)):
        return number(name, value, above=above, at_least=at_least)
    value = spreads(name, alike(name, tensor(name, value), like_name, like), like.shape)
    for bound, sign in ((above, ">"), (at_least, ">=")):
        if bound is not None and somewhere(~COMPARISONS[sign](value, bound)):
            raise ArgumentError(name, "a tensor with other values", f"numbers {sign} {bound:g}")
    return value


def somewhere(condition: Tensor) -> bool:
    """Whether a condition holds anywhere; False where `torch.func.vmap` keeps the values to itself."""
    while torch._C._functorch.is_functorch_wrapped_tensor(condition):
        if torch._C._functorch.is_batchedtensor(condition):
            return False
        condition = torch._C._functorch.get_unwrapped(condition)
    return bool(condition.any())


def full_precision(like: Tensor) -> AbstractContextManager:
    """Where autocast does not turn what is computed on the tensor's device into half precision."""
    kind = like.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else nullcontext()


def shape(name: str, value: object, ndim: int | None = None) -> tuple[int, ...]:
    """The value as a tuple of lengths >= 1, one for each of ndim axes."""
    return tuple(count(name, n, 1) for n in _listed(name, value, ndim, "lengths"))


def numbers(name: str, value: object, num: int | None = None, **bounds) -> tuple[float, ...]:
    """The value as a tuple of floats, if it lists numbers within bounds as in `number`, and so many of them."""
    return tuple(number(name, v, **bounds) for v in _listed(name, value, num, "numbers"))


def array(name: str, value: object, ndim: int) -> np.ndarray:
    """The value as a float64 array with so many axes, if it is finite real numbers in an array, a list or a tensor."""
    try:
        found = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or tensors on a device, of half precision, with a gradient
        raise ArgumentError(name, _kind(value), "numbers in an array, a list or a tensor on the CPU") from None
    if found.dtype.kind not in "iuf" or found.ndim != ndim or not np.isfinite(found).all():
        raise ArgumentError(name, f"{found.dtype} {found.shape}", f"finite numbers with {ndim} axes")
    return found.astype(np.float64)


def dtype(name: str, value: object) -> torch.dtype:
    """The value, if it is a type of real numbers with a fraction."""
    if not isinstance(value, torch.dtype) or not value.is_floating_point:
        raise ArgumentError(name, _kind(value), "torch.float32 or torch.float64")
    return value


def _listed(name: str, value: object, num: int | None, kind: str) -> Sequence:
    """The value, if it is a list or an array of one axis, of a stated length."""
    listed = isinstance(value, (Sequence, np.ndarray, Tensor)) and not isinstance(value, (str, bytes))
    if not listed or getattr(value, "ndim", 1) != 1 or (num is not None and len(value) != num):
        raise ArgumentError(name, _kind(value), f"{'' if num is None else f'{num} '}{kind} in a list or tuple")
    return value


def mask(name: str, value: object, shape: Sequence[int | str | None]) -> Tensor:
    """The value, if it is a boolean tensor with these trailing axes."""
    if not isinstance(value, Tensor) or value.dtype != torch.bool or value.layout != torch.strided:
        given = f"{_plain(value.dtype)} {tuple(value.shape)}" if isinstance(value, Tensor) else _kind(value)
        raise ArgumentError(name, given, f"a dense bool tensor {_axes(shape)}")
    return trailing(name, value, shape)


def number(name: str, value: object, *, above=None, at_least=None, below=None, at_most=None, finite=True) -> float:
    """The value as a float, if it is one real number within these bounds; no gradient could flow to it."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise ArgumentError(name, "a tensor that asks for its gradient", "a number: none flows to it (t.detach())")
    found = _scalar(value)
    bounds = [(b, sign) for b, sign in ((above, ">"), (at_least, ">="), (below, "<"), (at_most, "<=")) if b is not None]
    usable = found is not None and not math.isnan(found) and not (finite and math.isinf(found))
    if not usable or not all(COMPARISONS[sign](found, bound) for bound, sign in bounds):
        said = " and ".join(f"{sign} {bound:g}" for bound, sign in bounds)
        given = _kind(value) if found is None else repr(found)
        raise ArgumentError(name, given, " ".join(["a", *["finite"] * finite, "number", said]).rstrip())
    return found


def count(name: str, value: object, at_least: int = 0, at_most: int | None = None) -> int:
    """The value as an int, if it is one whole number from `at_least` (to `at_most`)."""
    found = int(value) if _whole(value) else None
    if found is None or found < at_least or (at_most is not None and found > at_most):
        upper = "" if at_most is None else f" and <= {at_most}"
        raise ArgumentError(
            name, repr(found) if found is not None else _kind(value), f"a whole number >= {at_least}{upper}"
        )
    return found


def seed(name: str, value: object) -> int:
    """The value as an int, if it is a whole number that every random stream takes."""
    return count(name, value, 0, 2**63 - 1)


def choice(name: str, value: object, known: Sequence[str]) -> str:
    """The value, if it is one of these names."""
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(name, repr(value) if isinstance(value, str) else _kind(value), f"one of {', '.join(known)}")
    return value


def _scalar(value: object) -> float | None:
    """One real number as a float; None for everything else."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None:
        return None
    if isinstance(value, Tensor):
        plain = value.ndim == 0 and value.dtype != torch.bool and not value.is_complex()
        return float(value.detach()) if plain else None
    if isinstance(value, np.ndarray) and (value.ndim or value.dtype.kind not in "iuf"):
        return None
    if isinstance(value, (complex, np.complexfloating)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _whole(value: object) -> bool:
    """Whether the value is one whole number, of Python, NumPy or torch, and no boolean."""
    if isinstance(value, Tensor):
        return value.ndim == 0 and _plain(value.dtype).removeprefix("u").startswith("int")
    if isinstance(value, (np.ndarray, np.generic)):
        return value.ndim == 0 and value.dtype.kind in "iu"
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: object) -> str:
    """What was given, short enough for one line."""
    if isinstance(value, (Tensor, np.ndarray)):
        return f"{type(value).__name__} {_plain(value.dtype)} {tuple(value.shape)}"
    text = repr(value)
    return f"{type(value).__name__} {text}" if len(text) <= 40 else type(value).__name__


def _plain(dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _axes(shape: Sequence[int | str | None]) -> str:
    return f"(..., {', '.join('any' if n is None else str(n) for n in shape)})" if len(shape) else "of any shape"
