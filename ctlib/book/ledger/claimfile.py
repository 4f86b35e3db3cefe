"""Claims files: what a paper says, and the criterion under which a measured value counts as reproducing it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

from ctlib.book.ledger.claim import Claim
from ctlib.book.ledger.criteria import (
    DIRECTION,
    FAILED,
    REPRODUCED,
    UNSETTLED,
    Band,
    Equivalence,
    Settles,
)
from ctlib.book.project import PRESETS, ROOT
from ctlib.book.yamlfile import read_yaml
from ctlib.errors import DataError

BOOK = Path(os.environ.get("CTLIB_BOOK") or ROOT / "book")  # the runner says which book it runs
TESTABLE_KEYS = ("id", "statement", "where", "paper", "quantity", "unit", "reason")
CRITERIA_KEYS = ("reproduced", "equivalence")  # one of them
OPTIONAL_KEYS = ("direction", "expect", "only", "needs", "settles", "interval", "erratum")
UNTESTABLE_KEYS = ("id", "statement", "where", "paper", "not_testable")


def _band(path: Path, field: str, spec: object) -> Band:
    numbers = isinstance(spec, dict) and all(_is_number(v) and v == v for v in spec.values())
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


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(path: Path, field: str, value: object, low: float, high: float = math.inf) -> float:
    if not _is_number(value) or not low < value <= high or math.isinf(value):
        raise DataError(path, field, f"got {value!r}, needs a finite number above {low:g}, at most {high:g}")
    return float(value)


def _parts(path: Path, field: str, spec: object, needed: set[str], known: set[str]) -> dict:
    if not isinstance(spec, dict) or not needed <= set(spec) <= known:
        raise DataError(path, field, f"got {spec!r}, needs {', '.join(sorted(needed))}; allowed: {sorted(known)}")
    return spec


def _equivalence(path: Path, field: str, spec: object) -> Equivalence:
    given = {"level": 0.05} | _parts(path, field, spec, {"margin"}, {"margin", "level"})
    margin = _number(path, f"{field}.margin", given["margin"], 0.0)
    return Equivalence(margin, _number(path, f"{field}.level", given["level"], 0.0, 0.5))


def _settles(path: Path, field: str, spec: object) -> Settles:
    absolute = isinstance(spec, dict) and "within" in spec
    needed, known = ({"within"}, set()) if absolute else ({"share"}, {"share", "neutral"})
    spec = _parts(path, field, spec, needed, needed | known | {"better", "window"})
    given = {"share": 1, "neutral": 0, "better": "higher", "window": 3} | spec
    if given["better"] not in ("higher", "lower"):
        raise DataError(path, f"{field}.better", f"got {given['better']!r}, needs higher or lower")
    if type(given["window"]) is not int or given["window"] not in range(1, 100, 2):
        raise DataError(path, f"{field}.window", f"got {given['window']!r}, needs an odd number of points")
    share = _number(path, f"{field}.share", given["share"], 0.0, 1.0)
    neutral = _number(path, f"{field}.neutral", given["neutral"], -math.inf)
    within = _number(path, f"{field}.within", given["within"], 0.0) if absolute else None
    return Settles(share, neutral, given["better"], given["window"], within)


def _bands(path: Path, name: str, entry: dict) -> dict[str, object]:
    """The criterion of a testable claim, as fields of `Claim`."""
    if "equivalence" in entry:
        for key in ("reproduced", "direction", "interval", "erratum"):
            if key in entry:
                raise DataError(path, f"{name}.{key}", "does not go with `equivalence`")
        tested = _equivalence(path, f"{name}.equivalence", entry["equivalence"])
        margin = Band(-tested.margin, tested.margin)
        return {"equivalence": tested, "reproduced": margin, "direction": margin}
    if "reproduced" not in entry:
        raise DataError(path, f"{name}.reproduced", "missing")
    reproduced = _band(path, f"{name}.reproduced", entry["reproduced"])
    direction = _band(path, f"{name}.direction", entry["direction"]) if "direction" in entry else reproduced
    if direction.low > reproduced.low or direction.high < reproduced.high:
        raise DataError(path, f"{name}.direction", f"({direction}) does not contain reproduced ({reproduced})")
    return {"reproduced": reproduced, "direction": direction}


def _options(path: Path, name: str, entry: dict) -> dict[str, object]:
    """The keys that a testable claim may leave out, as fields of `Claim`."""
    out, verdicts = {}, (REPRODUCED, DIRECTION, FAILED, UNSETTLED)
    expect = entry.get("expect", [])
    asked = [expect] if isinstance(expect, str) else expect
    if not isinstance(asked, list) or not all(verdict in verdicts for verdict in asked):
        raise DataError(path, f"{name}.expect", f"got {expect!r}, needs verdicts of {verdicts}")
    out["expect"] = tuple(asked)
    only = entry.get("only", list(PRESETS))
    if not isinstance(only, list) or not only or not all(preset in PRESETS for preset in only):
        raise DataError(path, f"{name}.only", f"got {only!r}, needs a list of presets of {list(PRESETS)}")
    out["only"], out["needs"] = tuple(only), entry.get("needs", PRESETS[0])
    if out["needs"] not in PRESETS:
        raise DataError(path, f"{name}.needs", f"got {out['needs']!r}, needs one of {list(PRESETS)}")
    if max(map(PRESETS.index, only)) < PRESETS.index(out["needs"]):
        raise DataError(path, f"{name}.needs", f"{out['needs']} is above every preset of `only`: no verdict could come")
    if "settles" in entry:
        out["settles"] = _settles(path, f"{name}.settles", entry["settles"])
    if "interval" in entry:
        if entry["interval"] is not True:
            raise DataError(path, f"{name}.interval", f"got {entry['interval']!r}, needs true, or no such key")
        if "direction" in entry or "erratum" in entry:
            raise DataError(path, f"{name}.interval", "goes without direction and erratum: the whole of it is judged")
        out["interval"] = True
    if "erratum" in entry:
        out |= _texts(path, name, entry, ["erratum"])
        if out["expect"] or "settles" in entry or "direction" in entry:
            raise DataError(path, f"{name}.erratum", "goes without expect, direction and settles: its check must hold")
    return out


def _claim(path: Path, entry: object, index: int) -> Claim:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise DataError(path, f"claims[{index}].id", "every claim needs a text id")
    name = entry["id"]
    needed = UNTESTABLE_KEYS if "not_testable" in entry else TESTABLE_KEYS
    allowed = needed if "not_testable" in entry else (*needed, *CRITERIA_KEYS, *OPTIONAL_KEYS)
    for key in entry:
        if key not in allowed:
            raise DataError(path, f"{name}.{key}", f"unknown key; allowed are {', '.join(allowed)}")
    for key in needed:
        if key not in entry:
            raise DataError(path, f"{name}.{key}", "missing")
    texts = _texts(path, name, entry, needed)
    if "not_testable" in entry:
        return Claim(**texts)
    return Claim(**texts, **_bands(path, name, entry), **_options(path, name, entry))


def read_claims(path: Path | str) -> tuple[str, tuple[Claim, ...]]:
    """(bib key of the paper, claims) of one claims file; DataError names the file and the field."""
    path = Path(path)
    data = read_yaml(path)
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
