"""What a run keeps beside its claims: absolute values with their spread, curves, sentences that the numbers chose."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from itertools import pairwise

from ctlib.book.ledger.outcomes import decided
from ctlib.book.ledger.verdicts import curve_record, portable
from ctlib.book.page.output import COLLECTOR, emit, tell
from ctlib.book.page.tables import measured
from ctlib.errors import ArgumentError

MIN_POINTS = 6  # of a curve: two in every third


def numbers_of(name: str, values: object) -> list[float]:
    """One number, or one per seed, of any kind of array, as a list; ArgumentError for what is none, such as text."""
    try:
        items = values if isinstance(values, (list, tuple)) else getattr(values, "tolist", lambda: values)()
        items = items if isinstance(items, (list, tuple)) else [items]
        if any(isinstance(v, (str, bytes)) for v in items):
            raise TypeError("text")
        numbers = [float(v) for v in items]
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"values of {name}", repr(values)[:80], "a number or one number per seed") from error
    if not numbers:
        raise ArgumentError(f"values of {name}", "an empty list", "at least one number")
    return numbers


def curve_of(name: str, steps: object, values: object) -> tuple[list[float], list[float]]:
    """(steps, values) of one curve as lists, six significant digits; ArgumentError where they are no curve."""
    steps, values = numbers_of(f"steps of {name}", steps), numbers_of(name, values)
    rising = all(a < b for a, b in pairwise(steps)) and all(map(math.isfinite, steps))
    if len(steps) != len(values) or len(steps) < MIN_POINTS or not rising:
        given = f"{len(steps)} steps, {len(values)} values"
        raise ArgumentError(f"curve {name}", given, f"as many values as rising steps, at least {MIN_POINTS}")
    return [int(s) if s == int(s) else s for s in steps], [float(f"{v:.6g}") for v in values]


def curves_behind(name: str, curves: object) -> dict[str, tuple[list[float], list[float]]]:
    """{"method, seed": curve} behind a claim; ArgumentError for one whose last third cannot be told from the rest."""
    if not isinstance(curves, Mapping):
        raise ArgumentError(f"curves of {name}", type(curves).__name__, '{"method, seed": (steps, values)}')
    found = {}
    for key, curve in curves.items():
        place = ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)
        if not isinstance(curve, (tuple, list)) or len(curve) != 2 or place in found:
            given = "given twice" if place in found else repr(curve)[:80]
            raise ArgumentError(f"curve {name}, {place}", given, "(steps, values), once")
        steps, values = curve_of(f"{name}, {place}", *curve)
        if not 0 <= steps[0] <= steps[-1] * 2 / 3:
            given = f"steps {steps[0]:g} to {steps[-1]:g}"
            raise ArgumentError(f"curve {name}, {place}", given, "steps from 0 on, some of them before the last third")
        found[place] = steps, values
    return found


def _texts(name: object, unit: object) -> None:
    """ArgumentError for a name or a unit that is no text: it could not be written down when the run ends."""
    if not isinstance(name, str) or not name.strip():
        raise ArgumentError("name", repr(name), "a text that says what is kept")
    if not isinstance(unit, str):
        raise ArgumentError("unit", repr(unit), "a text")


def keep_values(name: str, values: object, unit: str) -> None:
    """Mark absolute values for `record`: median and range are kept beside them."""
    _texts(name, unit)
    numbers = numbers_of(name, values)
    finite = all(map(math.isfinite, numbers))
    stats = (statistics.median(numbers), min(numbers), max(numbers)) if finite else (math.nan,) * 3
    record = dict(zip(("median", "min", "max"), map(portable, stats), strict=True))
    record = {"values": [portable(v) for v in numbers], **record, "unit": unit}
    if (collector := COLLECTOR.get()) is not None:
        collector.kept[name] = record
    tell(f"kept {name}: {measured(record, unit)}", {"kept": {name: record}})


def keep_steps(name: str, steps: object, values: object, unit: str) -> None:
    """Mark a curve for `record`."""
    _texts(name, unit)
    record = {**curve_record(*curve_of(name, steps, values)), "unit": unit}
    if (collector := COLLECTOR.get()) is not None:
        collector.curves[name] = record
    last = f"{record['values'][-1]} {unit}".rstrip()
    tell(f"kept curve {name}: {len(record['steps'])} points, last {last}", {"curves": {name: record}})


def choose(cases: tuple) -> tuple[int, str]:
    """(which case, its sentence): the first whose condition holds; a plain text at the end holds always."""
    for i, case in enumerate(cases):
        if isinstance(case, str) and i == len(cases) - 1:
            return i, case
        if not (isinstance(case, tuple) and len(case) == 2 and isinstance(case[1], str)):
            raise ArgumentError(f"cases[{i}]", repr(case)[:80], "(condition, sentence); the last may be a sentence")
        if decided(f"cases[{i}]", case[0]):
            return i, case[1]
    raise ArgumentError("cases", f"{len(cases)} conditions, none of which holds", "a sentence for the rest, last")


def say(cases: tuple) -> None:
    """Show the first sentence whose condition holds, as Markdown, and mark it for `record`."""
    which, text = choose(cases)
    if (collector := COLLECTOR.get()) is not None:
        collector.said[text] = which
    emit(text, {"text/markdown": text}, {"ctlib": {"said": {text: which}}})


def kept_in(nb: Mapping) -> dict[str, dict]:
    """{"kept", "curves", "said"} that an executed notebook holds."""
    found = {"kept": {}, "curves": {}, "said": {}}
    for cell in nb["cells"]:
        for output in cell.get("outputs", []):
            mark = output.get("metadata", {}).get("ctlib", {})
            for kind, into in found.items():
                into.update(mark.get(kind, {}))
    return found
