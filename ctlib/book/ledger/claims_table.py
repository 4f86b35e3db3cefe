"""Claims as rows of an HTML table: what the paper says, what every run measured, and the one verdict that counts."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

from ctlib.book.ledger.badges import escaped, verdict_badge
from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.standing import NOT_MEASURED, Verdict
from ctlib.book.page.tables import measured

Runs = Mapping[str, Mapping[str, Mapping]]  # {title: {claim id: record}}


class ClaimsTable:
    """Claims against runs: HTML in Jupyter and on the page, one line a claim elsewhere.

    runs       one column each
    standings  {claim id: Verdict}: the verdicts of record
    preset     of the page, whose verdicts need no mention of a preset
    """

    def __init__(self, claims: Iterable[Claim], runs: Runs, standings: Mapping[str, Verdict], preset: str):
        self.claims, self.runs, self.standings, self.preset = list(claims), runs, standings, preset

    def _repr_html_(self) -> str:
        head = ["claim", "paper", *self.runs, "verdict"]
        return table_html(head, [self._row(claim) for claim in self.claims])

    def __repr__(self) -> str:
        return "\n".join(self._line(claim) for claim in self.claims)

    def _row(self, claim: Claim) -> str:
        values = [value_html(claim, run.get(claim.id)) for run in self.runs.values()]
        verdict = verdict_badge(claim, self.standings[claim.id], self.preset)
        return row_html(claim, [escaped(claim.paper), *values, verdict])

    def _line(self, claim: Claim) -> str:
        runs = {title: run[claim.id] for title, run in self.runs.items() if claim.id in run}
        values = [f"{title} {measured(record, claim.unit)}" for title, record in runs.items()]
        return f"{claim.id}: {'; '.join([f'paper {claim.paper}', *values])}; {self.standings[claim.id].verdict}"


def table_html(head: Iterable[str], rows: Iterable[str], kind: str = "ctlib-claims") -> str:
    """A table in a box of its own that scrolls; cells of `head` are texts, `rows` HTML."""
    titles = "".join(f'<th scope="col">{escaped(title)}</th>' for title in head)
    body = "\n".join(rows)
    table = f'<table class="ctlib-table {kind}"><thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table>'
    return f'<div class="ctlib-scroll">{table}</div>'


def row_html(claim: Claim, cells: Iterable[str], link: str = "", **data: str) -> str:
    """One claim as a row: its statement with the rule folded below it, then cells of HTML.

    link  to the cell that measured it;  data  attributes `data-...` of the row
    """
    statement = escaped(claim.statement)
    if link:
        statement = f'<a href="{html.escape(link, quote=True)}">{statement}</a>'
    about = f"<details><summary>measured how</summary>{rule_html(claim)}</details>"
    given = "".join(f' data-{key}="{html.escape(value, quote=True)}"' for key, value in data.items())
    first = f'<th scope="row">{statement} <small>({escaped(claim.where)})</small>{about}</th>'
    return f"<tr{given}>{first}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def rule_html(claim: Claim) -> str:
    """What is measured, when it counts, and why that is the rule."""
    if claim.reproduced is None:
        return f"Not testable: {escaped(claim.not_testable or '')}."
    reason = claim.reason[:1].upper() + claim.reason[1:]
    texts = [f"{claim.quantity}: {claim.criterion}", reason, *([f"Misprint: {claim.erratum}"] if claim.erratum else [])]
    return escaped(" ".join(f"{text.rstrip('.')}." for text in texts))


def value_html(claim: Claim, record: Mapping | None) -> str:
    """Value and spread that one run measured."""
    if claim.reproduced is None:
        return ""
    if record is None:
        return f"<small>{NOT_MEASURED}</small>"
    return f'<span class="ctlib-value">{escaped(measured(record, claim.unit))}</span>'
