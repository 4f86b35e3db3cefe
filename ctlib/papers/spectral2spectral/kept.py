"""Results of computations of minutes, each in a file named after all that it depends on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ctlib.train.checkpoint import load_checkpoint, save_checkpoint
from ctlib.train.described import digest, sources


class Kept:
    """A folder of results: a computation that was done before is read, not done again.

    folder   None: results are kept in memory alone
    modules  whose code belongs to every name: changed code finds nothing, and what it would have found stays
    """

    def __init__(self, folder: str | Path | None, *modules: str):
        self.folder, self.memory = None if folder is None else Path(folder), {}
        self.code = json.dumps(sources(*modules))

    def path(self, name: str, about: Mapping[str, object]) -> Path:
        """The file of a result: a readable name, and a digest of all that it depends on."""
        key = digest(json.dumps(dict(about), sort_keys=True), self.code)[:16]
        return (self.folder or Path()) / f"{name}-{key}.result"

    def has(self, name: str, about: Mapping[str, object]) -> bool:
        """Whether a result is there already."""
        path = self.path(name, about)
        return path in self.memory or (self.folder is not None and path.exists())

    def get(self, name: str, about: Mapping[str, object], make: Callable[[], dict]) -> dict:
        """A result of plain data and tensors, from memory, from its file, or computed and written.

        about  numbers, texts, lists and dictionaries: everything but the code that the result depends on
        DataError for a file that is damaged: delete it.
        """
        path = self.path(name, about)
        if path not in self.memory:
            if self.folder is not None and path.exists():
                self.memory[path] = load_checkpoint(path)["result"]
            else:
                self.memory[path] = make()
                if self.folder is not None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    save_checkpoint(path, {"about": dict(about), "result": self.memory[path]})
        return self.memory[path]

    def forget(self, name: str, about: Mapping[str, object]) -> None:
        """Free the memory of a result that is in its file."""
        if self.folder is not None:
            self.memory.pop(self.path(name, about), None)
