"""Tables, and how measured values and verdicts look on a page."""

from __future__ import annotations

import math
from collections.abc import Mapping


def digits(value: float) -> str:
    """Four significant digits without an exponent where that is readable: 31.27, 0.01234, 1.2e-07."""
    value = float(value)
    if not math.isfinite(value) or (value == int(value) and abs(value) < 1e6):
        return str(int(value)) if math.isfinite(value) else str(value)
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"


def measured(record: Mapping, unit: str = "") -> str:
    """`median [min, max] unit (n)` of a claim record; `mean [lower end, upper end] unit, 95 %` of an interval."""
    unit = "" if unit in ("", "1") else f" {unit}"
    if not math.isfinite(float(record["median"])):
        return f"not finite: {', '.join(digits(v) for v in record['values'])}"
    if len(record["values"]) == 1:
        return f"{digits(record['median'])}{unit}"
    spread = f"[{digits(record['min'])}, {digits(record['max'])}]"
    if record.get("interval"):
        return f"{digits(record['median'])} {spread}{unit}, 95 %"
    return f"{digits(record['median'])} {spread}{unit} (n = {len(record['values'])})"


class Table:
    """Rows of Markdown texts: a pipe table in Jupyter and on the page, aligned text elsewhere."""

    def __init__(self, head: list[str], rows: list[list[str]]):
        self.head, self.rows = head, rows

    def _repr_markdown_(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)

    def __repr__(self) -> str:
        return "\n".join(" | ".join(line) for line in [self.head, *self.rows])


def badge(verdict: str) -> str:
    """Verdict as an inline badge; the word carries the meaning, color only repeats it."""
    return f'<span class="ctlib-verdict ctlib-{verdict.replace(" ", "-")}">{verdict}</span>'
