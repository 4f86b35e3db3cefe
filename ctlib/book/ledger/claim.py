"""One claim of a paper and the verdict that measured values earn it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ctlib.book.ledger.criteria import (
    DIRECTION,
    ERRATUM,
    FAILED,
    INTERVAL,
    REPRODUCED,
    SEEN,
    UNSETTLED,
    UNTESTABLE,
    Band,
    Curve,
    Equivalence,
    Settles,
    interval_verdict,
)
from ctlib.book.project import PRESETS

Values = Iterable[float] | Mapping[str, list[float]]  # one per seed, or rows of paired differences


@dataclass(frozen=True)
class Claim:
    """One claim of a paper with the criterion under which it counts as reproduced.

    only         presets that measure it; a small one may not be able to
    needs        smallest preset that may carry a verdict: below it a value is seen, and judges nothing
    settles      what the curves of the trainings behind it must show
    equivalence  tested in place of the band; `reproduced` then holds the margin on the mean of a row
    interval     its values are the lower end, the mean and the upper end of a 95 % interval, judged as a whole
    erratum      what is misprinted: values inside `reproduced` are the check that shows it
    """

    id: str
    statement: str
    where: str
    paper: str
    quantity: str = ""
    unit: str = ""
    reproduced: Band | None = None
    direction: Band | None = None
    reason: str = ""
    expect: tuple[str, ...] = ()
    only: tuple[str, ...] = PRESETS
    not_testable: str | None = None
    needs: str = PRESETS[0]
    settles: Settles | None = None
    equivalence: Equivalence | None = None
    interval: bool = False
    erratum: str = ""

    def verdict(self, values: Values, preset: str | None = None, curves: Mapping[str, Curve] | None = None) -> str:
        """What values measured at a preset say.

        values  one number per seed; {row: paired differences} for `equivalence`; the three of an `interval`
        preset  None: one that may carry the verdict;  curves  those behind the values, by method and seed
        """
        if self.reproduced is None:
            return UNTESTABLE
        if not self.carried_by(preset):
            return SEEN
        judged, numbers = self.judged(values), one_each(values)
        if self.erratum:
            return ERRATUM if judged == REPRODUCED else UNSETTLED
        if self.settles and all(map(math.isfinite, numbers)) and not self.settles.holds(numbers, curves):
            return UNSETTLED
        return judged

    def carried_by(self, preset: str | None) -> bool:
        """Whether values of a preset may be judged; of a run with other parameters as little as at the smallest."""
        at = PRESETS.index(preset) if preset in PRESETS else 0
        return preset is None or at >= PRESETS.index(self.needs)

    def judged(self, values: Values) -> str:
        """Every value inside `reproduced`: reproduced; median inside `direction`: direction only; else not.

        Of an `interval` and of an `equivalence` what `interval_verdict` and `Equivalence.verdict` say.
        """
        numbers = one_each(values)
        if not numbers or not all(math.isfinite(v) for v in numbers):
            return FAILED
        if self.equivalence:
            return self.equivalence.verdict(values) if isinstance(values, Mapping) else UNSETTLED
        if self.interval:
            return interval_verdict(self.reproduced, numbers)
        if all(self.reproduced.holds(v) for v in numbers):
            return REPRODUCED
        return DIRECTION if (self.direction or self.reproduced).holds(statistics.median(numbers)) else FAILED

    @property
    def criterion(self) -> str:
        """The rule in words, as tables show it."""
        if self.reproduced is None:
            return f"not testable: {self.not_testable}"
        asked = f"whole {INTERVAL} interval {self.reproduced}" if self.interval else str(self.reproduced)
        parts = [str(self.equivalence or asked), *([str(self.settles)] if self.settles else [])]
        return "; ".join([*parts, *([f"judged from preset {self.needs} on"] if self.needs != PRESETS[0] else [])])


def one_each(values: Values) -> list[float]:
    """The numbers of a claim: one per seed, or the mean of every row."""
    if isinstance(values, Mapping):
        return [_mean(row) for row in values.values()]
    return [float(v) for v in values]


def _mean(row: Sequence[float]) -> float:
    """The mean of a row; nan where it is not finite."""
    try:
        return statistics.fmean(row)
    except (ValueError, OverflowError):  # infinities of both signs, sums beyond the largest number
        return math.nan
