"""The timed calls: A, A.T, both, FBP and SIRT, each a group of contestants with ctlib's automatic choice first."""

import os
from dataclasses import replace
from functools import partial

from engines import Arrays, Astra, Skimage
from setups import Setup
from timing import LIMIT_S, Contestant, seconds

from ctlib.geometry import ConeBeam, ParallelBeam
from ctlib.recon import fbp, sirt

PAUSE_S = 0.1


def labels(case: str, setup: Setup, batch: int, threads: int | None = None) -> dict:
    """The columns that say what was measured."""
    threads = threads or os.cpu_count()
    return {"case": case, "geometry": setup.name, "batch": batch, "threads": threads}


def product_groups(engines, setup: Setup, batch: int, notes: list[str]):
    """Groups for A, A.T and A + A.T at one batch size."""
    x, y = setup.image(batch), setup.sinogram(batch)
    calls = {"A": [], "A.T": [], "A + A.T": []}
    for e in affordable(engines, setup, batch, notes):
        if batch == 1 and getattr(e, "threads", 1) > 1:
            continue  # one image has nothing to share
        threads = e.threads if isinstance(e, Arrays) else None
        forward, adjoint = partial(e.forward, e.native(x)), partial(e.adjoint, e.native(y))
        for case, call in (("A", forward), ("A.T", adjoint), ("A + A.T", partial(in_turn, forward, adjoint))):
            calls[case].append(Contestant(e.name, call, labels(case, setup, batch, threads)))
    return [*calls.values(), *(after_pause(group[0]) for group in list(calls.values())[:2] if batch == 1)]


def after_pause(c: Contestant) -> list[Contestant]:
    """A product right after another, and after PAUSE_S without work, when the threads sleep."""
    at_once = replace(c, labels=c.labels | {"case": f"{c.labels['case']} after a pause"})
    return [at_once, replace(at_once, engine=f"{c.engine}, {1e3 * PAUSE_S:.0f} ms", pause_s=PAUSE_S)]


def in_turn(*calls) -> None:
    """All calls, one after the other."""
    for call in calls:
        call()


def affordable(engines, setup: Setup, batch: int, notes: list[str]) -> list:
    """The engines whose product with this many images is expected within the limit, from one call with one image."""
    chosen = []
    for e in engines:
        x = e.native(setup.image(1))
        e.forward(x)
        expected = seconds(partial(e.forward, x)) * batch
        if expected <= (1.0 if e.name == "ctlib torch" else LIMIT_S):  # the readable reference is timed once
            chosen.append(e)
        else:
            notes.append(f"{e.name}, {setup.name}, batch {batch}: left out, about {expected:.0f} s a product")
    return chosen


def fbp_group(engines, setup: Setup, batch: int) -> list[Contestant]:
    """FBP (FDK of a cone), Ram-Lak filter: ctlib; for a parallel beam also scikit-image's iradon and ASTRA's FBP."""
    y = setup.sinogram(batch)
    case = "FDK" if isinstance(setup.geometry, ConeBeam) else "FBP"
    group = [Contestant("ctlib auto", partial(fbp, engines[0].A, y), labels(case, setup, batch))]
    if not isinstance(setup.geometry, ParallelBeam):
        return group
    for e in engines:
        if isinstance(e, Skimage):
            call = partial(e.fbp, e.native(y))
        elif isinstance(e, Astra) and e.threads == 1:
            call = partial(e.reconstruct, e.native(y), "FBP", 1)
        else:
            continue
        group.append(Contestant(e.name, call, labels("FBP", setup, batch, 1)))
    return group


def sirt_group(engines, setup: Setup, batch: int) -> list[Contestant]:
    """SIRT: ctlib with its automatic engine and with the stored matrix, ASTRA's own SIRT."""
    y, num = setup.sinogram(batch), setup.sirt_iters
    case, group = f"SIRT-{num}", []
    for e in engines:
        if e.name in ("ctlib auto", "ctlib sparse"):
            call = partial(sirt, e.A, y, num)
            group.append(Contestant(e.name, call, labels(case, setup, batch)))
        elif isinstance(e, Astra) and e.threads == 1:
            call = partial(e.reconstruct, e.native(y), "SIRT", num)
            group.append(Contestant(e.name, call, labels(case, setup, batch, 1)))
    return group
