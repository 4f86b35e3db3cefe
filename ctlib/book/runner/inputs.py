"""The files that a run reads besides its code, as one digest: names, sizes and times; contents where few.

A collection of scans is never read through: its folder is walked once, and the system asked for every file's state.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

SMALL, FEW = 64 << 20, 2000  # bytes and files in all, up to which contents count in place of times


def fingerprint(path: Path) -> str:
    """sha256 over a folder's files by relative path, or over a file and those beside it that differ in the suffix.

    A reader of scan.npy opens scan.json too, so a file is taken with all that share its stem.
    """
    found = sorted(_below(path) if path.is_dir() else _beside(path), key=lambda entry: entry[0])
    files = [state for _, _, state in found if state is not None and stat.S_ISREG(state.st_mode)]
    small = len(found) <= FEW and sum(s.st_size for s in files) <= SMALL
    digest = hashlib.sha256(b"contents" if small else b"times")
    for name, file, state in found:
        digest.update(b"\0" + os.fsencode(name) + b"\0")
        if state is None:
            digest.update(b"missing")
        elif small and stat.S_ISREG(state.st_mode):
            digest.update(_content(file))
        else:
            digest.update(f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}".encode())
    return digest.hexdigest()


def _below(folder: Path) -> Iterator[tuple[str, str, os.stat_result | None]]:
    """(relative path, path, state) of everything in a folder that is no folder; links are followed, once."""
    todo, seen = [("", str(folder))], set()
    while todo:
        prefix, place = todo.pop()
        here = os.stat(place)
        if (here.st_dev, here.st_ino) in seen:
            continue
        seen.add((here.st_dev, here.st_ino))
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir():
                        todo.append((f"{prefix}{entry.name}/", entry.path))
                    else:
                        yield prefix + entry.name, entry.path, _state(entry.path)
        except OSError as error:  # the reader will say more
            yield f"{prefix}: {error.errno}", place, None


def _beside(path: Path) -> Iterator[tuple[str, str, os.stat_result | None]]:
    """The same of a file and its companions."""
    stem = path.name.removesuffix(".gz").rpartition(".")[0] or path.name
    try:
        names = [n for n in os.listdir(path.parent) if n == path.name or n.startswith(f"{stem}.")]
    except OSError:
        names = []
    for name in {*names, path.name}:
        if name == path.name or (name.removesuffix(".gz").rpartition(".")[0] or name) == stem:
            yield name, str(path.parent / name), _state(path.parent / name)


def _state(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _content(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        return f"unreadable {error.errno}".encode()
