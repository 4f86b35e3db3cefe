"""Runs recorded elsewhere (a laptop, a GPU): shown as recorded, with provenance, apart from what this page computed."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from pathlib import Path

from ..errors import DataError
from .claims import BOOK, badge, measured, read_claims, record_of

PRESETS = ("ci", "laptop", "paper")
FIELDS = {
    "slug": str,
    "preset": str,
    "parameters": dict,
    "claims": dict,
    "figures": dict,
    "commit": str,
    "sources_sha256": str,
    "device": str,
    "machine": str,
    "versions": dict,
    "date": str,
    "seconds": (int, float),
    "digest": str,
}


def digest(record: dict) -> str:
    """sha256 over the canonical JSON of a record without its own digest."""
    body = {k: v for k, v in record.items() if k != "digest"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_run(path: Path | str, book: Path | str = BOOK) -> dict:
    """A recorded run, validated: fields, digest, verdicts recomputed from the values, figures present and unchanged."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(path, "JSON", str(error)) from None
    for field, kind in FIELDS.items():
        if not isinstance(record, dict) or not isinstance(record.get(field), kind):
            raise DataError(path, field, "missing or of the wrong type")
    if (record["slug"], record["preset"]) != (path.stem, path.parent.name):
        raise DataError(path, "slug, preset", f"say {record['preset']}/{record['slug']}, not where the file lies")
    _check_claims(path, record, Path(book))
    _check_figures(path, record)
    if digest(record) != record["digest"]:
        raise DataError(
            path, "digest", "does not match the contents: the file was edited by hand; record the run again"
        )
    return record


def _check_claims(path: Path, record: dict, book: Path) -> None:
    claims = {c.id: c for c in read_claims(book / "claims" / f"{record['slug']}.yml")[1]}
    for name, stored in record["claims"].items():
        if name not in claims or claims[name].reproduced is None:
            raise DataError(path, f"claims.{name}", "no testable claim of this id in the claims file")
        try:
            again = record_of(claims[name], stored["values"])
        except (TypeError, KeyError, ValueError):
            raise DataError(path, f"claims.{name}.values", "needs a list of numbers") from None
        for key, value in again.items():
            if stored.get(key) != value:
                raise DataError(path, f"claims.{name}.{key}", f"is {stored.get(key)!r}, the values give {value!r}")


def _check_figures(path: Path, record: dict) -> None:
    for name, figure in record["figures"].items():
        file = path.parent / figure.get("file", "")
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != figure.get("sha256"):
            raise DataError(path, f"figures.{name}", f"{file.name}: missing or not the recorded file")


def read_runs(slug: str, book: Path | str = BOOK) -> dict[str, dict]:
    """Recorded runs of a chapter by preset, in the order ci, laptop, paper."""
    paths = {p: Path(book, "results", p, f"{slug}.json") for p in PRESETS}
    return {preset: read_run(path, book) for preset, path in paths.items() if path.is_file()}


def sources_now() -> str | None:
    """Hash of ctlib's numerical sources as they are now."""
    from . import sources

    return sources.sources_sha256()


class Recorded:
    """A recorded run for the page: an admonition with values, provenance and figures."""

    def __init__(self, slug: str, preset: str, record: dict | None, book: Path):
        self.slug, self.preset, self.record, self.book = slug, preset, record, book

    def __repr__(self) -> str:
        if self.record is None:
            return f"No {self.preset} run of {self.slug} is recorded yet."
        return f"Recorded {self.preset} run of {self.slug}: {self._provenance()}"

    def _repr_markdown_(self) -> str:
        kind = "seealso" if self.record is None else "note"
        lines = [f":::{{admonition}} Recorded run, preset `{self.preset}`", f":class: {kind} ctlib-recorded", ""]
        lines += [repr(self)] if self.record is None else self._body()
        return "\n".join([*lines, "", ":::"])

    def _provenance(self) -> str:
        r = self.record
        facts = [r["date"], f"{r['seconds']:.0f} s", r["device"], r["machine"], f"commit {r['commit'][:10]}"]
        return ", ".join(facts)

    def _body(self) -> list[str]:
        r = self.record
        changed = sources_now() != r["sources_sha256"]
        lines = [f"Computed elsewhere and stored, not by this build: {html.escape(self._provenance())}."]
        lines += [
            "",
            "**The code has changed since this run.**" if changed else "The code has not changed since this run.",
        ]
        claims = {c.id: c for c in read_claims(self.book / "claims" / f"{self.slug}.yml")[1]}
        lines += ["", "| claim | recorded value | verdict |", "| --- | --- | --- |"]
        for name, stored in r["claims"].items():
            lines.append(
                f"| {claims[name].quantity} | {measured(stored, claims[name].unit)} | {badge(stored['verdict'])} |"
            )
        folder = self.book / "results" / self.preset
        for figure in r["figures"].values():
            source = base64.b64encode((folder / figure["file"]).read_bytes()).decode()
            alt = html.escape(figure["alt"], quote=True)
            lines += ["", f'<img class="ctlib-recorded-figure" alt="{alt}" src="data:image/png;base64,{source}">']
        return lines


def recorded(slug: str, preset: str, book: Path | str = BOOK) -> Recorded:
    """The recorded run of a chapter at a preset as an admonition; says so when there is none."""
    path = Path(book, "results", preset, f"{slug}.json")
    return Recorded(slug, preset, read_run(path, book) if path.is_file() else None, Path(book))
