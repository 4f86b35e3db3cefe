"""How long the cells of a chapter took in earlier runs, and from that what is left of this one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ctlib.files import Unwritable, write_whole

FILE = "times.json"
WORTH_S = 1.0  # shorter cells wait with being written down for a longer one


class Times:
    """Seconds of cells by preset and source, kept beside a chapter's runs in the store."""

    def __init__(self, folder: Path, preset: str):
        self.path, self.preset, self.known = folder / FILE, preset, {}
        with suppress(OSError, ValueError, TypeError, AttributeError):
            found = json.loads(self.path.read_text(encoding="utf-8"))
            self.known = {p: {k: float(s) for k, s in cells.items()} for p, cells in found.items()}

    def add(self, source: str, seconds: float) -> None:
        """A cell of this source took so long."""
        self.known.setdefault(self.preset, {})[_name(source)] = round(seconds, 3)
        if seconds >= WORTH_S:
            self.save()

    def save(self) -> None:
        """Write down what is known; a disk that refuses costs an estimate, not a run."""
        with suppress(Unwritable):
            write_whole(self.path, json.dumps(self.known, sort_keys=True))

    def left(self, sources: Sequence[str], done: int, within: float) -> float | None:
        """Seconds that the cells behind the first `done` ones need, the next of which ran for `within` already.

        As they took at this preset; else as at the preset that knows most, by how much longer the cells done took
        than there. None where fewer than half of them are known.
        """
        own, base = self.known.get(self.preset, {}), self._other()
        names = [_name(s) for s in sources]
        both = [n for n in names if n in own and n in base]
        there = sum(base[n] for n in both)
        ratio = sum(own[n] for n in both) / there if there > WORTH_S else None
        scaled = {} if ratio is None else {n: ratio * s for n, s in base.items()}
        expected = [own.get(n, scaled.get(n)) for n in names[done:]]
        known = [s for s in expected if s is not None]
        if 2 * len(known) < len(expected):
            return None
        mean = sum(known) / max(1, len(known))
        filled = [mean if s is None else s for s in expected]
        return sum(filled) - min(within, *filled[:1]) if filled else 0.0

    def _other(self) -> dict[str, float]:
        """Times at the other preset that knows the most cells."""
        return max((cells for p, cells in self.known.items() if p != self.preset), key=len, default={})


def _name(source: str) -> str:
    return hashlib.sha256(source.strip().encode()).hexdigest()[:16]
