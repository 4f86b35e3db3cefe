"""A chapter's code cells by plain `exec`: for a machine with torch and a GPU but without Jupyter."""

from __future__ import annotations

import linecache
import os
from pathlib import Path

from ctlib.book.chapter import CodeCell, code_cells, plain_python
from ctlib.book.page.output import COLLECTOR, Collector
from ctlib.book.project import BookError, Project


def run_cells(project: Project, slug: str, values: dict, preset: str) -> Collector:
    """What the chapter measured when its cells run one after another in this process, with these parameters.

    Outputs go to the terminal as text, figures nowhere but into the collector. BookError names the cell that raised.
    """
    collector, here = Collector(), Path.cwd()
    os.environ.update(CTLIB_PRESET=preset, CTLIB_BOOK=str(project.book), MPLBACKEND="agg")
    token = COLLECTOR.set(collector)
    namespace = {"__name__": "__main__"}
    os.chdir(project.book)
    try:
        for i, cell in enumerate(code_cells(project.source(slug)), 1):
            _run_cell(f"{slug}, code cell {i}", cell, namespace)
            if "parameters" in cell.tags:
                namespace.update(values)
    finally:
        os.chdir(here)
        COLLECTOR.reset(token)
    return collector


def _run_cell(name: str, cell: CodeCell, namespace: dict) -> None:
    source = plain_python(cell.source)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # `inspect` finds it there
    try:
        exec(compile(source, name, "exec"), namespace)
    except Exception as error:
        if "raises-exception" not in cell.tags:
            raise BookError(f"{name}: {type(error).__name__}: {error}") from error
    _close_figures()


def _close_figures() -> None:
    """Close what the cell drew, as a notebook does after every cell."""
    import sys

    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
