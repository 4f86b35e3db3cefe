"""Files that are written whole or not at all, whatever fails on the way and whoever writes at the same time."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from ctlib.errors import DataError

HOST = socket.gethostname().partition(".")[0]  # several machines may share one folder


class Unwritable(DataError, OSError):
    """A file could not be written: the disk is full, the folder read-only. What was there before is still there."""


def why(error: OSError) -> str:
    """What the system says, without the path and the number."""
    return error.strerror or str(error) or type(error).__name__


def told(error: OSError) -> str:
    """What the system refused, and where, in one line."""
    if isinstance(error, Unwritable) or not error.filename:
        return " ".join(str(error).split())
    return f"{error.filename}: {why(error)}"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """The name of a new file beside `path` that takes its place when the block ends, in one step; none if it fails.

    The bytes reach the disk before the name does, so a process or machine that dies leaves the old file or the new.
    Unwritable when the system refuses.
    """
    path = Path(path)
    part = path.with_name(f"{path.name}.{own_mark()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clean_parts(path.parent, f"{escape(path.name)}.*.part")
        yield part
        _sync(part, os.O_RDWR)
        os.replace(part, path)
    except OSError as error:
        raise Unwritable(path, "file", f"cannot be written ({why(error)})") from None
    finally:
        with suppress(OSError):
            part.unlink()
    with suppress(OSError):  # makes the rename last, where folders can be synced
        _sync(path.parent, os.O_RDONLY)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a file in one step."""
    with replacing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def check_writable(path: str | Path) -> None:
    """Unwritable where a file could not be written now, before hours of work; nothing is left."""
    path = Path(path).absolute()
    folder = next(p for p in path.parents if p.exists())
    trial = folder / f".{path.name}.{own_mark()}.part"
    clean_parts(folder, f".{escape(path.name)}.*.part")
    try:
        trial.write_bytes(b"1")
    except OSError as error:
        raise Unwritable(path, "file", f"cannot be written ({why(error)})") from None
    finally:
        with suppress(OSError):
            trial.unlink()


def own_mark() -> str:
    """What names of this process's unfinished files hold."""
    return f"{HOST}-{os.getpid()}"


def clean_parts(folder: Path, pattern: str) -> None:
    """Remove unfinished files and folders of this machine's processes that are gone; `own_mark` between dots."""
    with suppress(OSError):
        for part in folder.glob(pattern):
            marks = [m.rpartition("-") for m in part.name.split(".")]
            pids = [int(pid) for host, _, pid in marks if host == HOST and pid.isdigit()]
            if pids and not alive(pids[-1]):
                shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink()


def alive(pid: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
