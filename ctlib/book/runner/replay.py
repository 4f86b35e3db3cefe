"""A pytest plugin beside nbval: a chapter whose run is stored is compared with its reference without running again.

nbval asks a kernel for the outputs of every cell. Here a playback stands in the kernel's place and says what the stored
run said; all else is nbval's own: which outputs count, tags, a cell that raised, how a failure is reported.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

sys.modules.setdefault("rfc3987_syntax", None)  # see `ctlib.book.__main__`: a second of each process of the tests

import nbformat  # noqa: E402
import pytest  # noqa: E402
from nbval.plugin import IPyNbCell, IPyNbFile  # noqa: E402

from ctlib.book.runner.reference import code_cells_of  # noqa: E402

REPLAYED = "replayed"


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "executed run CHAPTER/KEY.ipynb, compared in place of a fresh one of that chapter; may be repeated"
    parser.addoption("--replay", action="append", default=[], metavar="NOTEBOOK", help=text)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # a worker of xdist prints nothing
        config.pluginmanager.register(Told())


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Iterator[None]:
    """A notebook that nbval would execute, as a replayed one where a run of it is given."""
    found = yield
    runs = {Path(run).parent.name: Path(run) for run in parent.config.option.replay}
    if file_path.stem in runs and any(isinstance(c, IPyNbFile) for c in found):
        return [ReplayedFile.from_parent(parent, path=file_path, run=runs[file_path.stem])]
    return found


class ReplayedFile(IPyNbFile):
    """A reference notebook whose cells are compared with those of an executed run."""

    def __init__(self, *args, run: Path, **kwargs):
        super().__init__(*args, **kwargs)
        self.run = run

    def setup(self) -> None:
        self.kernel = Playback(nbformat.read(self.run, 4))
        self.setup_sanitize_files()

    def collect(self) -> Iterator[IPyNbCell]:
        for cell in super().collect():
            asked = {name: getattr(cell, name) for name in ("name", "cell_num", "cell", "options")}
            yield ReplayedCell.from_parent(self, **asked)


class ReplayedCell(IPyNbCell):
    """A cell of a reference and the one of the run that stands at its place."""

    def runtest(self) -> None:
        self.user_properties.append((REPLAYED, self.parent.run.name))
        self.parent.kernel.at = self.cell_num
        super().runtest()


class Playback:
    """In place of nbval's kernel: messages as a kernel would send them, from the outputs of an executed notebook.

    at  which code cell comes next
    """

    def __init__(self, nb: nbformat.NotebookNode):
        self.cells, self.at, self.messages = code_cells_of(nb), 0, deque()

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None:
        self.messages.clear()

    def execute_cell_input(self, source: str, allow_stdin: bool = False) -> str:
        """Identifier of the request; ValueError where the run holds other code than the reference."""
        if self.at >= len(self.cells) or self.cells[self.at].source != source:
            raise ValueError(f"the stored run is of other code at code cell {self.at + 1}")
        request = {"parent_header": {"msg_id": f"cell {self.at}"}}
        for output in self.cells[self.at].outputs:
            self.messages.append({**request, "msg_type": output.output_type, "content": output})
        self.messages.append({**request, "msg_type": "status", "content": {"execution_state": "idle"}})
        return f"cell {self.at}"

    def await_reply(self, request: str, timeout: float | None = None) -> None:
        """A run that is stored has been executed already."""

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        if not self.messages:
            raise Empty
        return self.messages.popleft()

    def await_idle(self, request: str, timeout: float | None = None) -> None:
        """Leave out what the cell said after it raised."""
        self.messages.clear()


class Told:
    """Lines below the tests: which chapters were replayed, which executed."""

    def __init__(self):
        self.chapters = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        path, _, cell = report.nodeid.partition("::Cell ")
        if cell and report.when == "call" and report.outcome != "skipped":
            self.chapters[Path(path).stem] = dict(report.user_properties).get(REPLAYED)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.chapters:
            terminalreporter.section("chapters and their references")
        for slug, run in sorted(self.chapters.items()):
            how = f"replayed: what the stored run {run} put out was compared" if run else "executed"
            terminalreporter.write_line(f"{slug:28s} {how}")
