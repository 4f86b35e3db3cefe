"""The verdict of record: of all presets at which a claim was measured, the one that the largest gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.claimfile import BOOK, read_claims
from ctlib.book.ledger.criteria import UNTESTABLE
from ctlib.book.ledger.packed import unpacked
from ctlib.book.ledger.stored_runs import read_runs
from ctlib.book.ledger.verdicts import judged_again
from ctlib.book.project import PRESETS, Project

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Verdict:
    """What counts for one claim.

    verdict  one of VERDICTS, or `not measured`
    preset   at which it was measured; empty where nothing was
    record   {"values", "median", "min", "max", "verdict"}; None where nothing was measured
    """

    verdict: str
    preset: str = ""
    record: Mapping | None = None


def of_record(slug: str, book: Path | str = BOOK, page: Mapping[str, Mapping] | None = None) -> dict[str, Verdict]:
    """{claim id: Verdict} of a chapter: that of the largest preset at which the claim was recorded.

    page  records by id of a run of the chapter's own values (`ci`); by default those that its reference, the notebook
          the tests compare with, holds in its metadata
    """
    claims = read_claims(Path(book, "claims", f"{slug}.yml"))[1]
    runs = {PRESETS[0]: referenced(slug, book) if page is None else page}
    runs |= {preset: run["claims"] for preset, run in read_runs(slug, book).items()}
    return {c.id: standing(c, runs) for c in claims}


def standing(claim: Claim, runs: Mapping[str, Mapping[str, Mapping]]) -> Verdict:
    """The verdict of record of one claim, from {preset: {claim id: record}}."""
    if claim.reproduced is None:
        return Verdict(UNTESTABLE)
    for preset in reversed(PRESETS):
        if record := runs.get(preset, {}).get(claim.id):
            again = judged_again(claim, record, preset)
            return Verdict(again["verdict"], preset, again)
    return Verdict(NOT_MEASURED)


def referenced(slug: str, book: Path | str = BOOK) -> dict[str, dict]:
    """Claim records at `ci` that a chapter's reference holds in its metadata; {} where there is none."""
    path = Project(Path(book).parent).reference / f"{slug}.ipynb"
    try:
        return unpacked(json.loads(path.read_text(encoding="utf-8"))["metadata"].get("ctlib", {}).get("claims", {}))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}
