"""`opening(slug)`: the texts of book/openings/<slug>.yml, of which the verdicts of record choose the sentences.

paper: "{cite:t}`yin`"                    # Markdown: whose work it is
minutes: 25                               # to read the page
figure: result                            # name under which the chapter keeps its central figure
caption: What to look at.                 # Markdown; where it was computed is added
finding:                                  # the first whose verdicts all hold; the last has no `when`
  - when: {dip-beats-tv: reproduced, dip-stop: [reproduced, direction only]}
    say: Sentence.
  - say: Sentence that holds whatever the verdicts are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ctlib.book.ledger.claimfile import BOOK, read_claims
from ctlib.book.ledger.criteria import VERDICTS
from ctlib.book.ledger.standing import NOT_MEASURED, Verdict, of_record
from ctlib.book.ledger.stored_runs import read_runs
from ctlib.book.page.opening import Opening, Picture
from ctlib.book.yamlfile import read_yaml
from ctlib.errors import DataError

KEYS = {"paper": str, "minutes": int, "figure": str, "caption": str, "finding": list}
Cases = tuple[tuple[Mapping[str, tuple[str, ...]], str], ...]


@dataclass(frozen=True)
class OpeningText:
    """What an opening file holds; `finding` as ((verdicts by claim id, sentence), ...)."""

    paper: str
    minutes: int
    figure: str
    caption: str
    finding: Cases

    def found(self, verdicts: Mapping[str, Verdict]) -> str:
        """The first sentence whose verdicts all hold."""
        holds = (say for when, say in self.finding if all(verdicts[c].verdict in wanted for c, wanted in when.items()))
        return next(holds)


def read_opening(path: Path | str, claims: Collection[str]) -> OpeningText:
    """An opening file, checked against the ids of the chapter's claims; DataError names the file and the field."""
    path = Path(path)
    data = read_yaml(path)
    if not isinstance(data, dict) or set(data) != set(KEYS):
        raise DataError(path, "top level", f"needs exactly the keys {', '.join(KEYS)}")
    for key, kind in KEYS.items():
        if type(data[key]) is not kind or not data[key] or (kind is int and not 0 < data[key] < 600):
            raise DataError(path, key, f"got {data[key]!r}, needs {_asked(kind)}")
    texts = {key: " ".join(data[key].split()) for key, kind in KEYS.items() if kind is str}
    cases = tuple(_case(path, i, entry, claims) for i, entry in enumerate(data["finding"]))
    if cases[-1][0] or not all(when for when, _ in cases[:-1]):
        raise DataError(path, "finding", "the last sentence, and no other, has no `when`")
    return OpeningText(**texts, minutes=data["minutes"], finding=cases)


def _asked(kind: type) -> str:
    return {str: "a text", int: "a number of minutes", list: "a list of at least one sentence"}[kind]


def _case(path: Path, i: int, entry: object, claims: Collection[str]) -> tuple[dict, str]:
    field = f"finding[{i}]"
    if not isinstance(entry, dict) or not set(entry) <= {"when", "say"} or not isinstance(entry.get("say"), str):
        raise DataError(path, field, "needs a text `say` and, but for the last, `when`")
    when = entry.get("when", {})
    if not isinstance(when, dict):
        raise DataError(path, f"{field}.when", "needs {claim id: verdict or list of verdicts}")
    wanted = {c: (v,) if isinstance(v, str) else tuple(v) if isinstance(v, list) else () for c, v in when.items()}
    for claim, verdicts in wanted.items():
        if claim not in claims:
            raise DataError(path, f"{field}.when", f"{claim!r} is no claim of this chapter")
        if not verdicts or not all(verdict in (*VERDICTS, NOT_MEASURED) for verdict in verdicts):
            known = ", ".join([*VERDICTS, NOT_MEASURED])
            raise DataError(path, f"{field}.when.{claim}", f"got {when[claim]!r}, needs verdicts of {known}")
    return wanted, " ".join(entry["say"].split())


def opening_of(
    slug: str,
    book: Path | str = BOOK,
    page: Mapping[str, Mapping] | None = None,
    kept: Mapping[str, Picture] | None = None,
    run: str = "",
) -> Opening:
    """The opening of a chapter.

    page  claim records by id of a run at the chapter's own values; None: those of its reference
    kept  that run's figures by name, of which one is shown where no recorded run has kept it
    run   HTML anchor of the place where a reader starts to run the page; empty: no link
    """
    book = Path(book)
    ids = [c.id for c in read_claims(book / "claims" / f"{slug}.yml")[1]]
    text = read_opening(book / "openings" / f"{slug}.yml", ids)
    verdicts = of_record(slug, book, page)
    counts = Counter(v.verdict for v in verdicts.values())
    shown = recorded_picture(slug, text.figure, book) or (kept or {}).get(text.figure)
    return Opening(slug, text.found(verdicts), counts, text.caption, text.paper, text.minutes, shown, run)


def recorded_picture(slug: str, name: str, book: Path) -> Picture | None:
    """The figure of this name of the largest recorded preset that has kept it."""
    for preset, run in reversed(read_runs(slug, book).items()):
        if figure := run["figures"].get(name):
            png = (book / "results" / preset / figure["file"]).read_bytes()
            where = run["machine"] if run["device"] == "CPU" else run["device"]
            return Picture(png, figure["alt"], f"Recorded at preset `{preset}`, {run['date']}, on {where}.")
    return None


def opening(slug: str, book: Path | str = BOOK) -> None:
    """Open a page: finding, verdicts counted, central figure of the largest recorded preset; DataError for a bad file.

    The finding is the sentence of book/openings/<slug>.yml that the verdicts of record choose. A built page shows the
    verdicts of that build, and its figure where none is recorded yet.
    """
    try:
        found = opening_of(slug, book)
    except ImportError:  # a bare machine without PyYAML
        print(f"opening of {slug}: needs PyYAML")
        return
    found.show()
