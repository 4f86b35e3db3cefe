"""Measured numbers for the prose: rounded once, then glued by name."""

from __future__ import annotations

from ctlib.book.page.output import COLLECTOR, in_kernel


class Plain(str):
    """Text whose repr is itself: glue records `repr`, and a plain str would show its quotes in the prose."""

    def __repr__(self) -> str:
        return str(self)


def number(name: str, value: float, digits: int = 1, unit: str = "") -> None:
    """Print a rounded number and glue its text (without the unit) for {glue:}`name` in the prose."""
    text = f"{float(value):.{digits}f}"
    print(f"{name}: {text} {unit}".rstrip())
    if (collector := COLLECTOR.get()) is not None:
        collector.numbers[name] = text
    if in_kernel():
        from myst_nb import glue

        glue(name, Plain(text), display=False)
