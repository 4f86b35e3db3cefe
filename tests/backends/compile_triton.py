"""Compile every kernel of the GPU engine for Hopper, without a GPU and without torch, and print what each one needs.

    python tests/backends/compile_triton.py        one JSON line per variant: kernel, options, registers, stack [bytes]

Registers that do not fit spill to the stack. Both are null where Triton was packaged without cuobjdump.
"""

import itertools
import json
import re
import subprocess
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ctlib.backends.gpu import joseph_2d as triton_2d
from ctlib.backends.gpu import joseph_3d as triton_3d

HOPPER = GPUTarget("cuda", 90, 32)
INTEGERS = {"rays", "span", "runs", "taps", "place", "limits"}
REALS = {"image", "volume", "sino", "packed", "start", "slope", "length", "maps", "lines"}
ONE = {"num_runs": 1, "tiles": 1, "columns": 1, "sino_step": 1}
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def variants():
    """(kernel, precision, compile-time options): group sizes, both maps, writing and adding, sizes of 1."""
    for real, images in itertools.product(("fp32", "fp64"), (1, 2, 3, 4)):
        yield triton_2d.forward_2d, real, {"IMAGES": images, "BLOCK": 128}
        for curved, more, add in ((False, False, False), (True, True, True)):
            tile = {"PLANES": 4 if images <= 2 else 2, "BLOCK": 128, "TILE": 8, "ADD": add, "IMAGES": images}
            yield triton_2d.adjoint_2d, real, tile | {"TAPS": 2 + curved, "MORE": more, "CURVED": curved, "TURNED": add}
        yield triton_3d.forward_3d, real, {"ROWS": 8 // images, "IMAGES": images, "BLOCK": 128}
        tile = {"PLANES": 1, "BLOCK": 128, "TILE": 8, "ADD": images > 1, "IMAGES": images, "TURNED": images > 1}
        yield triton_3d.adjoint_3d, real, tile | {"SLICES": 6 // images, "CURVED": images > 1}
    for real in ("fp32", "fp64"):
        yield triton_2d.pack_2d, real, {"BLOCK": 128}
        yield triton_3d.pack_3d, real, {"BLOCK": 128}
    tile = {"PLANES": 8, "BLOCK": 16, "TILE": 8, "ADD": True, "IMAGES": 2, "CURVED": True, "TURNED": True}
    for kernel, options in (  # what Triton makes constants of at run time, because it is 1
        (triton_2d.forward_2d, {"IMAGES": 2, "BLOCK": 128}),
        (triton_2d.adjoint_2d, tile | {"TAPS": 1, "MORE": True}),
        (triton_3d.forward_3d, {"ROWS": 1, "IMAGES": 2, "BLOCK": 128}),
        (triton_3d.adjoint_3d, tile | {"SLICES": 1}),
    ):
        yield kernel, "fp32", options | {name: 1 for name in kernel.arg_names if name in ONE}


def compiled(kernel, real: str, options: dict):
    """The kernel for Hopper, all pointers and counts as at run time."""
    signature = {name: "i32" for name in kernel.arg_names} | {"slack": "fp32"} | dict.fromkeys(options, "constexpr")
    signature |= {name: "*i32" for name in INTEGERS} | {name: f"*{real}" for name in REALS}
    signature = {name: signature[name] for name in kernel.arg_names}
    constants = {(kernel.arg_names.index(name),): value for name, value in options.items()}
    return triton.compile(ASTSource(kernel, signature, constants), target=HOPPER, options={"num_warps": 4})


def needs(cubin: bytes) -> tuple[int | None, int | None]:
    """(registers of a thread, bytes of its stack)."""
    if not (TOOLS / "cuobjdump").exists():
        return None, None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run(
            [TOOLS / "cuobjdump", "-res-usage", file.name], capture_output=True, text=True, check=True
        )
    found = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout + done.stderr)
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    for kernel, real, options in variants():
        registers, stack = needs(compiled(kernel, real, options).asm["cubin"])
        line = {"kernel": kernel.__name__, "real": real, "options": options, "registers": registers, "stack": stack}
        print(json.dumps(line), flush=True)
