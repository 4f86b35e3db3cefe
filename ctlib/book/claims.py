"""The claims ledger of a chapter: what the paper says, what this page measured, and a verdict that is computed."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArgumentError, CtlibError, DataError
from .output import CLAIM_MIME, COLLECTOR, Collector, emit

BOOK = Path(__file__).resolve().parents[2] / "book"
REPRODUCED, DIRECTION, FAILED, UNTESTABLE = "reproduced", "direction only", "not reproduced", "not testable"
VERDICTS = (REPRODUCED, DIRECTION, FAILED, UNTESTABLE)
TESTABLE_KEYS = ("id", "statement", "where", "paper", "quantity", "unit", "reproduced", "reason")
OPTIONAL_KEYS = ("direction", "expect")
UNTESTABLE_KEYS = ("id", "statement", "where", "paper", "not_testable")

__all__ = ["BOOK", "COLLECTOR", "VERDICTS", "Band", "Claim", "ClaimFailed", "Collector", "Ledger"]


class ClaimFailed(CtlibError, AssertionError):
    """What the page says must hold does not hold, or a claim of the chapter was not measured."""


@dataclass(frozen=True)
class Band:
    """Closed interval [low, high] on a measured value; either end may be open."""

    low: float = -math.inf
    high: float = math.inf

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        ends = [f"≥ {self.low:g}"] * (self.low > -math.inf) + [f"≤ {self.high:g}"] * (self.high < math.inf)
        return " and ".join(ends)


@dataclass(frozen=True)
class Claim:
    """One claim of a paper with the criterion under which it counts as reproduced."""

    id: str
    statement: str
    where: str
    paper: str
    quantity: str = ""
    unit: str = ""
    reproduced: Band | None = None
    direction: Band | None = None
    reason: str = ""
    expect: tuple[str, ...] = ()
    not_testable: str | None = None

    def verdict(self, values: Iterable[float]) -> str:
        """Every value inside `reproduced`: reproduced; median inside `direction`: direction only; else not."""
        if self.reproduced is None:
            return UNTESTABLE
        numbers = [float(v) for v in values]
        if not numbers or not all(math.isfinite(v) for v in numbers):
            return FAILED
        if all(self.reproduced.holds(v) for v in numbers):
            return REPRODUCED
        return DIRECTION if (self.direction or self.reproduced).holds(statistics.median(numbers)) else FAILED


def portable(value: float) -> float | str:
    """A float as JSON can hold it: non-finite ones become "nan", "inf", "-inf"; `float()` reads them back."""
    return value if math.isfinite(value) else str(value)


def record_of(claim: Claim, values: Iterable[float]) -> dict:
    """{"values", "median", "min", "max", "verdict"} of one claim: what a notebook and a recorded run store."""
    numbers = [float(v) for v in values]
    finite = bool(numbers) and all(math.isfinite(v) for v in numbers)
    stats = (statistics.median(numbers), min(numbers), max(numbers)) if finite else (math.nan,) * 3
    median, low, high = (portable(float(s)) for s in stats)
    values = [portable(v) for v in numbers]
    return {"values": values, "median": median, "min": low, "max": high, "verdict": claim.verdict(numbers)}


def digits(value: float) -> str:
    """Four significant digits without an exponent where that is readable: 31.27, 0.01234, 1.2e-07."""
    value = float(value)
    if not math.isfinite(value) or (value == int(value) and abs(value) < 1e6):
        return str(int(value)) if math.isfinite(value) else str(value)
    if not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3e}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"


def measured(record: Mapping, unit: str = "") -> str:
    """`median [min, max] unit (n)` of a claim record."""
    unit = "" if unit in ("", "1") else f" {unit}"
    if len(record["values"]) == 1:
        return f"{digits(record['median'])}{unit}"
    spread = f"[{digits(record['min'])}, {digits(record['max'])}]"
    return f"{digits(record['median'])} {spread}{unit} (n = {len(record['values'])})"


# --- reading claims files ---------------------------------------------------------------------------------------------


def _yaml(path: Path) -> object:
    """The file as YAML; a key given twice is an error, which PyYAML alone would accept."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            keys = [self.construct_object(k, deep=True) for k, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise DataError(path, str(key), f"given twice (line {node.start_mark.line + 1})")
            return super().construct_mapping(node, deep)

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        raise DataError(path, "YAML", " ".join(str(error).split())) from None


def _band(path: Path, field: str, spec: object) -> Band:
    numbers = isinstance(spec, dict) and all(isinstance(v, (int, float)) and v == v for v in spec.values())
    if not numbers or not spec or not set(spec) <= {"min", "max"}:
        raise DataError(path, field, f"got {spec!r}, needs {{min: number}}, {{max: number}} or both")
    band = Band(float(spec.get("min", -math.inf)), float(spec.get("max", math.inf)))
    if band.low > band.high:
        raise DataError(path, field, f"min {band.low:g} is above max {band.high:g}")
    return band


