"""The ledger for other programs: every claim, value and verdict as JSON, in the form that ledger.schema.json states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import ctlib
from ctlib.book.ledger.badges import anchor
from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.collected import ChapterLedger
from ctlib.book.ledger.criteria import VERDICTS, Band
from ctlib.book.ledger.standing import Verdict
from ctlib.book.ledger.verdicts import evidence, portable
from ctlib.book.project import PRESETS

EXPORT, SCHEMA = "ledger.json", "ledger.schema.json"  # in _static of the built book; the schema is kept there
FORMAT = 1
PROVENANCE = ("date", "commit", "device", "machine", "versions", "parameters", "seconds", "sources_sha256")


def exported(chapters: Iterable[ChapterLedger]) -> dict:
    """The whole ledger: {"format", "library", "presets", "verdicts", "chapters"}."""
    return {
        "$schema": SCHEMA,
        "format": FORMAT,
        "library": {"name": "ctlib", "version": ctlib.__version__},
        "presets": list(PRESETS),
        "verdicts": list(VERDICTS),
        "chapters": [_chapter(c) for c in chapters],
    }


def _chapter(chapter: ChapterLedger) -> dict:
    page, standings = f"book/{chapter.slug}.html", chapter.standings
    claims = []
    for claim in chapter.claims:
        measured = {p: records[claim.id] for p, records in chapter.records.items() if claim.id in records}
        entry = {**_claim(claim), "page": f"{page}#{anchor(claim.id)}" if measured else page}
        claims.append({**entry, **_measured(claim, measured), "of_record": _standing(standings[claim.id])})
    about = {"slug": chapter.slug, "title": chapter.title, "paper": chapter.paper, "page": page}
    return {**about, "runs": [_run(chapter, preset) for preset in chapter.runs], "claims": claims}


def _run(chapter: ChapterLedger, preset: str) -> dict:
    """Where the values of a preset come from, and what was kept beside the claims."""
    run, built = chapter.runs[preset], preset == chapter.built
    out = {"preset": preset, "source": "this build" if built else "recorded"}
    out |= {key: run[key] for key in PROVENANCE if key in run}
    out |= {key: run.get(key, {}) for key in ("kept", "curves")}
    out["said"] = list(run.get("said", {}))
    return out if built else {**out, "crate": crate_name(chapter.slug, preset)}


def _claim(claim: Claim) -> dict:
    """What the claims file says."""
    out = {key: getattr(claim, key) for key in ("id", "statement", "where", "paper")}
    if claim.reproduced is None:
        return {**out, "not_testable": claim.not_testable}
    out |= {key: getattr(claim, key) for key in ("quantity", "unit", "reason", "needs")}
    out |= {"only": list(claim.only), "expect": list(claim.expect), "criterion": claim.criterion}
    out |= {"reproduced": _band(claim.reproduced), "direction": _band(claim.direction or claim.reproduced)}
    if claim.equivalence:
        out["equivalence"] = {"margin": claim.equivalence.margin, "level": claim.equivalence.level}
    if claim.interval:
        out["interval"] = True
    if claim.settles:
        size = ("share", "neutral") if claim.settles.within is None else ("within",)
        out["settles"] = {key: getattr(claim.settles, key) for key in (*size, "better", "window")}
    return out | ({"erratum": claim.erratum} if claim.erratum else {})


def _band(band: Band) -> dict[str, float]:
    ends = {"min": band.low, "max": band.high}
    return {key: end for key, end in ends.items() if math.isfinite(end)}


def _measured(claim: Claim, records: Mapping[str, Mapping]) -> dict:
    """Values, spread and verdict by preset, with what the verdict rests on."""
    out = {}
    for preset, record in records.items():
        values, curves = evidence(record)
        out[preset] = dict(record)
        if claim.equivalence and isinstance(values, Mapping):
            out[preset]["p_values"] = {row: portable(claim.equivalence.p_value(v)) for row, v in values.items()}
        if claim.settles and curves:
            allowed = claim.settles.allowed([*map(float, record["values"])])
            gains = {key: portable(claim.settles.gain(curve)) for key, curve in curves.items()}
            out[preset]["plateau"] = {"allowed": portable(allowed), "gains": gains}
    return {"measured": out}


def _standing(verdict: Verdict) -> dict[str, str]:
    return {"verdict": verdict.verdict} | ({"preset": verdict.preset} if verdict.preset else {})


def crate_name(slug: str, preset: str) -> str:
    """Path of the crate of a recorded run, below _static of the built book."""
    return f"crates/{slug}-{preset}.zip"
