"""Sweeps recorded with the book: numbers by grid point for figures, with provenance, refused when edited."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctlib.book.ledger.claimfile import BOOK
from ctlib.book.ledger.stored_runs import guarded
from ctlib.errors import ArgumentError

FIELDS = ("chapter", "grid", "rows", "failed", "commit", "date", "device", "machine")


class RecordedSweep:
    """Summary of a sweep: `values(number, axis)` gives arrays; shown, it states where its numbers come from."""

    def __init__(self, path: Path, summary: dict):
        self.path, self.summary = path, summary

    def values(self, number: str, axis: str) -> tuple[list, np.ndarray]:
        """(values of one grid axis, (seeds, values) array of a number), the other axis being the seeds."""
        grid = self.summary["grid"]
        others = [a for a in grid if a != axis]
        if axis not in grid or len(others) != 1:
            raise ArgumentError("axis", repr(axis), f"one of the two axes {', '.join(grid)}")
        cells = {(r["parameters"][others[0]], r["parameters"][axis]): r["numbers"] for r in self.summary["rows"]}
        table = [
            [float(cells[o, v][number]) if (o, v) in cells else np.nan for v in grid[axis]] for o in grid[others[0]]
        ]
        return grid[axis], np.array(table)

    def __repr__(self) -> str:
        s = self.summary
        fixed = {k: v for k, v in s["rows"][0]["parameters"].items() if k not in s["grid"]} if s["rows"] else {}
        rest = ", ".join(f"{k} = {v}" for k, v in fixed.items())
        return (
            f"Recorded sweep {self.path.stem}: {len(s['rows'])} runs of {s['chapter']} over {', '.join(s['grid'])}"
            f" ({rest}); {s['date']}, {s['device']}, {s['machine']}, commit {s['commit'][:10]}"
        )


def recorded_sweep(name: str, book: Path | str = BOOK) -> RecordedSweep:
    """The sweep stored as book/results/sweeps/<name>.json; DataError when it is missing, damaged or edited by hand."""
    path = Path(book, "results", "sweeps", f"{name}.json")
    return RecordedSweep(path, guarded(path, FIELDS, "run the sweep again"))
