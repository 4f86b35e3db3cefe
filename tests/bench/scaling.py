"""How the time of A and A.T grows: with the size, the views, the batch and the threads."""

import torch
from engines import Ctlib
from setups import parallel
from timing import Contestant, compete

SIZES, VIEWS, BATCHES, THREADS = (128, 256, 512, 1024), (45, 90, 180, 360), (1, 2, 4, 8, 16, 32), (1, 2)


def records(budget_s: float, quick: bool) -> list[dict]:
    """One series a quantity; the others stay at 256 x 256, 180 views, one image, all threads."""
    cut = slice(0, 2) if quick else slice(None)
    base = {"size": 64 if quick else 256, "views": 20 if quick else 180, "batch": 1, "threads": torch.get_num_threads()}
    series = {"size": SIZES, "views": VIEWS, "batch": BATCHES, "threads": THREADS}
    rows = []
    for quantity, values in series.items():
        for value in values[cut]:
            rows += point(quantity, base | {quantity: value}, budget_s)
    return rows


def point(quantity: str, at: dict, budget_s: float) -> list[dict]:
    """Times of A and A.T at one point of a series."""
    geometry = parallel(at["size"], at["views"], int(at["size"] * 1.42))
    engine = Ctlib(geometry, "auto")
    x, y = (torch.rand(at["batch"], *shape) for shape in (geometry.volume.shape, geometry.sino_shape))
    before = torch.get_num_threads()
    set_threads(at["threads"])
    try:
        rows = []
        for case, call in (("A", lambda: engine.forward(x)), ("A.T", lambda: engine.adjoint(y))):
            labels = {"case": f"scaling {case}", "geometry": "parallel", "quantity": quantity, **at}
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
