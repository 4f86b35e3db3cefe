"""Another process at a kept result, played by a thread: a lock is held by whoever took it."""

import threading
from contextlib import contextmanager

from filelock import FileLock


@contextmanager
def another_at(path):
    """Somebody computes the result of this path until the event that is given is set."""
    taken, end = threading.Event(), threading.Event()

    def compute():
        with FileLock(path.with_suffix(".lock")):
            taken.set()
            end.wait(60)

    thread = threading.Thread(target=compute)
    thread.start()
    assert taken.wait(60)
    try:
        yield end
    finally:
        end.set()
        thread.join()
