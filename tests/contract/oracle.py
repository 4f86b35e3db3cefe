"""What a mutated call may do: give the plain call's numbers, or raise one error that names the argument."""

import contextlib
import dataclasses
import re
import signal

import numpy as np
import torch
from torch import Tensor

from ctlib.errors import ArgumentError, CtlibError

SECONDS = 60  # no mutated call takes longer


class Foreign(AssertionError):
    """A mutated call did what the contract forbids."""


@contextlib.contextmanager
def timed():
    def stop(*_):
        raise Foreign(f"still runs after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(call, kwargs):
    """The result, or the typed error; anything else that is raised fails."""
    kept = {n: value.detach().clone() for n, value in kwargs.items() if isinstance(value, Tensor) and n != "out"}
    try:
        with timed():
            result = call(**kwargs)
    except CtlibError as error:
        result = error
    except Foreign:
        raise
    except Exception as error:
        raise Foreign(f"{type(error).__name__}: {str(error)[:150]}") from error
    for name, before in kept.items():
        now = kwargs[name].detach()
        same = now.shape == before.shape and (now.layout != torch.strided or torch.equal(bits(now), bits(before)))
        if not same:
            raise Foreign(f"{name} was written to")
    return result


def bits(t: Tensor) -> Tensor:
    return t.cpu().nan_to_num(nan=12345.0) if t.is_floating_point() or t.is_complex() else t.cpu()


def leaves(result, depth=0) -> list[Tensor]:
    """All numbers of a result, in order: of tensors, arrays, records, modules' weights."""
    if isinstance(result, Tensor):
        return [result.detach().to_dense().cpu()]
    if isinstance(result, (np.ndarray, np.generic, bool, int, float, complex)):
        with contextlib.suppress(TypeError):
            return [torch.as_tensor(result)]
        return []
    if isinstance(result, torch.nn.Module):
        return [t.detach() for t in result.state_dict().values()]
    if depth > 4:
        return []
    if isinstance(result, dict):
        return [t for value in result.values() for t in leaves(value, depth + 1)]
    if isinstance(result, (list, tuple)):
        return [t for value in result for t in leaves(value, depth + 1)]
    if dataclasses.is_dataclass(result):
        return [t for f in dataclasses.fields(result) for t in leaves(getattr(result, f.name, None), depth + 1)]
    return [t for value in getattr(result, "__dict__", {}).values() for t in leaves(value, depth + 1)]


def close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    if found.shape != expected.shape:
        return False
    a, b = (t.to(torch.complex128 if t.is_complex() else torch.float64) for t in (found, expected))
    if not bool((a.isfinite() == b.isfinite()).all()):
        return False
    a, b = a.nan_to_num(0, 0, 0), b.nan_to_num(0, 0, 0)
    return not a.numel() or float((a - b).abs().max()) <= tolerance * max(float(b.abs().max()), 1e-30)


def equal(found, expected, tolerance: float) -> bool:
    a, b = leaves(found), leaves(expected)
    return len(a) == len(b) and all(close(x, y, tolerance) for x, y in zip(a, b, strict=True))


def finite(result) -> bool:
    floats = [t for t in leaves(result) if t.is_floating_point() or t.is_complex()]
    return all(bool(t.isfinite().all()) for t in floats)


def names(error: CtlibError, arguments) -> bool:
    """Whether the message names one of the arguments; an iteration that diverged has none to name."""
    return not isinstance(error, ArgumentError) or any(re.search(rf"\b{re.escape(a)}\b", str(error)) for a in arguments)


def judge(call, kwargs, changed: dict, clean) -> None:
    """Raises Foreign unless the call with `changed` (argument -> Mutation) ends as its fates say.

    clean  clean(values) -> outcome of the plain call with these arguments exchanged
    """
    result = outcome(call, kwargs | {name: m.value for name, m in changed.items()})
    fates = {m.fate for m in changed.values()}
    if isinstance(result, CtlibError):
        culprits = kwargs if any(isinstance(kwargs[name], Tensor) for name in changed) else changed
        if not names(result, culprits):  # where tensors do not fit together, either may be named
            raise Foreign(f"the error names no {' or '.join(culprits)}: {result}")
        if fates == {"equal"}:
            expected = clean({n: m.plain for n, m in changed.items() if m.plain is not None})
            if not isinstance(expected, CtlibError):
                raise Foreign(f"refused: {result}")
        return
    if "refused" in fates:
        raise Foreign(f"accepted, with {summary(result)}")
    if len(changed) > 1 and not fates <= {"equal", "same"}:
        return
    expected = clean({n: m.plain for n, m in changed.items() if m.plain is not None})
    if isinstance(expected, CtlibError):
        if not fates & {"typed", "nan", "empty", "batch", "spread"}:
            raise Foreign(f"{summary(result)}, while the plain value is refused: {expected}")
        return
    RULES.get(next(iter(fates)) if len(fates) == 1 else "same", lambda *_: None)(result, expected, changed, clean)


def summary(result) -> str:
    return " ".join(str(t)[:60].replace("\n", " ") for t in leaves(result)[:2]) or type(result).__name__


def rule_same(result, expected, changed, clean):
    tolerance = max(m.tolerance for m in changed.values())
    if not equal(result, expected, tolerance):
        raise Foreign(f"another number: {summary(result)} instead of {summary(expected)}")


def rule_nan(result, expected, changed, clean):
    (name,), (mutation,) = changed, changed.values()
    if not finite(result) or not finite(expected):
        return
    other = mutation.value.nan_to_num(nan=float(mutation.value.nan_to_num(0).abs().max()) * 1.7 + 0.3)
    zero = mutation.value.nan_to_num(nan=0.0)
    used = not all(
        isinstance(r, CtlibError) or equal(r, expected, 0) for r in (clean({name: other}), clean({name: zero}))
    )
    if used:
        raise Foreign(f"NaN became {summary(result)}")


def rule_spread(result, expected, changed, clean):
    a, b = leaves(result), leaves(expected)
    if len(a) != len(b):
        raise Foreign("another number of results")
    for x, y in zip(a, b, strict=True):
        try:
            x = x.expand(y.shape)
        except RuntimeError:
            raise Foreign(f"shape {tuple(x.shape)} instead of {tuple(y.shape)}") from None
        if not close(x, y, 1e-6):
            raise Foreign(f"another number than spread: {summary(result)} instead of {summary(expected)}")


def rule_batch(result, expected, changed, clean):
    for x, y in zip(leaves(result), leaves(expected), strict=True):
        if x.shape == (2, *y.shape):
            y = torch.stack([y, y])
        if not close(x, y, 1e-6):
            raise Foreign(f"a batch of two equal ones gives {summary(result)} instead of {summary(expected)}")


def rule_empty(result, expected, changed, clean):
    for x, y in zip(leaves(result), leaves(expected), strict=True):
        if x.numel() and x.is_floating_point() and bool(x.isfinite().all()) and not close(x, y, 0):
            raise Foreign(f"an empty batch gives {summary(x)}")


RULES = {
    "equal": rule_same, "same": rule_same, "nan": rule_nan, "spread": rule_spread, "batch": rule_batch,
    "empty": rule_empty,
}  # fmt: skip
