"""Threads for compiled loops that wait for nobody: `share` instead of numba's `parallel=True`.

A loop is cut into items, and its threads claim them one by one from a counter:

    @njit(nogil=True, cache=True)             # of ctlib.compiled
    def squares(claims, x, out):
        for item in claimed(claims):          # instead of prange(items)
            out[item] = x[item] ** 2

    share(squares, items, x, out)             # every item once, by this thread and those that come to help

OpenMP gives each thread its part beforehand and waits for the last: a product of 2 ms takes 12 where the second thread
slept. Here the calling thread begins at once, and does all that a sleeping one does not come to claim. Which thread an
item meets is not known: it must be right in any, and write what no other item writes. A dozen items a thread, of at
least some 20 microseconds, are enough.
"""

import contextlib
import ctypes
import os
import threading
from functools import partial
from queue import SimpleQueue

import numba
import numpy as np
import torch
from numba import types
from numba.extending import intrinsic
from numba.np.ufunc import parallel

from ctlib.compiled import njit

NEXT, DONE, ITEMS, SIZE = 0, 8, 16, 24  # entries of the counters, on cache lines of their own
SPINS = 4096  # looks at the counter, some 50 microseconds, before this thread sleeps until the others have finished


@intrinsic
def _advance(typingctx, claims, entry, by):
    """Add to an entry that other threads add to; its value before."""

    def codegen(context, builder, signature, args):
        place = builder.gep(context.make_array(claims)(context, builder, args[0]).data, [args[1]])
        return builder.atomic_rmw("add", place, args[2], "seq_cst")

    return types.int64(claims, types.int64, types.int64), codegen


@intrinsic
def borrowed(typingctx, value):
    """An array, or a tuple of them, without a count of its users, which threads would wait for each other to change.

    For what stays alive through the call, such as a kernel's arguments.
    """

    def codegen(context, builder, signature, args):
        return _without_owner(context, builder, value, args[0])

    return value(value), codegen


def _without_owner(context, builder, kind, value):
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = array.meminfo.type(None), array.parent.type(None)
        return array._getvalue()
    for k, part in enumerate(kind if isinstance(kind, types.BaseTuple) else ()):
        inner = _without_owner(context, builder, part, builder.extract_value(value, k))
        value = builder.insert_value(value, inner, k)
    return value


@njit
def claimed(claims):
    """The items that this thread claims, until none is left."""
    item = _advance(claims, NEXT, 1)
    while item < claims[ITEMS]:
        yield item
        _advance(claims, DONE, 1)
        item = _advance(claims, NEXT, 1)


@njit(nogil=True, cache=True)
def _finished(claims, spins):
    """Whether all items are done, looked at until they are or `spins` times."""
    while spins > 0 and _advance(claims, DONE, 0) < claims[ITEMS]:
        spins -= 1
    return spins > 0


def share(kernel, items: int, *args) -> None:
    """Call kernel(claims, *args) here and in the threads that come in time; returns when all items are done."""
    claims = np.zeros(SIZE, np.int64)
    claims[ITEMS] = items
    helpers = min(num_threads(), items) - 1
    if helpers < 1:
        kernel(claims, *args)
        return
    job, finished = _Job(kernel, claims, args), False
    _pool.ask(job, helpers)
    try:
        kernel(claims, *args)
        finished = _finished(claims, SPINS)
    except BaseException:
        claims[ITEMS] = 0  # nothing more to claim
        raise
    finally:
        job.close(finished)


def num_threads() -> int:
    """Threads a loop may use: no more than numba's (NUMBA_NUM_THREADS) nor torch's (OMP_NUM_THREADS), as set now."""
    if parallel._is_initialized:  # else nobody has set it, and to ask would set OpenMP's number, which is torch's
        return min(torch.get_num_threads(), numba.get_num_threads())
    return min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)


def _this_cpu() -> int | None:
    """Number of the processor that runs this thread; None where threads cannot be kept off it."""
    return _getcpu() if _getcpu else None


_getcpu = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


class _Job:
    """One shared call: open until its caller has done what was left, who then waits for those still at it."""

    def __init__(self, kernel, claims, args):
        self.call, self.inside, self.error = partial(kernel, claims, *args), 0, None
        self.lock, self.empty = threading.Lock(), SimpleQueue()

    def help(self) -> None:
        """In another thread: take part, if there is still something to do."""
        with self.lock:
            call, self.inside = self.call, self.inside + 1
        try:
            if call:
                call()
        except BaseException as error:
            self.error = error
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.empty.put(None)

    def close(self, finished: bool) -> None:
        """Let nobody in; where items are not finished, wait for those inside, and raise what one of them raised."""
        with self.lock:
            self.call, inside = None, self.inside
        while inside and not finished:
            self.empty.get()
            inside = self.inside
        if self.error and not finished:
            raise self.error


class _Pool:
    """Threads that sleep until they are asked for help."""

    def __init__(self):
        self.jobs, self.threads, self.lock, self.avoided = SimpleQueue(), [], threading.Lock(), None

    def ask(self, job: _Job, helpers: int) -> None:
        """Wake as many threads, started where there are fewer."""
        if len(self.threads) < helpers:
            self.start(helpers)
        cpu = _this_cpu()
        if cpu != self.avoided:
            self.avoid(cpu)
        for _ in range(helpers):
            self.jobs.put(job)

    def start(self, num: int) -> None:
        """Have `num` threads."""
        with self.lock:
            while len(self.threads) < num:
                thread = threading.Thread(target=self.work, name="ctlib", daemon=True)
                thread.start()
                self.threads.append(thread)
            self.avoided = None

    def avoid(self, cpu: int) -> None:
        """Keep the threads off the asking one's processor: a scheduler may wake them there, to wait until it rests."""
        self.avoided, others = cpu, os.sched_getaffinity(0) - {cpu}
        for thread in self.threads if others else []:
            with contextlib.suppress(OSError):  # where that is forbidden, they go where they are put
                os.sched_setaffinity(thread.native_id, others)

    def work(self) -> None:
        while True:
            self.jobs.get().help()


def _renew() -> None:
    """A forked process has none of its parent's threads."""
    global _pool
    _pool = _Pool()


_renew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
