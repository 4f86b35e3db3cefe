"""The scoreboard page: every claim of every chapter, every preset, every verdict, with counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ctlib.book.ledger.claimfile import BOOK, read_book
from ctlib.book.ledger.claims import from_notebook
from ctlib.book.ledger.claims_table import NOT_MEASURED, claims_table
from ctlib.book.ledger.criteria import UNTESTABLE, VERDICTS
from ctlib.book.ledger.stored_runs import read_runs
from ctlib.book.page.tables import Table, badge


def runs_of(slug: str, book: Path, notebook: Mapping | None) -> dict[str, dict]:
    """Claim records of a chapter by column title: this build first, then the recorded presets."""
    preset = (notebook or {}).get("metadata", {}).get("ctlib", {}).get("preset", "ci")
    built = {f"this build (`{preset}`)": from_notebook(notebook) if notebook else {}}
    return built | {f"recorded `{p}`": run["claims"] for p, run in read_runs(slug, book).items()}


def counts(claims, records: Mapping[str, Mapping]) -> Counter:
    """Verdicts of one run over the claims of a chapter; what a run did not measure counts as not measured."""
    verdicts = (
        UNTESTABLE if c.reproduced is None else records.get(c.id, {}).get("verdict", NOT_MEASURED) for c in claims
    )
    return Counter(verdicts)


def page(book_dir: Path | str = BOOK, notebooks: Mapping[str, Mapping] | None = None) -> str:
    """Markdown body of scoreboard.md: a table of counts, then one table of claims for each chapter.

    notebooks  {slug: executed notebook} of this build; a chapter without one shows its recorded runs alone
    """
    book, notebooks = Path(book_dir), notebooks or {}
    ledger = read_book(book)
    if not ledger:
        return "No chapter has a claims file yet."
    rows, parts = [], []
    for slug, claims in ledger.items():
        runs = runs_of(slug, book, notebooks.get(slug))
        name = f"{{doc}}`{slug}`" if (book / f"{slug}.md").is_file() else f"`{slug}`"
        for title, records in runs.items():
            tally = counts(claims, records)
            rows.append(
                [f"{{doc}}`{slug}`", title, *(str(tally[v]) for v in (*VERDICTS, NOT_MEASURED)), str(len(claims))]
            )
        parts += [f"## {name}", claims_table(claims, runs)._repr_markdown_()]
    head = ["chapter", "run", *(badge(v) for v in VERDICTS), NOT_MEASURED, "claims"]
    return "\n\n".join([Table(head, rows)._repr_markdown_(), *parts])
