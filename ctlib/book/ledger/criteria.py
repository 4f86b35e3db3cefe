"""When a measured value counts: bands, equivalence by two one-sided tests, and curves that have settled."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REPRODUCED, DIRECTION, FAILED, UNTESTABLE = "reproduced", "direction only", "not reproduced", "not testable"
UNSETTLED, ERRATUM, SEEN = "unsettled", "erratum", "seen"
VERDICTS = (REPRODUCED, DIRECTION, FAILED, UNSETTLED, ERRATUM, UNTESTABLE, SEEN)

Curve = tuple[Sequence[float], Sequence[float]]  # steps, values


@dataclass(frozen=True)
class Band:
    """Closed interval [low, high] on a measured value; either end may be open."""

    low: float = -math.inf
    high: float = math.inf

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        ends = [f"≥ {self.low:g}"] * (self.low > -math.inf) + [f"≤ {self.high:g}"] * (self.high < math.inf)
        return " and ".join(ends)


INTERVAL = "95 %"  # of an interval that a page hands over


def interval_verdict(band: Band, values: Sequence[float]) -> str:
    """What an interval (lower end, mean, upper end) says of a band.

    Reproduced: all of it lies inside. Not reproduced: all of it lies outside. Unsettled: it holds both; or it has no
    width, as that of a single body and training, which shows nothing.
    """
    if not is_interval(values) or values[0] == values[-1]:
        return UNSETTLED
    low, _, high = values
    if band.holds(low) and band.holds(high):
        return REPRODUCED
    return FAILED if high < band.low or low > band.high else UNSETTLED


def is_interval(values: Sequence[float]) -> bool:
    """Whether values are the lower end, the mean and the upper end of an interval, in that order."""
    return len(values) == 3 and values[0] <= values[1] <= values[2]


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests of paired differences, row by row: is the mean difference within (-margin, margin)?

    level  of each test; every row must pass, so that no correction for their number is needed
    """

    margin: float
    level: float = 0.05

    def tail(self, differences: Sequence[float], at: float) -> float:
        """p-value of Student's one-sided test that the mean lies below `at`; 1 for fewer than two differences."""
        from scipy.stats import t

        n = len(differences)
        if n < 2:
            return 1.0
        away, error = statistics.fmean(differences) - at, statistics.stdev(differences) / math.sqrt(n)
        if error == 0.0:
            return 0.0 if away < 0 else 1.0
        return float(t.cdf(away / error, n - 1))

    def p_value(self, differences: Sequence[float]) -> float:
        """The larger p-value of the two tests: below `level` the row is equivalent."""
        return max(self.tail(differences, self.margin), self.tail([-d for d in differences], self.margin))

    def verdict(self, rows: Mapping[str, Sequence[float]]) -> str:
        """Reproduced: every row equivalent. Not reproduced: one shown to lie outside. Unsettled: neither is shown."""
        if all(self.p_value(d) < self.level for d in rows.values()):
            return REPRODUCED
        alone = self.level / len(rows)  # any one row may show it: Bonferroni
        outside = (
            min(self.tail(d, -self.margin), self.tail([-x for x in d], -self.margin)) < alone for d in rows.values()
        )
        return FAILED if any(outside) else UNSETTLED

    def __str__(self) -> str:
        return f"every row within ±{self.margin:g}, two one-sided tests at level {self.level:g}"


@dataclass(frozen=True)
class Settles:
    """A verdict that rests on training: every validation curve has to be flat, measured by the verdict's difference.

    share    of |median - neutral| that a curve may still gain in the last third of its steps
    neutral  the claim's value that would mean no difference: 0 for a difference, 1 for a ratio
    within   in place of both: a gain in the curves' unit, where the claim's value has another, such as a count
    better   "higher" or "lower": which values of the curves are good
    window   of the running median that takes single outliers away [points], odd
    """

    share: float
    neutral: float = 0.0
    better: str = "higher"
    window: int = 3
    within: float | None = None

    def allowed(self, values: Sequence[float]) -> float:
        """The gain that a curve may still show, for these values of the claim."""
        return self.share * abs(statistics.median(values) - self.neutral) if self.within is None else self.within

    def gain(self, curve: Curve) -> float:
        """Best of the whole curve minus best of its first two thirds, after a running median; nan if not finite."""
        steps, values = curve
        sign = 1.0 if self.better == "higher" else -1.0
        if not all(map(math.isfinite, values)):
            return math.nan
        smooth = running_median([sign * v for v in values], self.window)
        early = [v for step, v in zip(steps, smooth, strict=True) if step <= steps[-1] * 2 / 3]
        return max(smooth) - max(early)

    def holds(self, values: Sequence[float], curves: Mapping[str, Curve] | None) -> bool:
        """Whether there are curves and every one is flat enough."""
        allowed = self.allowed(values)
        return bool(curves) and all(self.gain(c) <= allowed for c in curves.values())

    def __str__(self) -> str:
        amount = f"{self.share:g} of the difference" if self.within is None else f"{self.within:g}"
        return f"curves gain at most {amount} in their last third"


def running_median(values: Sequence[float], window: int) -> list[float]:
    """Median over `window` points around each one; fewer, as many on either side, towards the ends."""
    half, last = window // 2, len(values) - 1
    reaches = (min(half, i, last - i) for i in range(len(values)))
    return [statistics.median(values[i - r : i + r + 1]) for i, r in enumerate(reaches)]
