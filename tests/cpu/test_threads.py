"""Shared loops: every item once, whoever comes to help; nobody is waited for who has not begun."""

import multiprocessing
import os
import sys
import threading
import time

import numba
import numpy as np
import pytest
import torch

from ctlib.compiled import njit
from ctlib.cpu import threads
from ctlib.cpu.threads import borrowed, claimed, num_threads, share


@njit(nogil=True, cache=True)
def count(claims, times, work):
    """times[item] += 1, slowly."""
    for item in claimed(claims):
        for k in range(work):
            times[item] += 1 + 0 * k
        times[item] -= work - 1


@njit(nogil=True, cache=True)
def fail(claims, at):
    for item in claimed(claims):
        if item == at:
            raise ValueError("this item")


@pytest.fixture(params=[1, 2, 5])
def helpers(request, monkeypatch):
    """As many threads as asked for, on any machine."""
    monkeypatch.setattr(threads, "num_threads", lambda: request.param)
    return request.param - 1


@pytest.mark.parametrize("items", [0, 1, 2, 7, 300])
def test_every_item_is_done_once(items, helpers):
    for work in (1, 20_000):
        times = np.zeros(items, np.int64)
        share(count, items, times, work)
        assert (times == 1).all()


def test_helpers_come(monkeypatch):
    """In a loop of Python the others have all the time they need to wake."""
    monkeypatch.setattr(threads, "num_threads", lambda: 3)
    who = set()

    def loop(claims):
        for item in claimed(claims):
            who.add(threading.get_ident())
            time.sleep(0.002 + 0 * item)

    share(loop, 60)
    assert len(who) == 3


def test_calls_from_several_threads_do_not_meet(helpers):
    results = {}

    def caller(k):
        times = np.zeros(50, np.int64)
        for _ in range(20):
            share(count, 50, times, 1 + k)
        results[k] = times

    callers = [threading.Thread(target=caller, args=(k,)) for k in range(4)]
    [t.start() for t in callers]
    [t.join() for t in callers]
    assert len(results) == 4
    assert all((times == 20).all() for times in results.values())


@njit
def doubled(lent):
    (x, (scale, y)) = borrowed(lent)
    y[:] = scale * x


def test_borrowed_arrays_are_the_same_and_nothing_keeps_them():
    x, y = np.arange(6.0).reshape(2, 3), np.zeros((2, 3))
    doubled((x, (2.0, y)))  # what compiles may keep them
    assert (y == 2 * x).all()
    before = sys.getrefcount(x), sys.getrefcount(y)
    for _ in range(5):
        doubled((x, (3.0, y)))
    assert (y == 3 * x).all()
    assert (sys.getrefcount(x), sys.getrefcount(y)) == before


@pytest.mark.parametrize("at", [0, 7, 49])
def test_an_error_in_any_thread_reaches_the_caller(at, helpers):
    for _ in range(5):
        with pytest.raises(ValueError, match="this item"):
            share(fail, 50, at)


def test_a_helper_that_sleeps_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(threads, "num_threads", lambda: 2)
    asleep, wake = threading.Event(), threading.Event()

    def late(self):
        while True:
            job = self.jobs.get()
            asleep.set()
            wake.wait()
            job.help()

    monkeypatch.setattr(threads._Pool, "work", late)
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    times = np.zeros(9, np.int64)
    share(count, 9, times, 1)
    assert (times == 1).all()
    assert asleep.wait(60)
    wake.set()
    share(count, 9, times, 1)
    assert (times == 2).all()


def test_the_threads_are_as_many_as_numba_and_torch_may_use():
    torchs, numbas = torch.get_num_threads(), numba.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert num_threads() == 1
        torch.set_num_threads(numbas + 3)
        assert num_threads() == numbas
        numba.set_num_threads(1)
        assert num_threads() == 1
        assert torch.get_num_threads() == numbas + 3
    finally:
        torch.set_num_threads(torchs)
        numba.set_num_threads(numbas)


@pytest.mark.skipif(
    threads._this_cpu() is None or len(os.sched_getaffinity(0)) < 2, reason="no other processor to keep threads on"
)
def test_helpers_are_kept_off_the_processor_of_the_thread_that_asks(monkeypatch):
    monkeypatch.setattr(threads, "num_threads", lambda: 2)
    monkeypatch.setattr(threads, "_pool", threads._Pool())
    for cpu in sorted(os.sched_getaffinity(0))[:2]:
        monkeypatch.setattr(threads, "_this_cpu", lambda cpu=cpu: cpu)
        share(count, 9, np.zeros(9, np.int64), 1)
        (helper,) = threads._pool.threads
        assert os.sched_getaffinity(helper.native_id) == os.sched_getaffinity(0) - {cpu}


def counted():
    times = np.zeros(40, np.int64)
    share(count, 40, times, 1000)
    return times.tolist(), len(threads._pool.threads)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are not forked here")
def test_a_forked_process_has_helpers_of_its_own(monkeypatch):
    monkeypatch.setattr(threads, "num_threads", lambda: 2)
    assert counted()[0] == [1] * 40
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(counted).get(60) == ([1] * 40, 1)
