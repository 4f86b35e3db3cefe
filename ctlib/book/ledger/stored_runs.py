"""Runs recorded elsewhere (a laptop, a GPU): shown as recorded, with provenance, apart from what this page computed."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ctlib.book.ledger.claimfile import BOOK, read_claims
from ctlib.book.ledger.verdicts import judged_again
from ctlib.book.page.tables import Table, badge, measured
from ctlib.book.project import PRESETS, Project, check_preset
from ctlib.errors import DataError

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


def guarded(path: Path, fields: Iterable[str], again: str) -> dict:
    """A stored JSON object with these fields; DataError when it is missing, damaged or edited by hand.

    again  how to make it anew
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(path, "JSON", str(error)) from None
    for field in (*fields, "digest"):
        if not isinstance(stored, dict) or field not in stored:
            raise DataError(path, field, "missing")
    if digest(stored) != stored["digest"]:
        raise DataError(path, "digest", f"does not match the contents: edited by hand; {again}")
    return stored


def read_run(path: Path | str, book: Path | str = BOOK) -> dict:
    """A recorded run, validated: fields, statistics recomputed from the values, digest, figures present and unchanged.

    Its verdicts are computed again under the present claims file; claims that are no longer in it are left out.
    An edited number raises DataError, which names the file and the field.
    """
    path = Path(path)
    settle(path.parent, path.stem)
    record = _parse(path)
    claims = {c.id: c for c in read_claims(Path(book, "claims", f"{record['slug']}.yml"))[1] if c.reproduced}
    intact = digest(record) == record["digest"]
    for name, stored in list(record["claims"].items()):
        if intact and name not in claims:
            del record["claims"][name]
            continue
        again = _again(path, name, stored, claims, record["preset"])
        for key, value in again.items():
            if stored[key] != value and not (intact and key == "verdict"):
                raise DataError(path, f"claims.{name}.{key}", f"is {stored[key]!r}, the values give {value!r}")
        record["claims"][name] = again
    if not intact:
        raise DataError(path, "digest", "does not match the contents: edited by hand; record the run again")
    _check_figures(path, record["figures"])
    return record


def settle(folder: Path, slug: str) -> None:
    """Finish a record that lies ready, whole, in a folder of its own: move its figures, then its JSON.

    Whatever ends this in the middle, the next call goes on.
    """
    ready, path = folder / f".{slug}.ready", folder / f"{slug}.json"
    if (ready / "run.json").is_file():
        new = json.loads((ready / "run.json").read_text(encoding="utf-8"))
        for file in sorted(ready.glob("*.png")):
            os.replace(file, folder / file.name)
        for name in _figures(path) - {f["file"] for f in new["figures"].values()}:
            (folder / name).unlink(missing_ok=True)
        os.replace(ready / "run.json", path)
    if ready.is_dir():
        ready.rmdir()


