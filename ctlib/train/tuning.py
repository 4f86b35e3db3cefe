"""Settings chosen on validation data, with as many trials for every method that is compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ctlib.contract import choice
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.train.validation import one_number

BETTER = ("lower", "higher")
COLUMNS = ("method", "trial", "settings", "validation")


@dataclass(frozen=True)
class Trial:
    """One setting of one method, and what it scored on the validation data; NaN where nothing finite came of it."""

    method: str
    settings: Mapping[str, object]
    value: float


@dataclass(frozen=True)
class Tuning:
    """The trials of `tune` in their order; shown as a table, in which each method's best is marked.

    better  "lower" or "higher"
    """

    trials: tuple[Trial, ...]
    better: str = "lower"

    def of(self, method: str) -> list[Trial]:
        """The trials of one method."""
        choice("method", method, tuple(dict.fromkeys(t.method for t in self.trials)))
        return [t for t in self.trials if t.method == method]

    def best(self, method: str) -> Trial:
        """The trial of a method that scored best, the first of equal ones."""
        pick, found = (min, max)[BETTER.index(self.better)], [t for t in self.of(method) if not math.isnan(t.value)]
        if not found:
            raise ConvergenceError(f"tune: {method} diverged in each of its {len(self.of(method))} trials")
        return pick(found, key=lambda t: t.value)

    def at_edge(self, method: str) -> list[str]:
        """Numbers among the settings whose best value is the least or the largest tried: the range may be too narrow.

        Only those that took three values or more.
        """
        best, found = self.best(method).settings, []
        for name, value in best.items():
            tried = [t.settings.get(name) for t in self.of(method)]
            numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in tried)
            if numbers and len(set(tried)) > 2 and value in (min(tried), max(tried)):
                found.append(name)
        return found

    def rows(self) -> list[tuple[tuple[str, str, str, str], bool]]:
        """(cells, whether it is its method's best) of the table, numbered within each method."""
        found = []
        for method in dict.fromkeys(t.method for t in self.trials):
            own = self.of(method)
            best = self.best(method) if any(not math.isnan(t.value) for t in own) else None
            cells = [(method, f"{k} of {len(own)}", _written(t.settings), _said(t.value)) for k, t in enumerate(own, 1)]
            found += [(row, t is best) for row, t in zip(cells, own, strict=True)]
        return found

    def __str__(self) -> str:
        rows = self.rows()
        widths = [max(len(r[k]) for r in (COLUMNS, *(cells for cells, _ in rows))) for k in range(4)]
        line = lambda cells: "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()  # noqa: E731
        return "\n".join([line(COLUMNS), *(line(cells) + (" <- best" if best else "") for cells, best in rows)])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{c}</th>" for c in COLUMNS)
        body = []
        for cells, best in self.rows():
            mark = '<td style="font-weight:bold" title="best of its method">' if best else "<td>"
            body.append("<tr>" + "".join(f"{mark}{escape(c)}</td>" for c in cells) + "</tr>")
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def tune(
    trials: Mapping[str, Sequence[Mapping[str, object]]],
    score: Callable[[str, Mapping[str, object]], float],
    better: str = "lower",
    tell: Callable[[str], None] | None = None,
) -> Tuning:
    """Score every trial of every method by the same function, as many trials for each.

    trials  {method: [settings, ...]}: settings by name, all of a method different; [{}] for one that has none
    score   score(method, settings) on the validation data; a ConvergenceError, or what is not finite, counts as a
            trial that was lost
    tell    called with a line after every trial, such as `print`

    ArgumentError where one method would get more trials than another.
    """
    choice("better", better, BETTER)
    given, found = _checked(trials), []
    for method, tried in given.items():
        for settings in tried:
            value = _scored(score, method, settings)
            found.append(Trial(method, settings, value))
            if tell is not None:
                tell(f"{method}, {_written(settings)}: {_said(value)}")
    result = Tuning(tuple(found), better)
    for method in given:
        result.best(method)  # a method of which nothing is left is told
    return result


def _scored(score: Callable[[str, Mapping[str, object]], float], method: str, settings: dict[str, object]) -> float:
    """What a trial scored; NaN for one that was lost."""
    try:
        value = score(method, settings)
    except ConvergenceError:
        return math.nan
    value = one_number(f"score of {method}, {_written(settings)}", value)
    return value if math.isfinite(value) else math.nan


def _checked(trials: object) -> dict[str, list[dict[str, object]]]:
    """The trials, if every method that has something to tune has as many, all different."""
    needed = "{method: [settings by name, ...]}"
    if not isinstance(trials, Mapping) or not trials:
        raise ArgumentError("trials", repr(trials) if trials == {} else type(trials).__name__, needed)
    for method, tried in trials.items():
        listed = isinstance(tried, Sequence) and not isinstance(tried, str) and len(tried) > 0
        if not isinstance(method, str) or not listed or not all(isinstance(t, Mapping) for t in tried):
            raise ArgumentError("trials", f"{method}: {tried!r}", needed)
        if any(t in tried[:k] for k, t in enumerate(tried)):
            raise ArgumentError("trials", f"{method}: the same settings twice", "different ones")
    counts = {method: len(tried) for method, tried in trials.items() if list(tried) != [{}]}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{method}: {n}" for method, n in counts.items())
        raise ArgumentError("trials", told, "as many for every method")
    return {method: [dict(t) for t in tried] for method, tried in trials.items()}


def _written(settings: Mapping[str, object]) -> str:
    """Settings in one line."""
    one = lambda v: f"{v:g}" if isinstance(v, float) else str(v)  # noqa: E731
    return ", ".join(f"{name} = {one(v)}" for name, v in settings.items()) or "nothing to tune"


def _said(value: float) -> str:
    return "diverged" if math.isnan(value) else f"{value:.4g}"
