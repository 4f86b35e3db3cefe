"""Results of computations of minutes, each in a file named after all that it depends on; processes can share them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ctlib.train.checkpoint import load_checkpoint, save_checkpoint
from ctlib.train.described import digest, sources


@contextmanager
def claimed(path: str | Path, wait: bool = True) -> Iterator[bool]:
    """Whether a file is this process's to write, among all that ask; its folder is made.

    wait  until no other process is at it; else False is what is given at once
    """
    from filelock import FileLock, Timeout

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
        path.with_suffix(".lock").unlink(missing_ok=True)


class Kept:
    """A folder of results: what was computed before is read; what another process is at is waited for.

    folder   None: results are kept in memory alone
    modules  whose code belongs to every name: changed code finds nothing, and what it would have found stays
    """

    def __init__(self, folder: str | Path | None, *modules: str):
        self.folder, self.memory = None if folder is None else Path(folder), {}
        self.code = json.dumps(sources(*modules), sort_keys=True)

    def path(self, name: str, about: Mapping[str, object], ending: str = "result") -> Path:
        """The file of a result: a readable name, and a digest of all that it depends on."""
        key = digest(json.dumps(dict(about), sort_keys=True), self.code)[:16]
        return (self.folder or Path()) / f"{name.replace(' ', '-')}-{key}.{ending}"

    def get(self, name: str, about: Mapping[str, object], make: Callable[[], dict], wait: bool = True) -> dict | None:
        """A result of plain data and tensors, from memory, from its file, or computed and written.

        about  numbers, texts, lists and dictionaries: everything but the code that the result depends on
        wait   where another process is computing it; else None is returned at once

        DataError for a file that is damaged: delete it.
        """
        path = self.path(name, about)
        if path not in self.memory:
            found = make() if self.folder is None else self._shared(path, about, make, wait)
            if found is None:
                return None
            self.memory[path] = found
        return self.memory[path]

    def _shared(self, path: Path, about: Mapping[str, object], make: Callable[[], dict], wait: bool) -> dict | None:
        """From the file, or written to it while no other process is."""
        if not path.exists():
            with claimed(path, wait) as ours:
                if not ours:
                    return None
                if not path.exists():  # another may have written it while this one waited
                    save_checkpoint(path, {"about": dict(about), "result": make()})
        return load_checkpoint(path)["result"]

    def forget(self) -> None:
        """Free the memory of results that are in files."""
        if self.folder is not None:
            self.memory.clear()
