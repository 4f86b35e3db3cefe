"""Claims as rows of a table, one column per run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.criteria import UNTESTABLE
from ctlib.book.page.tables import Table, badge, measured

NOT_MEASURED = "not measured"


def cell(claim: Claim, record: Mapping | None) -> str:
    """What one run says about a claim: value, spread and verdict."""
    if claim.reproduced is None:
        return badge(UNTESTABLE)
    if record is None:
        return NOT_MEASURED
    return f"{measured(record, claim.unit)} {badge(record['verdict'])}"


def claims_table(claims: Iterable[Claim], columns: Mapping[str, Mapping[str, Mapping]]) -> Table:
    """One row per claim, one column per run: {column title: {claim id: record}}."""
    rows = []
    for c in claims:
        reason = c.reason[:1].upper() + c.reason[1:]
        rule = f"{c.quantity}: {c.reproduced}. {reason}" if c.reproduced else f"Not testable: {c.not_testable}"
        values = [cell(c, records.get(c.id)) for records in columns.values()]
        rows.append([f"{c.statement} ({c.where})", c.paper, *values, rule])
    return Table(["claim", "paper", *columns, "reproduced if"], rows)
