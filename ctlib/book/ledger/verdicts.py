"""Records of claims: measured values, their statistics, and the verdict that the claims file gives them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

from ctlib.book.ledger.claim import Claim, Values, one_each
from ctlib.book.ledger.claimfile import BOOK, read_claims
from ctlib.book.ledger.criteria import Curve
from ctlib.errors import ArgumentError


def portable(value: float) -> float | str:
    """A float as JSON can hold it: non-finite ones become "nan", "inf", "-inf"; `float()` reads them back."""
    return value if math.isfinite(value) else str(value)


def record_of(
    claim: Claim, values: Values, preset: str | None = None, curves: Mapping[str, Curve] | None = None
) -> dict:
    """{"values", "median", "min", "max", "verdict"} of one claim: what a notebook and a recorded run store.

    values  one number per seed, or {row: paired differences}, kept as "rows" beside the mean of every row
    preset  at which they were measured; None: one that may carry the verdict
    curves  {"method, seed": (steps, values)} behind them, kept as "curves"
    """
    if isinstance(values, Mapping):
        values = {str(row): [float(v) for v in given] for row, given in values.items()}
    numbers = one_each(values)
    finite = bool(numbers) and all(math.isfinite(v) for v in numbers)
    stats = (statistics.median(numbers), min(numbers), max(numbers)) if finite else (math.nan,) * 3
    median, low, high = (portable(float(s)) for s in stats)
    verdict = claim.verdict(values if isinstance(values, Mapping) else numbers, preset, curves)
    record = {"values": [portable(v) for v in numbers], "median": median, "min": low, "max": high, "verdict": verdict}
    if claim.interval:
        record["interval"] = True
    if isinstance(values, Mapping):
        record["rows"] = {row: [portable(v) for v in given] for row, given in values.items()}
    if curves:
        record["curves"] = {key: curve_record(*curve) for key, curve in curves.items()}
    return record


def curve_record(steps: list, values: list) -> dict:
    """{"steps", "values"} of one curve, as JSON can hold it."""
    return {"steps": [portable(s) for s in steps], "values": [portable(v) for v in values]}


def evidence(record: Mapping) -> tuple[Values, dict[str, Curve]]:
    """(values or rows, curves) of a record, as numbers again."""
    rows, kept = record.get("rows"), record.get("curves") or {}
    values = [*map(float, record["values"])]
    if rows is not None:
        values = {row: [*map(float, given)] for row, given in rows.items()}
    return values, {key: ([*map(float, c["steps"])], [*map(float, c["values"])]) for key, c in kept.items()}


def judged_again(claim: Claim, record: Mapping, preset: str | None = None) -> dict:
    """The record that its own values, rows and curves give under the present claim."""
    values, curves = evidence(record)
    return record_of(claim, values, preset, curves)


def judge(
    slug: str, values: Mapping[str, Values], book: Path | str = BOOK, preset: str | None = None
) -> dict[str, dict]:
    """Claim records for measured values by id, at a preset; None: one that may carry every verdict."""
    claims = _known(slug, values, book)
    return {name: record_of(claims[name], given, preset) for name, given in values.items()}


def judge_again(slug: str, records: Mapping[str, Mapping], preset: str, book: Path | str = BOOK) -> dict[str, dict]:
    """Records under the present claims file: how a run without PyYAML gets its verdicts afterwards."""
    claims = _known(slug, records, book)
    return {name: judged_again(claims[name], record, preset) for name, record in records.items()}


def _known(slug: str, names: Iterable[str], book: Path | str) -> dict[str, Claim]:
    claims = {c.id: c for c in read_claims(Path(book, "claims", f"{slug}.yml"))[1]}
    for name in names:
        if name not in claims:
            raise ArgumentError("claim id", repr(name), f"one of book/claims/{slug}.yml: {', '.join(claims)}")
    return claims
