"""Compile every kernel of the GPU engine for Hopper, without a GPU, and print what each one needs.

    PYTHONPATH=.:tests/helpers python tests/backends/compile_triton.py

One JSON line per variant: kernel, options, registers, stack [bytes].
Registers that do not fit spill to the stack. Both are null where Triton was packaged without cuobjdump.
"""

import json

import triton.language as tl
from hopper import compiled, needs

from ctlib.backends.gpu import backproject_2d as plane
from ctlib.backends.gpu import backproject_3d as space
from ctlib.backends.gpu import joseph_2d as triton_2d
from ctlib.backends.gpu import joseph_3d as triton_3d

INTEGERS = {"rays", "span", "runs", "taps", "place", "limits", "cells"}
REALS = {"start", "slope", "length", "maps", "lines", "views", "scales", "heights", "begin", "rise"}
STORED = {"fp16": tl.float16, "bf16": tl.bfloat16}  # by pairs, computed in float32
SHARED = {"fp32": (1, 2, 3, 4), "fp64": (1, 2, 4), "fp16": (2, 4), "bf16": (2,)}  # images of a program
ONE = {"num_runs", "tiles", "depth", "sino_step", "data_step", "image_step", "volume_step"}


def variants():
    """(kernel, precision, compile-time options): group sizes, both maps, writing and adding, sizes of 1."""
    for real, images in [(real, n) for real, group in SHARED.items() for n in group]:
        half = {"HALF": STORED.get(real), "IMAGES": images, "BLOCK": 128}
        some, other, flat = half | {"TURNED": images > 1}, images > 1, {"PLANES": 4 if images <= 2 else 2}
        yield triton_2d.forward_2d, real, half
        for curved in (False, True):
            options = {"TAPS": 2 + curved, "MORE": curved, "CURVED": curved, "TURNED": curved, "ADD": curved}
            yield triton_2d.adjoint_2d, real, half | flat | options | {"TILE": 8}
            yield plane.gather_2d, real, half | flat | {"CURVED": curved}
            yield plane.spread_2d, real, half | {"TAPS": 3 + curved, "CURVED": curved, "TURNED": curved, "TILE": 8}
        yield triton_3d.forward_3d, real, half | {"ROWS": 8 // images}
        options = {"PLANES": 1, "TILE": 8, "ADD": other, "CURVED": other, "SLICES": 6 // images}
        yield triton_3d.adjoint_3d, real, some | options
        yield space.gather_3d, real, half | {"SLICES": 8 // images, "PLANES": 1}
        yield space.spread_3d, real, some | {"ROWS": 4 // images, "TILE": 8}
    for real in ("fp32", "fp64", *STORED):
        for pack in (triton_2d.pack_2d, triton_3d.pack_3d):
            yield pack, real, {"EACH": 1 + (real in STORED), "BLOCK": 128}
    half, tile = {"HALF": None, "IMAGES": 2}, {"PLANES": 8, "BLOCK": 16, "TILE": 8, "TURNED": True, "CURVED": True}
    for kernel, options in (  # what Triton makes constants of at run time, because it is 1
        (triton_2d.forward_2d, {"BLOCK": 128}),
        (triton_2d.adjoint_2d, tile | {"ADD": True, "TAPS": 1, "MORE": True}),
        (triton_3d.forward_3d, {"ROWS": 1, "BLOCK": 128}),
        (triton_3d.adjoint_3d, tile | {"ADD": True, "SLICES": 1}),
        (plane.spread_2d, {"TAPS": 0, "BLOCK": 128, "TILE": 8, "TURNED": True, "CURVED": True}),
        (space.spread_3d, {"ROWS": 1, "BLOCK": 128, "TILE": 8, "TURNED": True}),
    ):
        yield kernel, "fp32", half | options | {name: 1 for name in kernel.arg_names if name in ONE}


def types(kernel, real: str, options: dict) -> dict[str, str]:
    """Of the arguments, all pointers and counts as at run time: first what a kernel reads, second what it writes."""
    given, result = kernel.arg_names[:2]
    signature = {name: "i32" for name in kernel.arg_names} | {"slack": "fp32"}
    table = "*fp32" if real in STORED else f"*{real}"
    signature |= dict.fromkeys(INTEGERS, "*i32") | dict.fromkeys(REALS, table)
    return signature | {given: "*i32" if real in STORED and "HALF" in options else f"*{real}", result: f"*{real}"}


if __name__ == "__main__":
    for kernel, real, options in variants():
        registers, stack = needs(compiled(kernel, types(kernel, real, options), options, num_warps=4).asm["cubin"])
        options = {name: str(value) for name, value in options.items()}
        line = {"kernel": kernel.__name__, "real": real, "options": options, "registers": registers, "stack": stack}
        print(json.dumps(line), flush=True)
