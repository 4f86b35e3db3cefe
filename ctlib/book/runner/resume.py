"""Where a run in this process goes on after it was stopped: behind the last cell whose results were written down."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ctlib.book import parameters
from ctlib.book.chapter import CodeCell
from ctlib.book.ledger import staleness
from ctlib.book.page.output import Collector
from ctlib.book.project import BookError, Project
from ctlib.book.runner import run
from ctlib.book.runner.private import make_private
from ctlib.book.runner.provenance import environment
from ctlib.errors import DataError
from ctlib.files import Unwritable, clean_parts, write_whole

KEEP_AFTER_S = 5.0  # work that is worth a file
SHARE = 0.05  # of the time that writing may take
NOTE, NOTE_S = "under-way.json", 30.0  # seconds of a cell under way, and between two notes of them
UNFINISHED = ".unfinished"  # end of the name of a folder
READERS = ("resume.py", "snapshot.py", "pickling.py", "private.py", "inprocess.py")  # what writes and reads a file
CHECKPOINTS = "checkpoints"  # the parameter of chapters whose trainings go on from where they were stopped


@dataclass
class Kept:
    """Results of the first cells of a run, in one file of `folder` that a later one replaces.

    key      of all that the results depend on besides the cells: library, data, parameters, packages, machine
    seconds  that the cells before took, those of runs that were stopped among them;  output  what they printed
    """

    folder: Path
    key: str
    seconds: float = 0.0
    output: io.StringIO = field(default_factory=io.StringIO)
    _unsaved: float = 0.0
    _cost: float = 0.0  # seconds that the last file took
    _noted: float = 0.0  # when a cell's time was
    _told: set = field(default_factory=set)

    def restore(self, cells: Sequence[CodeCell], names: dict, found: Collector) -> int:
        """How many cells need not run again: their names, claims, figures and output are put back, and told.

        A damaged file is removed; BookError, and the file stays, where one cannot be restored here and now.
        """
        clean_parts(self.folder, "*.part")
        with suppress(OSError):  # a run that goes on beside this one replaces its files
            self._tell_others()
        for done in range(len(cells), 0, -1):
            path = self._path(cells[:done])
            if not path.exists():
                continue
            try:
                from ctlib.book.runner import snapshot

                extra = snapshot.load(path, names)
            except DataError as error:
                say(f"{error}; starts at the first cell")
                path.unlink()
                return 0
            for name in ("claims", "figures", "numbers", "kept", "curves", "said"):
                getattr(found, name).update(getattr(extra["found"], name))
            self.seconds = extra["seconds"]
            print(extra["output"], end="")  # and so into `output`
            say(f"goes on after code cell {done} of {len(cells)}; {self.seconds:.0f} s of work were kept")
            return done
        return 0

    def after(self, cells: Sequence[CodeCell], seconds: float, names: dict, found: Collector) -> None:
        """Write down what is known after these cells, the last of which took some seconds, if it is worth it."""
        self.seconds += seconds
        self._unsaved += seconds
        if self._unsaved < max(KEEP_AFTER_S, self._cost / SHARE):
            return
        from ctlib.book.runner import snapshot

        path, start = self._path(cells), time.time()
        with suppress(OSError):  # it is told below
            make_private(self.folder)
        extra = {"found": found, "seconds": self.seconds, "output": self.output.getvalue()}
        try:
            snapshot.save(path, names, extra)
        except snapshot.NotStorable as error:
            if new := set(error.names) - self._told:
                told = ", ".join(f"`{name}` ({error.names[name]})" for name in sorted(new))
                say(f"code cell {len(cells)}: {told} cannot be written to a file; a stopped run makes it again")
            self._told |= set(error.names)
            self._cost = time.time() - start
            return
        except Unwritable as error:
            say(f"code cell {len(cells)} is not kept: {error}")
            return
        self._unsaved, self._cost = 0.0, time.time() - start
        for old in self.folder.glob("*.cells"):
            if old != path:
                old.unlink(missing_ok=True)

    def note(self, cells: Sequence[CodeCell], seconds: float) -> None:
        """Write down, now and then, how long the last of these cells has run, for a run that is stopped within it."""
        if time.time() - self._noted < NOTE_S:
            return
        self._noted = time.time()
        with suppress(OSError):  # costs a number of seconds
            make_private(self.folder)
            write_whole(self.folder / NOTE, json.dumps([self._path(cells).name, seconds]))

    def stopped_within(self, cells: Sequence[CodeCell]) -> float:
        """Seconds that the last of these cells ran when a run was stopped within it."""
        try:
            name, seconds = json.loads((self.folder / NOTE).read_text())
            return float(seconds) if name == self._path(cells).name else 0.0
        except (OSError, ValueError, TypeError):
            return 0.0

    def failed(self, error: BookError) -> None:
        """BookError, and no cells kept, if one failed for what was written down is less than what it needs."""
        from ctlib.book.runner import pickling

        if pickling.NO_GRAPH in str(error):
            for path in self.folder.glob("*.cells"):
                path.unlink(missing_ok=True)
            raise BookError(f"{error}; cells that were kept are removed: start the run again") from error

    def trainings(self) -> str:
        """Folder for the checkpoints of trainings, beside the file."""
        return str(self.folder / "trainings")

    def forget(self) -> None:
        """Remove what was kept: the run has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.folder.parent.rmdir()

    def _tell_others(self) -> None:
        """Say what runs of other code, parameters or machines left: hours perhaps, so a person removes it."""
        files = [
            p for p in self.folder.parent.glob(f"*{UNFINISHED}/**/*") if p.is_file() and self.folder not in p.parents
        ]
        if files:
            size = sum(p.stat().st_size for p in files) / 2**20
            folders = ", ".join(sorted({p.relative_to(self.folder.parent).parts[0] for p in files}))
            say(f"{self.folder.parent} also holds {size:.0f} MiB of unfinished runs that are not these: {folders}")

    def _path(self, cells: Sequence[CodeCell]) -> Path:
        chain = hashlib.sha256(self.key.encode())
        for cell in cells:
            chain.update(b"\0cell\0" + cell.source.encode())
        return self.folder / f"{len(cells):03d}-{chain.hexdigest()[:20]}.cells"


def kept(project: Project, slug: str, values: dict, preset: str) -> Kept:
    """What earlier runs of these cells with these parameters left in the store."""
    parts = {
        "library": staleness.reader_sha256(slug, project),
        "inputs": staleness.inputs_sha256(slug, project),
        "parameters": values,
        "files": run.files_read(project, slug, values),
        "preset": preset,
        "environment": environment(),
        "readers": [hashlib.sha256(Path(__file__).with_name(n).read_bytes()).hexdigest() for n in READERS],
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Kept(project.store / slug / f"{key[:20]}{UNFINISHED}", key)


def with_checkpoints(project: Project, slug: str, values: dict, kept: Kept) -> dict:
    """The parameters, and a folder for checkpoints where the chapter takes one and none is given."""
    found = parameters.declarations_of(project, slug)
    takes = CHECKPOINTS in found and found[CHECKPOINTS].path == "folder to write"
    return {CHECKPOINTS: kept.trainings(), **values} if takes else values


class Tee(io.TextIOBase):
    """Text that goes to two streams."""

    def __init__(self, *streams):
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        self.streams[0].flush()


def say(text: str) -> None:
    """A line for the person who waits, apart from what the cells print."""
    print(text, file=sys.stderr, flush=True)
