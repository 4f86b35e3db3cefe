"""The ledger of a chapter: what this page measured against what the paper says, with verdicts that are computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path

from ctlib.book.ledger.badges import claim_badge
from ctlib.book.ledger.claim import Claim, Values
from ctlib.book.ledger.claimfile import BOOK, read_book, read_claims
from ctlib.book.ledger.claims_table import ClaimsTable
from ctlib.book.ledger.criteria import UNTESTABLE, VERDICTS, Band, is_interval
from ctlib.book.ledger.kept import curves_behind, keep_steps, keep_values, numbers_of, say
from ctlib.book.ledger.outcomes import ClaimFailed, asked
from ctlib.book.ledger.standing import NOT_MEASURED, standing
from ctlib.book.ledger.stored_runs import read_runs
from ctlib.book.ledger.summary import state_of, summary_html, summary_text
from ctlib.book.ledger.verdicts import record_of
from ctlib.book.page import output
from ctlib.book.page.output import CLAIM_MIME, COLLECTOR, Collector, emit
from ctlib.book.page.tables import Table, measured
from ctlib.book.project import PRESETS, Project
from ctlib.book.session import preset_of
from ctlib.errors import ArgumentError

__all__ = [
    "BOOK",
    "COLLECTOR",
    "VERDICTS",
    "Band",
    "Claim",
    "ClaimFailed",
    "Collector",
    "Ledger",
    "from_notebook",
    "read_book",
    "read_claims",
]


def from_notebook(nb: Mapping) -> dict[str, dict]:
    """Claim records by id that an executed notebook holds (the last one, where a claim was checked twice)."""
    found = {}
    for cell in nb["cells"]:
        for shown in cell.get("outputs", []):
            data = shown.get("data", {}).get(CLAIM_MIME)
            if data:
                found[data["id"]] = {k: v for k, v in data.items() if k != "id"}
    return found


class Ledger:
    """Claims of one chapter: `check` measures, `table` shows, `verify` states the verdicts and raises.

    slug  name of the chapter and of its claims file, book/claims/<slug>.yml
    """

    def __init__(self, slug: str, book: Path | str = BOOK):
        self.slug, self.book = slug, Path(book)
        self.preset = preset_of(slug, Project(self.book.parent))
        self.records: dict[str, dict] = {}
        try:
            self.paper, claims = read_claims(self.book / "claims" / f"{slug}.yml")
        except ImportError:  # a bare machine: values are recorded, verdicts computed later by `judge`
            self.paper, claims = "", None
        self.claims = None if claims is None else {c.id: c for c in claims}

    def check(self, claim_id: str, values: object, curves: Mapping | None = None) -> None:
        """Record the measured value (or one per seed) of a claim; shows one row with digits and the verdict.

        values  a number, one per seed; of a claim with `equivalence` {row: paired differences}, of one with `interval`
                its lower end, mean and upper end
        curves  {"method, seed": (steps, values)}: validation curves, for a claim with `settles`
        """
        claim = self._claim(claim_id)
        if claim.not_testable:
            raise ArgumentError("claim id", repr(claim_id), "a testable claim; this one says `not_testable`")
        record = record_of(claim, self._values(claim, values), self.preset, self._curves(claim, curves))
        if self.claims is None:
            record["verdict"] = None
        self.records[claim_id] = record
        if (collector := COLLECTOR.get()) is not None:
            collector.claims[claim_id] = record
        row = f"{claim_id}: {measured(record, claim.unit)}  {record['verdict'] or 'recorded'}"
        emit(row, {CLAIM_MIME: {"id": claim_id, **record}, **self._badge(claim, record)})

    def check_all(self, claims: Iterable[tuple[str, object, Mapping | None]]) -> None:
        """`check` every claim of (its id, values, curves); without curves where no training is behind it."""
        for claim_id, values, curves in claims:
            self.check(claim_id, values, curves)

    def _badge(self, claim: Claim, record: dict) -> dict[str, str]:
        """The check as HTML, with the verdict of record where a larger preset has one; nothing on a bare machine."""
        if self.claims is None or not output.in_kernel():
            return {}
        shown = standing(claim, self._with_page({claim.id: record}))
        return {"text/html": claim_badge(claim, record, self.preset, shown)}

    def _with_page(self, records: Mapping[str, Mapping]) -> dict[str, Mapping]:
        """Claim records by preset: recorded runs, and this page in the place of an older run at its preset."""
        at = self.preset if self.preset in PRESETS else PRESETS[0]
        recorded = {preset: run["claims"] for preset, run in self.recorded.items()}
        return recorded | {at: {**recorded.get(at, {}), **records}}

    @cached_property
    def recorded(self) -> dict[str, dict]:
        """Recorded runs of the chapter by preset, as they were when first asked for."""
        return read_runs(self.slug, self.book)

    def _values(self, claim: Claim, values: object) -> Values:
        """The values of a check in the form that its claim asks for."""
        rows = isinstance(values, Mapping)
        if self.claims is not None and rows != (claim.equivalence is not None):
            needed = "{row: paired differences}" if claim.equivalence else "a number or one number per seed"
            raise ArgumentError(f"values of {claim.id}", repr(values)[:80], needed)
        if not rows:
            numbers = numbers_of(claim.id, values)
            if claim.interval and all(map(math.isfinite, numbers)) and not is_interval(numbers):
                needed = "lower end, mean and upper end of its interval, in this order"
                raise ArgumentError(f"values of {claim.id}", repr(numbers)[:80], needed)
            return numbers
        if not values:
            raise ArgumentError(f"values of {claim.id}", "no row", "at least one row")
        if len(set(map(str, values))) < len(values):
            raise ArgumentError(f"values of {claim.id}", f"rows {list(values)}", "rows of different names")
        return {str(row): numbers_of(f"{claim.id}, {row}", given) for row, given in values.items()}

    def _curves(self, claim: Claim, curves: Mapping | None) -> dict | None:
        """The curves behind a check, each named "method, seed"."""
        if claim.settles and not curves:
            raise ArgumentError(f"curves of {claim.id}", repr(curves), "a curve per method and seed: it has `settles`")
        return curves_behind(claim.id, curves) if curves else None

    def keep(self, name: str, values: object, unit: str = "") -> None:
        """Record an absolute value, or one per seed or patient, beside the claims: a ratio alone cannot be compared."""
        keep_values(name, values, unit)

    def keep_curve(self, name: str, steps: object, values: object, unit: str = "") -> None:
        """Record a curve: values at rising steps."""
        keep_steps(name, steps, values, unit)

    def say(self, *cases: tuple[object, str] | str) -> None:
        """Show the first sentence whose condition holds: `say((gain > 0, "It gains."), "It does not.")`; recorded."""
        say(cases)

    def expect(self, statement: str, holds: object) -> None:
        """An outcome of the experiment that the text relies on: raises ClaimFailed at `ci`, is told elsewhere."""
        asked(self.preset, statement, holds)

    def _claim(self, claim_id: str) -> Claim:
        """A claim of this chapter; on a bare machine what stands for one."""
        if self.claims is None:
            return Claim(claim_id, "", "", "")
        if claim_id not in self.claims:
            known = ", ".join(c.id for c in self.claims.values() if c.reproduced)
            raise ArgumentError("claim id", repr(claim_id), f"one of book/claims/{self.slug}.yml: {known}")
        return self.claims[claim_id]

    def verify(self) -> None:
        """Show how many claims hold, are recorded, seen, ...; at `ci` raise ClaimFailed for what must hold and fails.

        The same on every machine. `holds` is a claim the page relies on, with the verdict asked for; `recorded` is one
        whose verdict, in the table, is a result: it may fall on either side of a band when the machine changes. A
        claim that only larger presets measure names them, and must be in a recorded run of one of them.
        """
        if self.claims is None:
            print(f"{len(self.records)} claims recorded; verdicts need PyYAML")
            return
        states = [
            state_of(
                c, self.records.get(c.id), self.preset, [p for p, run in self.recorded.items() if c.id in run["claims"]]
            )
            for c in self.claims.values()
        ]
        emit(summary_text(states), {"text/html": summary_html(states)})
        problems = [state.problem for state in states if state.problem]
        if problems and self.preset == PRESETS[0]:
            raise ClaimFailed(f"{self.slug}: " + "; ".join(problems))

    def verdict(self, claim_id: str) -> str:
        """Verdict of one claim on this page; `not measured` before its check."""
        if self._claim(claim_id).not_testable:
            return UNTESTABLE
        return self.records[claim_id]["verdict"] if claim_id in self.records else NOT_MEASURED

    def table(self) -> ClaimsTable | Table:
        """Paper against this page and its recorded runs: value and spread, rule with its reason, verdict of record."""
        if self.claims is None:
            return Table(["claim", "this page"], [[k, measured(r)] for k, r in self.records.items()])
        columns = {f"this page ({self.preset})": self.records}
        columns |= {f"recorded {preset}": run["claims"] for preset, run in self.recorded.items()}
        runs = self._with_page(self.records)
        standings = {c.id: standing(c, runs) for c in self.claims.values()}
        return ClaimsTable(self.claims.values(), columns, standings, self.preset)
