"""The ledger of a chapter: what this page measured against what the paper says, with verdicts that are computed."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from ctlib.book.ledger.claim import Claim, Values
from ctlib.book.ledger.claimfile import BOOK, read_book, read_claims
from ctlib.book.ledger.claims_table import NOT_MEASURED, claims_table
from ctlib.book.ledger.criteria import ERRATUM, SEEN, UNTESTABLE, VERDICTS, Band
from ctlib.book.ledger.kept import curve_of, keep_steps, keep_values, numbers_of, say
from ctlib.book.ledger.outcomes import ClaimFailed, asked
from ctlib.book.ledger.stored_runs import read_runs
from ctlib.book.ledger.verdicts import record_of
from ctlib.book.page.output import CLAIM_MIME, COLLECTOR, Collector, emit
from ctlib.book.page.tables import Table, measured
from ctlib.book.project import Project
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
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get(CLAIM_MIME)
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

        values  a number, one per seed or, of a claim with `equivalence`, {row: paired differences}
        curves  {"method, seed": (steps, values)}: validation curves, for a claim with `settles`
        """
        claim = self._claim(claim_id)
        record = record_of(claim, self._values(claim, values), self.preset, self._curves(claim, curves))
        if self.claims is None:
            record["verdict"] = None
        self.records[claim_id] = record
        if (collector := COLLECTOR.get()) is not None:
            collector.claims[claim_id] = record
        row = f"{claim_id}: {measured(record, claim.unit)}  {record['verdict'] or 'recorded'}"
        emit(row, {CLAIM_MIME: {"id": claim_id, **record}})

    def _values(self, claim: Claim, values: object) -> Values:
        """The values of a check in the form that its claim asks for."""
        rows = isinstance(values, Mapping)
        if self.claims is not None and rows != (claim.equivalence is not None):
            needed = "{row: paired differences}" if claim.equivalence else "a number or one number per seed"
            raise ArgumentError(f"values of {claim.id}", repr(values)[:80], needed)
        if not rows:
            return numbers_of(claim.id, values)
        if not values:
            raise ArgumentError(f"values of {claim.id}", "no row", "at least one row")
        return {str(row): numbers_of(f"{claim.id}, {row}", given) for row, given in values.items()}

    def _curves(self, claim: Claim, curves: Mapping | None) -> dict | None:
        """The curves behind a check, each named "method, seed"."""
        if claim.settles and not curves:
            raise ArgumentError(f"curves of {claim.id}", repr(curves), "a curve per method and seed: it has `settles`")
        if not curves:
            return None
        names = {key: key if isinstance(key, str) else ", ".join(map(str, key)) for key in curves}
        return {names[key]: curve_of(f"{claim.id}, {names[key]}", *curve) for key, curve in curves.items()}

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
        if self.claims is None:
            return Claim(claim_id, "", "", "")
        if claim_id not in self.claims:
            known = ", ".join(c.id for c in self.claims.values() if c.reproduced)
            raise ArgumentError("claim id", repr(claim_id), f"one of book/claims/{self.slug}.yml: {known}")
        if self.claims[claim_id].reproduced is None:
            raise ArgumentError("claim id", repr(claim_id), "a testable claim; this one says `not_testable`")
        return self.claims[claim_id]

    def verify(self) -> None:
        """Print one line a claim, the same on every machine; at `ci` raise ClaimFailed for what must hold and fails.

        `holds` is a claim the page relies on, with the verdict asked for; `recorded` is one whose verdict, in the
        table, is a result: it may fall on either side of a band when the machine changes. A claim that only larger
        presets measure names them, and must be in a recorded run of one of them.
        """
        if self.claims is None:
            print(f"{len(self.records)} claims recorded; verdicts need PyYAML")
            return
        problems, runs = [], read_runs(self.slug, self.book)
        for claim in self.claims.values():
            verdict = self.verdict(claim.id)
            why = f" ({claim.not_testable})" if claim.not_testable else ""
            state = verdict if claim.not_testable else "recorded"
            elsewhere = any(claim.id in run["claims"] for preset, run in runs.items() if preset in claim.only)
            if verdict == NOT_MEASURED and self.preset not in claim.only and elsewhere:
                state = f"at {', '.join(claim.only)}"
            elif verdict == NOT_MEASURED:
                state = NOT_MEASURED
                problems.append(f"{claim.id}: not measured")
            elif claim.erratum and verdict != SEEN:
                state = ERRATUM if verdict == ERRATUM else "FAILS"
            elif claim.expect:
                state = "holds" if self._guarded(claim) in claim.expect else "FAILS"
            elif verdict == SEEN:
                state = SEEN
            if state == "FAILS":
                got, wanted = measured(self.records[claim.id], claim.unit), claim.expect or (ERRATUM,)
                problems.append(f"{claim.id}: {self._guarded(claim)}, expected {' or '.join(wanted)}; measured {got}")
            line = f"{state:14s}  {claim.id}: {claim.statement}{why}"
            print(textwrap.fill(line, 82, subsequent_indent=" " * 16, break_long_words=False, break_on_hyphens=False))
        if problems and self.preset == "ci":
            raise ClaimFailed(f"{self.slug}: " + "; ".join(problems))

    def _guarded(self, claim: Claim) -> str:
        """What `expect` goes by: the verdict or, below `needs`, what the criterion says of values that judge nothing.

        So a small preset guards the direction of an effect whose verdict is left to a larger one.
        """
        record = self.records[claim.id]
        if record["verdict"] != SEEN:
            return record["verdict"]
        return claim.judged(record.get("rows", record["values"]))

    def verdict(self, claim_id: str) -> str:
        """Verdict of one claim on this page; `not measured` before its check."""
        if self.claims[claim_id].reproduced is None:
            return UNTESTABLE
        return self.records[claim_id]["verdict"] if claim_id in self.records else NOT_MEASURED

    def table(self) -> Table:
        """Paper against this page: value and spread, recorded presets, tolerance with its reason, verdict."""
        if self.claims is None:
            return Table(["claim", "this page"], [[k, measured(r)] for k, r in self.records.items()])
        runs = {p: r["claims"] for p, r in read_runs(self.slug, self.book).items()}
        columns = {f"this page (`{self.preset}`)": self.records, **{f"recorded `{p}`": c for p, c in runs.items()}}
        return claims_table(self.claims.values(), columns)
