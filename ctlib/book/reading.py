"""A text of the command line as a value, as a person means it: 010 is ten, 1:30 is no number, yes is true."""

from __future__ import annotations

import re
from decimal import Decimal

MINUS = str.maketrans(dict.fromkeys("\u2212\u2013\ufe63\uff0d", "-"))  # signs that a text processor makes of a hyphen
DIGITS = r"\d+(?:_\d+)*"
NUMBER = re.compile(rf"[+-]?(?:{DIGITS}\.?(?:{DIGITS})?|\.{DIGITS})(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
NOT_FINITE = re.compile(r"[+-]?\.?(nan|inf|infinity)", re.IGNORECASE)
TRUTHS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
OPEN, CLOSE = "[(", "])"
LONGEST = 4000  # letters


def read(text: str, kind: str, depth: int = 0) -> object:
    """The value that a text means; ValueError if it means none.

    kind   "whole number", "number", "truth" or "text", of the value or, in a list, of every entry
    depth  0 for one value, 1 for a list, 2 for a list of lists
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise ValueError("too long")
    if depth:
        return _list(text, kind, depth)
    text = unquoted(text)
    if kind == "text":
        return text
    if kind == "truth":
        return TRUTHS[text.lower()] if text.lower() in TRUTHS else _no(text)
    text = text.translate(MINUS)
    if NOT_FINITE.fullmatch(text):
        return float(text.lower().replace(".", ""))
    if not NUMBER.fullmatch(text):
        _no(text)
    return _whole(text) if kind == "whole number" else float(text)


def _whole(text: str) -> int | float:
    """1e5 is a whole number as 100000 is; what is none stays a number with a fraction, for the caller to refuse."""
    number = float(text)
    exact = abs(number) < 1e18 and Decimal(text.replace("_", "")) % 1 == 0
    return int(Decimal(text.replace("_", ""))) if exact else number


def guess(text: str) -> object:
    """The value of a text where nothing says what it should be: None, truth, number, or the text."""
    if text.strip().lower() in ("none", "null"):
        return None
    for kind in ("truth", "whole number"):
        try:
            return read(text, kind)
        except ValueError:
            continue
    return text


def _list(text: str, kind: str, depth: int) -> list:
    inner = _inside(text)
    if inner is None or (depth > 1 and inner.strip() and _inside(split(inner)[0]) is None):
        inner = text or _no(text)  # the outermost brackets may be left out
    if not inner.strip():
        return []
    parts = split(inner)
    parts = parts[:-1] if len(parts) > 1 and not parts[-1] else parts
    if depth > 1 and any(_inside(part) is None for part in parts):
        _no(text)
    return [read(part, kind, depth - 1) for part in parts]


def _inside(text: str) -> str | None:
    """What stands between the brackets around all of a text; None where there are none."""
    text = text.strip()
    if len(text) > 1 and (text[0], text[-1]) in zip(OPEN, CLOSE, strict=True) and len(split(text)) == 1:
        return text[1:-1]
    return None


def split(text: str) -> list[str]:
    """Texts between the commas that are outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if letter in "\"'" and quote in ("", letter):
            quote = "" if quote else letter
        depth += 0 if quote else (letter in "[{(") - (letter in ")}]")
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def unquoted(text: str) -> str:
    """The text without quotes around all of it, which a shell or another program left there."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _no(text: str):
    raise ValueError(f"{text!r} is not understood")
