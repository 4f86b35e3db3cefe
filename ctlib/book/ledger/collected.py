"""All that is known about the claims of a chapter: its claims file, its recorded runs and the build at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.claimfile import BOOK, read_book, read_claims
from ctlib.book.ledger.claims import from_notebook
from ctlib.book.ledger.kept import kept_in
from ctlib.book.ledger.standing import Verdict, standing
from ctlib.book.ledger.stored_runs import read_runs
from ctlib.book.project import PRESETS


@dataclass(frozen=True)
class ChapterLedger:
    """A chapter's claims and its runs, {preset: run}: recorded ones, and this build in the place of one at its preset.

    A run holds what a recorded one does (`stored_runs.FIELDS`), a built one no figures and no digest.
    """

    slug: str
    title: str
    paper: str
    claims: tuple[Claim, ...]
    runs: Mapping[str, Mapping]
    built: str = ""  # preset of the build at hand

    @property
    def records(self) -> dict[str, Mapping]:
        """Claim records by preset, then by id."""
        return {preset: run["claims"] for preset, run in self.runs.items()}

    @property
    def standings(self) -> dict[str, Verdict]:
        """Verdicts of record by claim id."""
        return {c.id: standing(c, self.records) for c in self.claims}


def ledgers(book: Path | str = BOOK, notebooks: Mapping[str, Mapping] | None = None) -> list[ChapterLedger]:
    """The ledger of every chapter with claims; `notebooks` are the executed ones of a build, by slug."""
    return [chapter_ledger(slug, Path(book), (notebooks or {}).get(slug)) for slug in read_book(book)]


def chapter_ledger(slug: str, book: Path, notebook: Mapping | None) -> ChapterLedger:
    """The ledger of one chapter."""
    paper, claims = read_claims(book / "claims" / f"{slug}.yml")
    found = read_runs(slug, book)
    built = ""
    if notebook:
        about = notebook.get("metadata", {}).get("ctlib", {})
        built = about.get("preset", PRESETS[0])
        found[built] = {**about, "claims": from_notebook(notebook), **kept_in(notebook)}
    runs = {preset: found[preset] for preset in PRESETS if preset in found}
    return ChapterLedger(slug, _title(book / f"{slug}.md"), paper, claims, runs, built)


def _title(source: Path) -> str:
    """The first heading of a chapter; its name where there is none."""
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    found = re.search(r"^# (.+)$", text, re.M)
    return found[1].strip() if found else source.stem
