"""Numbers that come in many forms, lists, NumPy arrays and tensors, as one: the array-like half of the contract."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.contract import COMPARISONS
from ctlib.errors import ArgumentError


def numbers(name: str, value: object, *, above=None, at_least=None, at_most=None, finite: bool = True) -> Tensor:
    """Real numbers of any shape within these bounds: a floating tensor stays as it is, all else becomes float64."""
    if not isinstance(value, Tensor):
        value = torch.from_numpy(_array(name, value))
    elif not value.is_floating_point() and not value.is_complex() and value.dtype != torch.bool:
        value = value.double()
    contract.tensor(name, value)
    found, bounds = value.detach(), ((above, ">"), (at_least, ">="), (at_most, "<="))
    kept = found.isfinite() if finite else ~found.isnan()
    for bound, sign in bounds:
        kept = kept if bound is None else kept & COMPARISONS[sign](found, bound)
    if contract.somewhere(~kept):
        said = [f"{sign} {bound:g}" for bound, sign in bounds if bound is not None]
        needed = " and ".join([f"{'finite ' if finite else ''}numbers{' ' + said[0] if said else ''}", *said[1:]])
        raise ArgumentError(name, f"{float(found[~kept][0]):g}", needed)
    return value


def number_or_tensor(name: str, value: object, **bounds) -> float | Tensor:
    """A parameter within these bounds: a number as a float, or a tensor."""
    return numbers(name, value, **bounds) if isinstance(value, Tensor) else contract.number(name, value, **bounds)


def _array(name: str, value: object) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged, or tensors on another device or with a gradient
        raise ArgumentError(name, type(value).__name__, "numbers, in an array, a list or one tensor") from error
    if array.dtype.kind not in "iuf":
        raise ArgumentError(name, f"{type(value).__name__} of {array.dtype}", "real numbers")
    return array.astype(np.float64)
