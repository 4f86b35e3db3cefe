"""Fields of an opened DICOM file as numbers and text: each is what it claims to be, or a DataError names it."""

from __future__ import annotations

import math
import os
from pathlib import Path

from ctlib.errors import ArgumentError, DataError


def as_path(name: str, value: object) -> Path:
    """The value as a path, if it is text or a path."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise ArgumentError(name, repr(value)[:40], "a path, as text or pathlib.Path")
    return Path(value)


def value(path: Path, data, name: str) -> object | None:
    """Field `name`, None if it is absent or empty."""
    try:
        found = data.get(name)
        return None if found is None or found == "" or (hasattr(found, "__len__") and len(found) == 0) else found
    except Exception as error:  # pydicom parses a value when it is first read, and a broken one raises anything
        raise DataError(path, name, f"cannot be read ({short(error)})") from None


def numbers(path: Path, data, name: str, count: int) -> tuple[float, ...]:
    """The `count` finite numbers of a field."""
    found = value(path, data, name)
    try:
        values = tuple(float(v) for v in (() if found is None else found if count > 1 else (found,)))
    except Exception as error:
        raise DataError(path, name, f"is not {count} number(s) ({short(error)})") from None
    if len(values) != count or not all(math.isfinite(v) for v in values):
        raise DataError(path, name, f"is {values or 'missing'}, needs {count} finite number(s)")
    return values


def number(path: Path, data, name: str) -> float:
    """The one finite number of a field."""
    return numbers(path, data, name, 1)[0]


def count(path: Path, data, name: str, default: int | None = None) -> int:
    """A field that counts something: a whole number >= 1."""
    if default is not None and value(path, data, name) is None:
        return default
    given = number(path, data, name)
    if given != int(given) or given < 1:
        raise DataError(path, name, f"is {given:g}, needs a whole number >= 1")
    return int(given)


def text(path: Path, data, name: str) -> str:
    """A field as text, "" if it is absent."""
    found = value(path, data, name)
    try:
        return "" if found is None else str(found).strip()
    except Exception as error:
        raise DataError(path, name, f"cannot be read ({short(error)})") from None


def short(error: Exception) -> str:
    """Type and message of a foreign error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
