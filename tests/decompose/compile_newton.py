"""Compile the kernels that the decomposition launches for Hopper, without a GPU, and print what each one needs.

    PYTHONPATH=.:tests/helpers python tests/decompose/compile_newton.py

One JSON line per variant: kernel, type, materials, bins, registers, stack [bytes]; both null without cuobjdump.
"""

import json

import torch
from hopper import launches, needs

from ctlib.decompose.gpu import engine
from ctlib.decompose.newton import Problem
from ctlib.decompose.start import PolynomialStart

LARGEST = [  # bins whose sums registers hold: of two pixels a thread, then of one
    *((torch.float32, 2, 4), (torch.float64, 2, 2)),
    *((torch.float32, 2, 8), (torch.float32, 3, 8), (torch.float64, 2, 8), (torch.float64, 3, 6)),
]


def call(dtype: torch.dtype, num: int, bins: int) -> None:
    """All kernels: from the polynomial and from path lengths, the gradient, and in double precision the restarts."""
    y, f = torch.ones(100, bins, dtype=dtype), torch.ones(90, num, dtype=dtype)
    box = -torch.ones(num, dtype=dtype), torch.ones(num, dtype=dtype)
    problem = Problem(y, torch.ones(90, bins, dtype=dtype), f, *box, torch.ones(100, dtype=dtype))
    assert engine.fits(problem)
    start = PolynomialStart(torch.ones(1 + bins + bins * (bins + 1) // 2, num, dtype=dtype), y[0])
    paths, _, _ = engine.solve(problem, start, 12, 1e-4)
    engine.adjoint(problem, paths, paths)
    if bins == 4:
        engine.solve(Problem(y, problem.spectra, f, *box), paths, 200, 1e-4)
    if dtype == torch.float64:
        engine.descend(problem, paths, 200, 1e-7)


if __name__ == "__main__":
    found, printed = launches(), 0
    for dtype, num, bins in LARGEST:
        call(dtype, num, bins)
        for kernel, made in found[printed:]:
            registers, stack = needs(made.asm["cubin"])
            line = {"kernel": kernel.__name__, "dtype": str(dtype), "materials": num, "bins": bins}
            print(json.dumps(line | {"registers": registers, "stack": stack}), flush=True)
        printed = len(found)
