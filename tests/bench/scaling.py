"""How the time of A and A.T grows: with size, views, batch and threads of a parallel beam, with the size of a cone."""

import torch
from engines import Ctlib
from setups import cone, parallel
from timing import Contestant, compete

SIZES, VIEWS, BATCHES, THREADS = (128, 256, 512, 1024), (45, 90, 180, 360), (1, 2, 4, 8, 16, 32), (1, 2)
CONE_SIZES = (32, 64, 128, 256)


def records(budget_s: float, quick: bool) -> list[dict]:
    """One series a quantity; the others stay at 256 x 256, 180 views, one image, all threads. Cones: N^3, N views."""
    cut = slice(0, 2) if quick else slice(None)
    base = {"size": 64 if quick else 256, "views": 20 if quick else 180, "batch": 1, "threads": torch.get_num_threads()}
    series = {"size": SIZES, "views": VIEWS, "batch": BATCHES, "threads": THREADS}
    rows = []
    for quantity, values in series.items():
        for value in values[cut]:
            at = base | {quantity: value}
            rows += point("parallel", parallel(at["size"], at["views"], int(at["size"] * 1.42)), quantity, at, budget_s)
    for size in (16, 24) if quick else CONE_SIZES:
        at = base | {"size": size, "views": size}
        rows += point("cone", cone(size, size, 46.0 / size), "size", at, budget_s)
    return rows


def point(name: str, geometry, quantity: str, at: dict, budget_s: float) -> list[dict]:
    """Times of A and A.T at one point of a series."""
    engine = Ctlib(geometry, "auto")
    x, y = (torch.rand(at["batch"], *shape) for shape in (geometry.volume.shape, geometry.sino_shape))
    before = torch.get_num_threads()
    set_threads(at["threads"])
    try:
        rows = []
        for case, call in (("A", lambda: engine.forward(x)), ("A.T", lambda: engine.adjoint(y))):
            labels = {"case": f"scaling {case}", "geometry": name, "quantity": quantity, **at}
            rows += compete([Contestant("ctlib auto", call, labels)], budget_s)
        return rows
    finally:
        set_threads(before)


def set_threads(num: int) -> None:
    """Threads of torch and of the compiled loops."""
    torch.set_num_threads(num)
    try:
        import numba
    except ImportError:
        return
    numba.set_num_threads(min(num, numba.config.NUMBA_NUM_THREADS))
