"""A chapter's code cells by plain `exec`: for a machine with torch and a GPU but without Jupyter."""

from __future__ import annotations

import linecache
import os
import sys
import time
from contextlib import nullcontext, redirect_stdout
from pathlib import Path

from ctlib.book.chapter import CodeCell, code_cells, plain_python
from ctlib.book.page.output import COLLECTOR, Collector
from ctlib.book.project import BookError, Project
from ctlib.book.runner.resume import Kept, Tee


def run_cells(project: Project, slug: str, values: dict, preset: str, kept: Kept | None = None) -> Collector:
    """What the chapter measured when its cells run one after another in this process, with these parameters.

    Outputs go to the terminal as text, figures nowhere but into the collector. BookError names the cell that raised.
    kept  where the run goes on if it was stopped, and writes down what slow cells made
    """
    collector, here = Collector(), Path.cwd()
    os.environ.update(CTLIB_PRESET=preset, CTLIB_BOOK=str(project.book), MPLBACKEND="agg")
    token = COLLECTOR.set(collector)
    os.chdir(project.book)
    try:
        with redirect_stdout(Tee(sys.stdout, kept.output)) if kept else nullcontext():
            _run_all(slug, code_cells(project.source(slug)), values, collector, kept)
    finally:
        os.chdir(here)
        COLLECTOR.reset(token)
    return collector


def _run_all(slug: str, cells: list[CodeCell], values: dict, collector: Collector, kept: Kept | None) -> None:
    namespace = {"__name__": "__main__"}
    names = [f"{slug}, code cell {i}" for i in range(1, len(cells) + 1)]
    done = kept.restore(cells, namespace, collector) if kept else 0
    for i, (name, cell) in enumerate(zip(names, cells, strict=True), 1):
        _show_source(name, cell)
        if i <= done:
            continue
        started = time.perf_counter()
        try:
            _run_cell(name, cell, namespace)
        except BookError as error:
            if kept:
                kept.failed(error)
            raise
        if "parameters" in cell.tags:
            namespace.update(values)
        if kept:
            kept.after(cells[:i], time.perf_counter() - started, namespace, collector)


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
