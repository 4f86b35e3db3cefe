"""Compile Newton's kernels for Hopper, without a GPU, and print what each one needs.

PYTHONPATH=.:tests/helpers python tests/decompose/compile_newton.py     one JSON line per variant
"""

import json

from hopper import compiled, needs

from ctlib.decompose.gpu import descent, engine, newton

BYTES = {"fp32": 4, "fp64": 8}
NUMBERS = {
    "steps": "*i32", "done": "*i1", "tolerance": "fp32", "few": "fp32",
    **dict.fromkeys(("photons_step", "max_iters", "num", "num_energies"), "i32"),
}  # fmt: skip
LARGEST = [  # bins that registers hold: of two pixels a thread, then of one
    *(("fp32", 2, 4), ("fp64", 2, 2)),
    *(("fp32", 2, 8), ("fp32", 3, 8), ("fp64", 2, 8), ("fp64", 3, 6)),
]


if __name__ == "__main__":
    for real, num, bins in LARGEST:
        pixels = engine.pixels(engine.sums(num, bins) * BYTES[real])
        kernels = [(newton.newton, {"FITTED": True}), (newton.adjoint, {})]
        kernels += [(descent.descend, {})] if real == "fp64" else []
        for kernel, options in kernels:
            types = {name: f"*{real}" for name in kernel.arg_names} | NUMBERS
            constants = {"M": num, "E": bins, "BLOCK": pixels} | options
            registers, stack = needs(compiled(kernel, types, constants, num_warps=1).asm["cubin"])
            line = {"kernel": kernel.__name__, "real": real, "pixels": pixels, "materials": num, "bins": bins}
            print(json.dumps(line | {"registers": registers, "stack": stack}), flush=True)
