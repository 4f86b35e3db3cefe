"""The scoreboard page: every claim of every chapter with the verdict that counts, and where it was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from ctlib.book.ledger.badges import anchor, escaped, verdict_badge
from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.claims_table import row_html, table_html, value_html
from ctlib.book.ledger.collected import ChapterLedger, ledgers
from ctlib.book.ledger.criteria import VERDICTS
from ctlib.book.ledger.export import EXPORT, SCHEMA, crate_name
from ctlib.book.ledger.standing import NOT_MEASURED, Verdict

STATIC = "../_static"  # of the built book, seen from the page


def page(book_dir: Path | str, notebooks: Mapping[str, Mapping] | None = None) -> str:
    """Markdown body of scoreboard.md: a table of counts, then one table of claims for each chapter.

    notebooks  {slug: executed notebook} of this build; a chapter without one shows its recorded runs alone
    """
    return body(ledgers(book_dir, notebooks), Path(book_dir))


def body(chapters: list[ChapterLedger], book: Path) -> str:
    """The same of chapters that are collected already."""
    if not chapters:
        return "No chapter has a claims file yet."
    parts = [_counts(chapters), _raw(_files())]
    for chapter in chapters:
        known = (book / f"{chapter.slug}.md").is_file()
        parts += [f"## {{doc}}`{chapter.slug}`" if known else f"## {chapter.title}", _raw(_chapter(chapter))]
    return "\n\n".join(parts)


def _raw(text: str) -> str:
    """HTML that Sphinx hands on as it is."""
    return f"```{{raw}} html\n{text}\n```"


def _counts(chapters: list[ChapterLedger]) -> str:
    """Claims by verdict of record, chapter by chapter."""
    rows = [_row(c.title, f"{c.slug}.html", c.standings.values()) for c in chapters]
    rows.append(_row("all chapters", "", [v for c in chapters for v in c.standings.values()]))
    return _raw(table_html(["chapter", "claims", *VERDICTS, NOT_MEASURED], rows, "ctlib-counts"))


def _row(title: str, link: str, standings: Iterable[Verdict]) -> str:
    tally = Counter(v.verdict for v in standings)
    name = f'<a href="{link}">{escaped(title)}</a>' if link else escaped(title)
    cells = [tally.total(), *(tally[v] or "" for v in (*VERDICTS, NOT_MEASURED))]
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def _files() -> str:
    links = f'<a href="{STATIC}/{EXPORT}">{EXPORT}</a>, in the form of <a href="{STATIC}/{SCHEMA}">{SCHEMA}</a>'
    return f"<p>All of it for other programs: {links}.</p>"


def _chapter(chapter: ChapterLedger) -> str:
    """The recorded runs of a chapter and its table of claims."""
    standings, records = chapter.standings, chapter.records
    rows = []
    for claim in chapter.claims:
        verdict = standings[claim.id]
        runs = {preset: found[claim.id] for preset, found in records.items() if claim.id in found}
        cells = [escaped(claim.paper), _values(claim, runs, verdict), verdict_badge(claim, verdict)]
        link = f"{chapter.slug}.html#{anchor(claim.id)}" if chapter.built and runs.get(chapter.built) else ""
        rows.append(row_html(claim, cells, link, chapter=chapter.title, verdict=verdict.verdict))
    table = table_html(["claim", "paper", "measured", "verdict"], rows, "ctlib-claims ctlib-scoreboard")
    return _runs(chapter) + table


def _runs(chapter: ChapterLedger) -> str:
    """Recorded runs, each as a crate."""
    told = []
    for preset, run in chapter.runs.items():
        if preset == chapter.built:
            continue
        name = f'<a href="{STATIC}/{crate_name(chapter.slug, preset)}">recorded {preset}</a>'
        told.append(f"{name} ({escaped(run['date'])}, {escaped(run['device'])}, {run['seconds'] / 3600:.1f} h)")
    return f"<p>Runs as research objects (RO-Crate): {'; '.join(told)}.</p>" if told else ""


def _values(claim: Claim, runs: Mapping[str, Mapping], verdict: Verdict) -> str:
    """What every preset measured, that of the verdict first."""
    if not runs:
        return value_html(claim, None)
    first, *others = sorted(runs, key=lambda preset: preset != verdict.preset)
    told = f"{value_html(claim, runs[first])} <small>{first}</small>"
    return told + "".join(f"<br><small>{value_html(claim, runs[p])} {p}</small>" for p in others)
