"""Interleaved timing: every round calls every contestant once, A B C A B C, so that a busy machine hits all alike."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

LIMIT_S = 12.0  # a call expected to take longer is left out, and the record says so


@dataclass
class Contestant:
    """One call to time, after a pause; `labels` are the record's other columns."""

    engine: str
    call: Callable[[], object]
    labels: dict
    pause_s: float = 0.0


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compete(contestants: list[Contestant], budget_s: float, rounds: tuple[int, int] = (3, 15)) -> list[dict]:
    """Records with median, lowest and highest time of every contestant; ratios are to the first one.

    budget_s  rough time for the whole group; decides the number of rounds within the two bounds
    """
    once = [seconds(c.call) for c in contestants]  # compiled, cached, paged in
    once = sum(t if t > 2 else seconds(c.call) for t, c in zip(once, contestants, strict=True))
    num = int(min(max(budget_s / max(once, 1e-9), rounds[0]), rounds[1]))
    times = [[] for _ in contestants]
    for _ in range(num):
        for t, c in zip(times, contestants, strict=True):
            time.sleep(c.pause_s)
            t.append(1e3 * seconds(c.call))
    first = statistics.median(times[0])
    return [record(c, t, first) for c, t in zip(contestants, times, strict=True)]


def record(c: Contestant, times_ms: list[float], reference_ms: float) -> dict:
    """The row of one contestant, figures with four digits."""
    median = statistics.median(times_ms)
    figures = {
        "median_ms": median, "low_ms": min(times_ms), "high_ms": max(times_ms), "ratio": median / reference_ms,
    }  # fmt: skip
    rounded = {name: float(f"{value:.4g}") for name, value in figures.items()}
    return {**c.labels, "engine": c.engine, **rounded, "rounds": len(times_ms)}