def _figures(path: Path) -> set[str]:
    """Files that a record names as its figures; none where it cannot be read."""
    try:
        return {Path(f["file"]).name for f in json.loads(path.read_text(encoding="utf-8"))["figures"].values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _parse(path: Path) -> dict:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(path, "JSON", str(error)) from None
    for field, kind in FIELDS.items():
        if not isinstance(record, dict) or not isinstance(record.get(field), kind):
            raise DataError(path, field, "missing or of the wrong type")
    if (record["slug"], record["preset"]) != (path.stem, path.parent.name):
        raise DataError(path, "slug, preset", f"say {record['preset']}/{record['slug']}, not where the file lies")
    return record


def _again(path: Path, name: str, stored: object, claims: dict, preset: str) -> dict:
    if name not in claims:
        raise DataError(path, f"claims.{name}", "no testable claim of this id in the claims file")
    try:
        again = judged_again(claims[name], stored, preset)
    except (TypeError, KeyError, ValueError, AttributeError):
        raise DataError(path, f"claims.{name}.values", "needs a list of numbers") from None
    if set(stored) != set(again):
        raise DataError(path, f"claims.{name}", f"has {sorted(stored)}, needs {sorted(again)}")
    return again


def _check_figures(path: Path, figures: dict) -> None:
    for name, figure in figures.items():
        if not isinstance(figure, dict) or not str(figure.get("alt", "")).strip():
            raise DataError(path, f"figures.{name}.alt", "missing")
        file = path.parent / str(figure.get("file"))
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != figure.get("sha256"):
            raise DataError(path, f"figures.{name}.file", f"{file.name} is missing or is not the recorded file")


def read_runs(slug: str, book: Path | str = BOOK) -> dict[str, dict]:
    """Recorded runs of a chapter by preset, in the order ci, laptop, paper."""
    paths = {p: Path(book, "results", p, f"{slug}.json") for p in PRESETS}
    for path in paths.values():
        settle(path.parent, slug)
    return {preset: read_run(path, book) for preset, path in paths.items() if path.is_file()}


def code_changed(record: dict, book: Path | str = BOOK) -> bool:
    """True when the sources that a recorded run used differ from the present ones."""
    from ctlib.book.ledger.staleness import sources_sha256

    return sources_sha256(record["slug"], Project(root=Path(book).parent)) != record["sources_sha256"]


class Recorded:
    """A recorded run for the page: an admonition with values, provenance and figures."""

    def __init__(self, slug: str, preset: str, record: dict | None, book: Path):
        self.slug, self.preset, self.record, self.book = slug, preset, record, book

    def __repr__(self) -> str:
        if self.record is None:
            return f"No {self.preset} run of {self.slug} is recorded yet."
        return f"Recorded {self.preset} run of {self.slug}: {self._provenance()}."

    def _repr_markdown_(self) -> str:
        body = [repr(self)] if self.record is None else self._body()
        return "\n".join([f":::{{admonition}} Recorded run, preset `{self.preset}`", *self._options(), *body, ":::"])

    def _options(self) -> list[str]:
        return [f":class: {'seealso' if self.record is None else 'note'} ctlib-recorded", ""]

    def _provenance(self) -> str:
        r = self.record
        versions = ", ".join(f"{k} {v}" for k, v in r["versions"].items())
        return (
            f"{r['date']}, {r['seconds']:.0f} s, {r['device']}, {r['machine']}, commit {r['commit'][:10]}, {versions}"
        )

    def _body(self) -> list[str]:
        r = self.record
        state = (
            "**The code has changed since this run**"
            if code_changed(r, self.book)
            else "The code has not changed since this run"
        )
        given = ", ".join(f"`{k} = {v!r}`" for k, v in r["parameters"].items()) or "the defaults"
        claims = {c.id: c for c in read_claims(self.book / "claims" / f"{self.slug}.yml")[1]}
        rows = [
            [claims[name].quantity, measured(stored, claims[name].unit), badge(stored["verdict"])]
            for name, stored in r["claims"].items()
        ]
        lines = [f"Computed elsewhere and stored, not by this build: {html.escape(self._provenance())}. {state}."]
        lines += ["", f"Parameters: {html.escape(given, quote=False)}.", ""]
        lines += [Table(["quantity", "recorded value", "verdict"], rows)._repr_markdown_()] if rows else []
        return [*lines, *self._larger(), *self._kept(), *self._figures(), ""]

    def _larger(self) -> list[str]:
        """Which verdicts count, where a larger preset is recorded too."""
        larger = [p for p in PRESETS[PRESETS.index(self.preset) + 1 :] if self._path(p).is_file()]
        told = f"Verdicts of record are those of the preset {', '.join(larger[-1:])}, where it measured the claim."
        return ["", told] if larger else []

    def _path(self, preset: str) -> Path:
        return self.book / "results" / preset / f"{self.slug}.json"

    def _kept(self) -> list[str]:
        """Absolute values that were kept beside the claims."""
        rows = [[html.escape(name), measured(kept, kept["unit"])] for name, kept in self.record.get("kept", {}).items()]
        return ["", Table(["absolute values", "recorded"], rows)._repr_markdown_()] if rows else []

    def _figures(self) -> list[str]:
        lines = []
        for figure in self.record["figures"].values():
            data = (self.book / "results" / self.preset / figure["file"]).read_bytes()
            alt = html.escape(figure["alt"], quote=True)
            source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            lines += ["", f'<div class="ctlib-recorded-figure"><img alt="{alt}" src="{source}"></div>']
        return lines


def recorded(slug: str, preset: str, book: Path | str = BOOK) -> Recorded:
    """The recorded run of a chapter at a preset as an admonition; says so when there is none."""
    path = Path(book, "results", check_preset(preset), f"{slug}.json")
    settle(path.parent, slug)
    return Recorded(slug, preset, read_run(path, book) if path.is_file() else None, Path(book))
