"""Claims files: what a paper says, and the criterion under which a measured value counts as reproducing it."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ctlib.book.project import PRESETS, ROOT
from ctlib.errors import DataError

BOOK = Path(os.environ.get("CTLIB_BOOK") or ROOT / "book")  # the runner says which book it runs
REPRODUCED, DIRECTION, FAILED, UNTESTABLE = "reproduced", "direction only", "not reproduced", "not testable"
VERDICTS = (REPRODUCED, DIRECTION, FAILED, UNTESTABLE)
TESTABLE_KEYS = ("id", "statement", "where", "paper", "quantity", "unit", "reproduced", "reason")
OPTIONAL_KEYS = ("direction", "expect", "only")
UNTESTABLE_KEYS = ("id", "statement", "where", "paper", "not_testable")


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
    """One claim of a paper with the criterion under which it counts as reproduced.

    only  presets that measure it; a small one may not be able to
    """

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
    only: tuple[str, ...] = PRESETS
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
    only = entry.get("only", list(PRESETS))
    if not isinstance(only, list) or not only or not all(preset in PRESETS for preset in only):
        raise DataError(path, f"{name}.only", f"got {only!r}, needs a list of presets of {list(PRESETS)}")
    return Claim(**texts, reproduced=reproduced, direction=direction, expect=expect, only=tuple(only))


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
