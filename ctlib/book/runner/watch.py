"""A long run for the person who waits: how far it is, how long it took, about what is left; a line now and then."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ctlib.book.runner.times import Times

EVERY_S, SHARE = 60.0, 0.02  # between two lines, and at least this share of the time that has passed
LIVE_S = 1.0  # the same in a terminal, where a line replaces the one before


class Watch:
    """How far one run is.

    live   one line, written again and again; else lines further and further apart, as a log wants them
    clock  seconds that pass
    """

    def __init__(self, name: str, live: bool = False, clock: Callable[[], float] = time.monotonic):
        self.name, self.live, self.clock = name, live, clock
        self.sources, self.times, self.done, self.spent = [], None, 0, 0.0
        self.started = self.said = self.cell_began = clock()
        self.training = None  # (step, steps, where and when it was first seen)

    def begin(self, sources: Sequence[str], times: Times, done: int = 0, spent: float = 0.0) -> None:
        """The cells of the run, how many of them a stopped run had done, and the seconds those took."""
        self.sources, self.times, self.done, self.spent = list(sources), times, done, spent
        self.started = self.said = self.cell_began = self.clock()

    def __call__(self, done: int, total: int) -> None:
        """So many cells are done."""
        self.done, self.cell_began, self.training = done, self.clock(), None
        self.tick()

    def step(self, step: int, steps: int) -> None:
        """A training within the present cell has done a step; as `ctlib.train` tells it."""
        known = self.training
        same = known is not None and known[1] == steps and step > known[0]
        self.training = (step, steps, *(known[2:] if same else (step, self.clock())))

    def tick(self) -> None:
        """Say a line where one is due."""
        now = self.clock()
        if now - self.said < (LIVE_S if self.live else max(EVERY_S, SHARE * (now - self.started))):
            return
        self.said = now
        print(f"\r{self.line()}\x1b[K" if self.live else self.line(), file=sys.stderr, end="" if self.live else "\n")
        sys.stderr.flush()

    def line(self) -> str:
        """What there is to say now."""
        now, words = self.clock(), [self.name]
        if self.sources:
            words[0] += f": {self.done} of {len(self.sources)} cells"
        words.append(spoken(self.spent + now - self.started))
        left = self.times.left(self.sources, self.done, now - self.cell_began) if self.times is not None else None
        if left is not None:
            words.append(f"about {spoken(left)} left")
        if self.training is not None:
            step, steps, first, since = self.training
            rest = (now - since) / (step - first) * (steps - step) if step > first else None
            words.append(f"training: step {step} of {steps}" + ("" if rest is None else f", {spoken(rest)} left of it"))
        return ", ".join(words)


@contextmanager
def watching(name: str, live: bool = False) -> Iterator[Watch]:
    """A `Watch` that also speaks while nothing is reported, from a thread of its own."""
    watch, ended = Watch(name, live and sys.stderr.isatty()), threading.Event()

    def speak() -> None:
        while not ended.wait(LIVE_S):
            watch.tick()

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()
        if watch.live:
            print(file=sys.stderr)


def spoken(seconds: float) -> str:
    """A duration in the units that one says: "40 s", "12 min", "3 h 05 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
