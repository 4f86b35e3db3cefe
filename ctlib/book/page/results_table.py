"""`table(columns, rows)`: results as a table that reads well: digits aligned, the best value marked, spread small."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

from ctlib.errors import ArgumentError

BEST = {"max": max, "min": min}
NONE = "–"


@dataclass(frozen=True)
class Cell:
    """One cell: a number with its spread (a half width, or the two ends of a range), or a text."""

    value: float | None = None
    spread: tuple[float, ...] = ()
    text: str = ""


class ResultsTable:
    """Shown as HTML inside a box that scrolls, elsewhere as aligned text."""

    def __init__(self, columns: list[str], rows: list[list[Cell]], places: list[int | None], best: set, caption: str):
        self.columns, self.rows, self.places, self.best, self.caption = columns, rows, places, best, caption

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{html.escape(c)}</th>' for c in self.columns)
        lines = ("".join(self._cell(i, j) for j in range(len(row))) for i, row in enumerate(self.rows))
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        table = f'<table class="ctlib-table">{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        return f'<div class="ctlib-scroll">{table}</div>'

    def _cell(self, i: int, j: int) -> str:
        cell = self.rows[i][j]
        tag = 'th scope="row"' if j == 0 else "td"
        kind = ' class="best"' if (i, j) in self.best else ' class="text"' if j and cell.value is None else ""
        spread = f" <small>{self._spread(cell, j)}</small>" if cell.spread else ""
        return f"<{tag}{kind}>{html.escape(self._value(cell, j))}{spread}</{tag.split()[0]}>"

    def _value(self, cell: Cell, j: int) -> str:
        return cell.text if cell.value is None else fixed(cell.value, self.places[j])

    def _spread(self, cell: Cell, j: int) -> str:
        texts = [fixed(s, self.places[j]) for s in cell.spread]
        return f"± {texts[0]}" if len(texts) == 1 else f"{texts[0]} to {texts[1]}"

    def __repr__(self) -> str:
        lines = [self.columns]
        for i, row in enumerate(self.rows):
            texts = [f"{self._value(c, j)} {self._spread(c, j) if c.spread else ''}".strip() for j, c in enumerate(row)]
            lines.append([f"{t} *" if (i, j) in self.best else t for j, t in enumerate(texts)])
        widths = [max(len(line[j]) for line in lines) for j in range(len(self.columns))]
        texts = (
            "  ".join(
                t.rjust(w) if j else t.ljust(w) for j, (t, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )
        return "\n".join([*([self.caption] if self.caption else []), *texts])


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence],
    best: str | Mapping[str, str] | None = None,
    caption: str = "",
    digits: int | Mapping[str, int] | None = None,
) -> ResultsTable:
    """Results as a table: HTML on the page and in Jupyter, aligned text elsewhere.

    columns  titles, with units; the first column names the rows
    rows     one list a row. A cell is a number, (value, spread), (value, (low, high)), a text, or None for no value
    best     what to mark: "max" or "min" in every column of numbers, or {title of a column or a row: "max" or "min"}
    digits   decimals, for all columns or by title; None: four figures of a column's largest number
    """
    columns = [str(c) for c in columns]
    cells = [[_cell(value, f"rows[{i}][{j}]") for j, value in enumerate(row)] for i, row in enumerate(rows)]
    for i, row in enumerate(cells):
        if len(row) != len(columns):
            raise ArgumentError(f"rows[{i}]", f"{len(row)} cells", f"one for each of the {len(columns)} columns")
    given = digits if isinstance(digits, Mapping) else dict.fromkeys(columns, digits)
    _known("digits", given, columns)
    places = [
        given.get(c) if given.get(c) is not None else _places([r[j] for r in cells]) for j, c in enumerate(columns)
    ]
    return ResultsTable(columns, cells, places, _best(best, columns, cells), caption)


def fixed(value: float, places: int | None) -> str:
    """A number with so many decimals and a true minus sign; with None as four figures, in powers of ten if need be."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, NONE)
    return (f"{value:.{places}f}" if places is not None else f"{value:.3e}").replace("-", "−")


def _cell(value: object, name: str) -> Cell:
    if value is None:
        return Cell(text=NONE)
    if isinstance(value, str):
        return Cell(text=value)
    if isinstance(value, tuple) and len(value) == 2:
        spread = value[1] if isinstance(value[1], (tuple, list)) else (value[1],)
        if len(spread) in (1, 2):
            return Cell(_number(value[0], name), tuple(_number(s, name) for s in spread))
    return Cell(_number(value, name))


def _number(value: object, name: str) -> float:
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if not isinstance(value, Real):
        raise ArgumentError(name, repr(value)[:60], "a number, (value, spread), (value, (low, high)), a text or None")
    return float(value)


def _places(cells: Sequence[Cell]) -> int | None:
    """Decimals for a column; None where its numbers differ too much in size to share them."""
    values = [abs(c.value) for c in cells if c.value is not None and math.isfinite(c.value)]
    if all(v == int(v) for v in values) and not any(c.spread for c in cells):
        return 0
    values = [v for v in values if v] or [abs(s) for c in cells for s in c.spread if s and math.isfinite(s)]
    if not values:
        return 0
    places, least = max(0, 3 - math.floor(math.log10(max(values)))), min(values)
    return places if places < 7 and least >= 10.0**-places else None


def _best(best: str | Mapping[str, str] | None, columns: list[str], cells: list[list[Cell]]) -> set[tuple[int, int]]:
    """Places (row, column) of the best numbers; where several share the best value, all of them."""
    names = {row[0].text: i for i, row in enumerate(cells)}
    if not isinstance(best, Mapping):
        best = dict.fromkeys(columns[1:], best) if best else {}
    _known("best", best, [*columns[1:], *names])
    found = set()
    for name, how in best.items():
        if how not in BEST:
            raise ArgumentError("best", repr(how), '"max" or "min"')
        if name in columns:
            line = [(i, columns.index(name)) for i in range(len(cells))]
        else:
            line = [(names[name], j) for j in range(1, len(columns))]
        values = {p: cells[p[0]][p[1]].value for p in line}
        values = {p: v for p, v in values.items() if v is not None and math.isfinite(v)}
        if len(values) > 1:
            target = BEST[how](values.values())
            found |= {p for p, v in values.items() if v == target}
    return found


def _known(argument: str, given: Mapping, names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise ArgumentError(argument, repr(name), f"one of {', '.join(names)}")
