"""A chapter's code cells by plain `exec`: for a machine with torch and a GPU but without Jupyter."""

from __future__ import annotations

import linecache
import os
import sys
import time
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from ctlib.book.chapter import CodeCell, code_cells, plain_python
from ctlib.book.page.output import COLLECTOR, Collector
from ctlib.book.project import BookError, Project
from ctlib.book.runner.resume import Kept, Tee
from ctlib.book.runner.times import Times
from ctlib.book.runner.watch import Watch
from ctlib.train.loop import WATCH


def run_cells(
    project: Project, slug: str, values: dict, preset: str, kept: Kept | None = None, watch: Watch | None = None
) -> Collector:
    """What the chapter measured when its cells run one after another in this process, with these parameters.

    Outputs go to the terminal as text, figures nowhere but into the collector. BookError names the cell that raised.
    kept   where the run goes on if it was stopped, and writes down what slow cells made
    watch  told of cells and of the steps of trainings within them
    """
    collector, here = Collector(), Path.cwd()
    pace = Pace(Times(project.store / slug, preset), watch, kept)
    os.environ.update(CTLIB_PRESET=preset, CTLIB_BOOK=str(project.book), MPLBACKEND="agg")
    token, watched = COLLECTOR.set(collector), WATCH.set(pace.step)
    os.chdir(project.book)
    try:
        with redirect_stdout(Tee(sys.stdout, kept.output)) if kept else nullcontext():
            _run_all(slug, code_cells(project.source(slug)), values, collector, pace)
    finally:
        os.chdir(here)
        COLLECTOR.reset(token)
        WATCH.reset(watched)
        pace.times.save()
    return collector


@dataclass
class Pace:
    """The time that cells take: noted for later runs, shown to who waits, and kept where a cell is stopped on its way.

    spent  seconds of the present cell in runs that were stopped within it;  began  when it began in this one
    """

    times: Times
    watch: Watch | None = None
    kept: Kept | None = None
    cells: list[CodeCell] = field(default_factory=list)
    spent: float = 0.0
    began: float = 0.0

    def begin(self, cells: list[CodeCell], done: int) -> None:
        if self.watch:
            self.watch.begin([c.source for c in cells], self.times, done, self.kept.seconds if self.kept else 0.0)

    def enter(self, cells: list[CodeCell]) -> None:
        """The last of these cells begins."""
        self.cells, self.began = cells, time.perf_counter()
        self.spent = self.kept.stopped_within(cells) if self.kept else 0.0

    def seconds(self) -> float:
        """What the present cell took by now."""
        return self.spent + time.perf_counter() - self.began

    def step(self, step: int, steps: int) -> None:
        """A training of the present cell has done a step."""
        if self.kept:
            self.kept.note(self.cells, self.seconds())
        if self.watch:
            self.watch.step(step, steps)

    def leave(self, total: int) -> None:
        """The cell is done."""
        self.times.add(self.cells[-1].source, self.seconds())
        if self.watch:
            self.watch(len(self.cells), total)


def _run_all(slug: str, cells: list[CodeCell], values: dict, collector: Collector, pace: Pace) -> None:
    namespace, kept = {"__name__": "__main__"}, pace.kept
    names = [f"{slug}, code cell {i}" for i in range(1, len(cells) + 1)]
    done = kept.restore(cells, namespace, collector) if kept else 0
    pace.begin(cells, done)
    for i, (name, cell) in enumerate(zip(names, cells, strict=True), 1):
        _show_source(name, cell)
        if i <= done:
            continue
        pace.enter(cells[:i])
        try:
            _run_cell(name, cell, namespace)
        except BookError as error:
            if kept:
                kept.failed(error)
            raise
        if "parameters" in cell.tags:
            namespace.update(values)
        if kept:
            kept.after(cells[:i], pace.seconds(), namespace, collector)
        pace.leave(len(cells))


def _show_source(name: str, cell: CodeCell) -> None:
    """Put the cell where `inspect` and tracebacks look for sources."""
    source = plain_python(cell.source)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)


def _run_cell(name: str, cell: CodeCell, namespace: dict) -> None:
    try:
        exec(compile(plain_python(cell.source), name, "exec"), namespace)
    except Exception as error:
        if "raises-exception" not in cell.tags:
            raise BookError(f"{name}: {type(error).__name__}: {error}") from error
    _close_figures()


def _close_figures() -> None:
    """Close what the cell drew, as a notebook does after every cell."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
