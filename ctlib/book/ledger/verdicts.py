"""Records of claims: measured values, their statistics, and the verdict that the claims file gives them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from ctlib.book.ledger.claimfile import BOOK, Claim, read_claims
from ctlib.errors import ArgumentError


def portable(value: float) -> float | str:
    """A float as JSON can hold it: non-finite ones become "nan", "inf", "-inf"; `float()` reads them back."""
    return value if math.isfinite(value) else str(value)


def record_of(claim: Claim, values: Iterable[float]) -> dict:
    """{"values", "median", "min", "max", "verdict"} of one claim: what a notebook and a recorded run store."""
    numbers = [float(v) for v in values]
    finite = bool(numbers) and all(math.isfinite(v) for v in numbers)
    stats = (statistics.median(numbers), min(numbers), max(numbers)) if finite else (math.nan,) * 3
    median, low, high = (portable(float(s)) for s in stats)
    values = [portable(v) for v in numbers]
    return {"values": values, "median": median, "min": low, "max": high, "verdict": claim.verdict(numbers)}


def judge(slug: str, values: Mapping[str, Iterable[float]], book: Path | str = BOOK) -> dict[str, dict]:
    """Claim records for measured values by id: how a run without PyYAML gets its verdicts afterwards."""
    claims = {c.id: c for c in read_claims(Path(book, "claims", f"{slug}.yml"))[1]}
    for name in values:
        if name not in claims:
            raise ArgumentError("claim id", repr(name), f"one of book/claims/{slug}.yml: {', '.join(claims)}")
    return {name: record_of(claims[name], vs) for name, vs in values.items()}
