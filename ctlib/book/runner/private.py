"""A folder that its owner alone may write, for a file that runs what it holds when it is read (a pickle)."""

from __future__ import annotations

import os
from pathlib import Path

OTHERS_WRITE = 0o022


def make_private(folder: Path) -> None:
    """Make the folder where it is missing, and let nobody else read or write in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def refusal(path: Path) -> str:
    """Why a file must not be read; "" where nobody but this user can have written it (on POSIX, elsewhere unknown)."""
    if os.name != "posix":
        return ""
    for place in (path.parent, path):
        found = place.stat()
        if found.st_uid != os.getuid():
            return f"{place} belongs to another user"
        if found.st_mode & OTHERS_WRITE:
            return f"others can write {place}"
    return ""
