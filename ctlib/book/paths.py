"""Files and folders that a parameter names: relative to where the command was run, checked before any work."""

from __future__ import annotations

import os
import re
from pathlib import Path

FILE_LIKE = re.compile(r"[/\\]|\.[A-Za-z]\w{0,5}(\.gz)?$")  # a folder in it, or a suffix at its end


class NotThere(ValueError):
    """A path cannot be used: says why."""


def found(text: str, wanted: str, folders: list[Path]) -> str:
    """The full path of what a text names; NotThere if it is not what is wanted.

    wanted   a clause of `rules.PATHS`
    folders  where a relative path to read is looked for, in this order; one to write belongs into the first
    """
    text = _as_meant(text, folders[0])
    if not text or "\0" in text:
        raise NotThere("the name is empty" if not text else "the name holds a zero byte")
    if wanted == "folder to write":
        return _to_write(folders[0] / text)
    try:
        path = next((f / text for f in folders if (f / text).exists()), None)
    except OSError as error:
        raise NotThere(error.strerror) from None
    if path is None and wanted == "word or file to read" and (":" in text or not FILE_LIKE.search(text)):
        return text
    if path is None:
        raise NotThere(f"no such file or folder: {folders[0] / text}")
    if wanted == "word or file to read" and not FILE_LIKE.search(text) and path.is_dir():
        return text  # a word, beside which a folder happens to lie
    if path.is_dir() and wanted in ("file to read", "word or file to read"):
        raise NotThere(f"{path} is a folder")
    if not path.is_dir() and wanted == "folder to read":
        raise NotThere(f"{path} is a file")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise NotThere(f"{path} may not be read")
    return str(path.resolve())


def _as_meant(text: str, folder: Path) -> str:
    """The text with ~ as the home folder, without quotes and blanks around it that are no part of the name."""
    for name in (text, text.strip(), text.strip().strip("\"'")):
        name = os.path.expanduser(name)
        if name and "\0" not in name and len(name) < 4096 and os.path.exists(folder / name):
            return name
    return os.path.expanduser(text.strip())


def _to_write(path: Path) -> str:
    """The full path of a folder that is there and may be written to, or that can be made."""
    path = Path(os.path.abspath(path))
    there = next((p for p in (path, *path.parents) if os.path.lexists(p)), path)
    if not there.is_dir():
        raise NotThere(f"{there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise NotThere(f"{there} may not be written to")
    return str(path)


def make(folder: str) -> None:
    """Make a folder to write into, with those above it; NotThere says why it cannot be."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotThere(f"{folder}: {error.strerror}") from None