def _texts(path: Path, name: str, entry: dict, keys: Iterable[str]) -> dict[str, str]:
    out = {}
    for key in keys:
        value = entry[key]
        if isinstance(value, (dict, list)) or value is None or not str(value).strip():
            raise DataError(path, f"{name}.{key}", "empty or not a text")
        out[key] = " ".join(str(value).split())
    return out


def _claim(path: Path, entry: object, index: int) -> Claim:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise DataError(path, f"claims[{index}].id", "every claim needs a text id")
    name = entry["id"]
    needed = UNTESTABLE_KEYS if "not_testable" in entry else TESTABLE_KEYS
    allowed = needed if "not_testable" in entry else (*needed, *OPTIONAL_KEYS)
    for key in entry:
        if key not in allowed:
            raise DataError(path, f"{name}.{key}", f"unknown key; allowed are {', '.join(allowed)}")
    for key in needed:
        if key not in entry:
            raise DataError(path, f"{name}.{key}", "missing")
    if "not_testable" in entry:
        return Claim(**_texts(path, name, entry, UNTESTABLE_KEYS))
    texts = _texts(path, name, entry, [k for k in TESTABLE_KEYS if k != "reproduced"])
    reproduced = _band(path, f"{name}.reproduced", entry["reproduced"])
    direction = _band(path, f"{name}.direction", entry["direction"]) if "direction" in entry else reproduced
    if direction.low > reproduced.low or direction.high < reproduced.high:
        raise DataError(path, f"{name}.direction", f"({direction}) does not contain reproduced ({reproduced})")
    expect = entry.get("expect", [])
    expect = tuple([expect] if isinstance(expect, str) else expect)
    if not set(expect) <= {REPRODUCED, DIRECTION, FAILED}:
        raise DataError(path, f"{name}.expect", f"got {list(expect)}, needs verdicts of {VERDICTS[:3]}")
    return Claim(**texts, reproduced=reproduced, direction=direction, expect=expect)


def read_claims(path: Path | str) -> tuple[str, tuple[Claim, ...]]:
    """(bib key of the paper, claims) of one claims file; DataError names the file and the field."""
    path = Path(path)
    if not path.is_file():
        raise DataError(path, "file", "does not exist")
    data = _yaml(path)
    if not isinstance(data, dict) or set(data) != {"chapter", "paper", "claims"}:
        raise DataError(path, "top level", "needs exactly the keys chapter, paper, claims")
    if data["chapter"] != path.stem:
        raise DataError(path, "chapter", f"is {data['chapter']!r}, the file is named {path.stem!r}")
    if not isinstance(data["claims"], list) or not data["claims"]:
        raise DataError(path, "claims", "needs a list of at least one claim")
    claims = tuple(_claim(path, entry, i) for i, entry in enumerate(data["claims"]))
    ids = [c.id for c in claims]
    for name in ids:
        if ids.count(name) > 1:
            raise DataError(path, f"{name}.id", "given to more than one claim")
    return str(data["paper"]), claims


def read_book(book: Path | str = BOOK) -> dict[str, tuple[Claim, ...]]:
    """Claims of every chapter, by slug; an id used in two chapters is an error."""
    out, owner = {}, {}
    for path in sorted(Path(book, "claims").glob("*.yml")):
        out[path.stem] = read_claims(path)[1]
        for claim in out[path.stem]:
            if claim.id in owner:
                raise DataError(path, f"{claim.id}.id", f"already used in {owner[claim.id]}.yml")
            owner[claim.id] = path.stem
    return out


def judge(slug: str, values: Mapping[str, Iterable[float]], book: Path | str = BOOK) -> dict[str, dict]:
    """Claim records for measured values by id: how a run without PyYAML gets its verdicts afterwards."""
    claims = {c.id: c for c in read_claims(Path(book, "claims", f"{slug}.yml"))[1]}
    for name in values:
        if name not in claims:
            raise ArgumentError("claim id", repr(name), f"one of book/claims/{slug}.yml: {', '.join(claims)}")
    return {name: record_of(claims[name], vs) for name, vs in values.items()}


def from_notebook(nb: Mapping) -> dict[str, dict]:
    """Claim records by id that an executed notebook holds (the last one, where a claim was checked twice)."""
    found = {}
    for cell in nb["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {}).get(CLAIM_MIME)
            if data:
                found[data["id"]] = {k: v for k, v in data.items() if k != "id"}
    return found


def _floats(name: str, values: object) -> list[float]:
    try:
        items = values if isinstance(values, (list, tuple)) else getattr(values, "tolist", lambda: values)()
        items = items if isinstance(items, (list, tuple)) else [items]
        numbers = [float(v) for v in items]
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"values of {name}", repr(values)[:80], "a number or one number per seed") from error
    if not numbers:
        raise ArgumentError(f"values of {name}", "an empty list", "at least one number")
    return numbers


