"""The same products on a CUDA device, timed with events; empty where there is none."""

import statistics
from functools import partial

import torch
from setups import Setup

from ctlib.projector import Projector


def records(setup: Setup, batches=(1, 16, 64), rounds: int = 15) -> list[dict]:
    """Interleaved times and images per second of ctlib's engines on the device."""
    rows = []
    for batch in batches:
        x, y = setup.image(batch).cuda(), setup.sinogram(batch).cuda()
        calls = {}
        for backend in ("auto", "torch", "sparse"):
            A = Projector(setup.geometry, backend)
            calls[backend, "A"], calls[backend, "A.T"] = partial(A, x), partial(A.T, y)
        times = interleaved(calls, rounds)
        for (backend, case), ms in times.items():
            median = statistics.median(ms)
            rows.append(
                {
                    "case": case, "geometry": setup.name, "engine": f"ctlib {backend}", "batch": batch,
                    "median_ms": median, "low_ms": min(ms), "high_ms": max(ms), "rounds": rounds,
                    "ratio": median / statistics.median(times["auto", case]), "images_per_s": 1e3 * batch / median,
                }
            )  # fmt: skip
    return rows


def interleaved(calls: dict, rounds: int) -> dict:
    """Milliseconds of each call by CUDA events, after three warm-up rounds."""
    times = {key: [] for key in calls}
    for k in range(rounds + 3):
        for key, call in calls.items():
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            stop.record()
            stop.synchronize()
            if k >= 3:
                times[key].append(start.elapsed_time(stop))
    return times
