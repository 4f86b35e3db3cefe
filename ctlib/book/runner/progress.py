"""Progress of running chapters: a papermill engine that reports finished cells, and bars or lines for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ctlib.book.runner.times import Times

FAILED = "FAILED"


def register(progress: Callable[[int, int], None] | None, times: Times) -> str:
    """Name of a papermill engine that calls progress(cells done, cells in all) after every cell, and notes its time.

    A `Watch` is told the cells at the start.
    """
    from papermill.engines import NBClientEngine, papermill_engines

    class Reporting(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **kwargs):
            complete, total, done = nb_man.cell_complete, len(nb_man.nb.cells), set()
            last = [time.monotonic()]
            if isinstance(progress, Watch):
                progress.begin([cell.source for cell in nb_man.nb.cells], times)

            def report(cell, cell_index=None, **rest):
                complete(cell, cell_index=cell_index, **rest)
                done.add(cell_index)
                times.add(cell.source, time.monotonic() - last[0])
                last[0] = time.monotonic()
                if progress:
                    progress(len(done), total)

            nb_man.cell_complete = report
            try:
                return super().execute_managed_notebook(nb_man, kernel_name, **kwargs)
            finally:
                times.save()

    from ctlib.book.runner.watch import Watch

    papermill_engines.register("ctlib", Reporting)
    return "ctlib"


class Bars:
    """One bar per chapter in a terminal; elsewhere one line when a chapter ends."""

    def __init__(self, names: list[str]):
        self.bars = {}
        if sys.stderr.isatty():
            import tqdm

            style = "{desc:28s} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} cells, {elapsed}"
            self.bars = {n: tqdm.tqdm(desc=n, total=1, position=i, bar_format=style) for i, n in enumerate(names)}

    def update(self, name: str, done: int, total: int) -> None:
        if name in self.bars:
            self.bars[name].total, self.bars[name].n = total, done
            self.bars[name].refresh()

    def end(self, name: str, text: str) -> None:
        if name not in self.bars:
            print(f"{name:28s} {text}", flush=True)
            return
        bar = self.bars[name]
        bar.n = bar.total if text != FAILED else bar.n
        bar.set_description_str(f"{name} {FAILED}" if text == FAILED else name)

    def close(self) -> None:
        for bar in self.bars.values():
            bar.close()


@contextmanager
def one_bar(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """What to call after every cell of one run: draws a bar in a terminal, None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    bars = Bars([name])
    try:
        yield lambda done, total: bars.update(name, done, total)
    finally:
        bars.close()