# --- the ledger of one chapter ----------------------------------------------------------------------------------------


class Ledger:
    """Claims of one chapter: `check` measures, `table` shows, `verify` states the verdicts and raises.

    slug  name of the chapter and of its claims file, book/claims/<slug>.yml
    """

    def __init__(self, slug: str, book: Path | str = BOOK):
        self.slug, self.book = slug, Path(book)
        self.preset = os.environ.get("CTLIB_PRESET") or "ci"
        self.records: dict[str, dict] = {}
        try:
            self.paper, claims = read_claims(self.book / "claims" / f"{slug}.yml")
        except ImportError:  # a bare machine: values are recorded, verdicts computed later by `judge`
            self.paper, claims = "", None
        self.claims = None if claims is None else {c.id: c for c in claims}

    def check(self, claim_id: str, values: object) -> None:
        """Record the measured value (or one per seed) of a claim; prints one row with digits and the verdict."""
        claim = self._claim(claim_id)
        numbers = _floats(claim_id, values)
        record = record_of(claim, numbers)
        if self.claims is None:
            record["verdict"] = None
        self.records[claim_id] = record
        if (collector := COLLECTOR.get()) is not None:
            collector.claims[claim_id] = record
        flag = "" if all(math.isfinite(v) for v in numbers) else "  NOT FINITE"
        row = f"{claim_id}: {measured(record, claim.unit)}  {record['verdict'] or 'recorded'}{flag}"
        emit(row, {CLAIM_MIME: {"id": claim_id, **record}})

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
        """Print one verdict a line, without digits; at preset `ci` raise ClaimFailed for what must hold and fails."""
        if self.claims is None:
            print(f"{len(self.records)} claims recorded; verdicts need PyYAML")
            return
        problems = []
        for claim in self.claims.values():
            verdict = self.verdict(claim.id)
            why = f" ({claim.not_testable})" if claim.not_testable else ""
            print(f"{verdict:14s}  {claim.id}: {claim.statement}{why}")
            if verdict == "not measured":
                problems.append(f"{claim.id}: not measured")
            elif claim.expect and verdict not in claim.expect:
                got = measured(self.records[claim.id], claim.unit)
                problems.append(f"{claim.id}: {verdict}, expected {' or '.join(claim.expect)}; measured {got}")
        if problems and self.preset == "ci":
            raise ClaimFailed(f"{self.slug}: " + "; ".join(problems))

    def verdict(self, claim_id: str) -> str:
        """Verdict of one claim on this page; `not measured` before its check."""
        if self.claims[claim_id].reproduced is None:
            return UNTESTABLE
        return self.records[claim_id]["verdict"] if claim_id in self.records else "not measured"

    def table(self) -> Table:
        """Paper against this page: value and spread, recorded presets, tolerance with its reason, verdict."""
        if self.claims is None:
            return Table(["claim", "this page"], [[k, measured(r)] for k, r in self.records.items()])
        from .recorded import read_runs

        runs = {p: r["claims"] for p, r in read_runs(self.slug, self.book).items()}
        columns = {f"this page (`{self.preset}`)": self.records, **{f"recorded `{p}`": c for p, c in runs.items()}}
        return claims_table(self.claims.values(), columns)


# --- tables -----------------------------------------------------------------------------------------------------------


class Table:
    """Rows of Markdown texts: a pipe table in Jupyter and on the page, aligned text elsewhere."""

    def __init__(self, head: list[str], rows: list[list[str]]):
        self.head, self.rows = head, rows

    def _repr_markdown_(self) -> str:
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)

    def __repr__(self) -> str:
        return "\n".join(" | ".join(line) for line in [self.head, *self.rows])


def badge(verdict: str) -> str:
    """Verdict as an inline badge; the word carries the meaning, colour only repeats it."""
    return f'<span class="ctlib-verdict ctlib-{verdict.replace(" ", "-")}">{verdict}</span>'


def cell(claim: Claim, record: Mapping | None) -> str:
    """What one run says about a claim: value, spread and verdict."""
    if claim.reproduced is None:
        return badge(UNTESTABLE)
    if record is None:
        return "not measured"
    return f"{measured(record, claim.unit)} {badge(record['verdict'])}"


def claims_table(claims: Iterable[Claim], columns: Mapping[str, Mapping[str, Mapping]]) -> Table:
    """One row per claim, one column per run: {column title: {claim id: record}}."""
    rows = []
    for c in claims:
        rule = f"{c.quantity}: {c.reproduced}. {c.reason}" if c.reproduced else f"Not testable: {c.not_testable}"
        values = [cell(c, records.get(c.id)) for records in columns.values()]
        rows.append([f"{c.statement} ({c.where})", c.paper, *values, rule])
    return Table(["claim", "paper", *columns, "reproduced if"], rows)
