"""Claim records in small files: a curve is a line of text, in as many digits as the criterion of flatness needs."""

from __future__ import annotations

import json
from collections.abc import Mapping

DIGITS = 5  # of a curve's values: 0.001 dB, a hundredth of any gain that is judged


def packed(records: Mapping[str, Mapping]) -> dict[str, dict]:
    """Claim records by id, each curve as one text: "[[steps], [values]]"."""
    return {claim: _with_curves(record, _line) for claim, record in records.items()}


def unpacked(records: Mapping[str, Mapping]) -> dict[str, dict]:
    """The records that were packed, their curves {"steps", "values"} again."""
    return {claim: _with_curves(record, _curve) for claim, record in records.items()}


def _with_curves(record: Mapping, convert) -> dict:
    if "curves" not in record:
        return dict(record)
    return {**record, "curves": {name: convert(curve) for name, curve in record["curves"].items()}}


def _line(curve: Mapping) -> str:
    values = [v if isinstance(v, str) else float(f"{v:.{DIGITS}g}") for v in curve["values"]]  # texts: not finite
    return json.dumps([curve["steps"], values], separators=(",", ":"))


def _curve(line: str) -> dict:
    steps, values = json.loads(line)
    return {"steps": steps, "values": values}
