"""Triton kernels compiled for a Hopper GPU on a machine without one, and what the result needs.

Scripts that compile print one JSON line per kernel; tests run them in a process of their own, for under
TRITON_INTERPRET=1 there is nothing to compile.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

ROOT = Path(__file__).parents[2]
HOPPER = GPUTarget("cuda", 90, 32)
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def can_assemble() -> bool:
    """Triton brings ptxas, unless it was packaged without."""
    return (TOOLS / "ptxas").exists() or shutil.which("ptxas") is not None


class Absent:
    """What Triton asks the driver of a GPU, answered for a Hopper GPU that is not there."""

    def get_current_target(self) -> GPUTarget:
        return HOPPER

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


def launches() -> list:
    """From here on a launch compiles its kernel, as on a GPU for just these arguments, and does nothing else.

    The list fills with (kernel, what was compiled), each variant once.
    """
    triton.runtime.driver.set_active(Absent())
    found, seen, run = [], set(), JITFunction.run

    def compile_only(self, *args, grid, warmup, **options):
        made = run(self, *args, grid=grid, warmup=True, **options)
        if made.hash not in seen:
            seen.add(made.hash)
            found.append((self, made))
        return made

    JITFunction.run = compile_only
    return found


def needs(cubin: bytes) -> tuple[int | None, int | None]:
    """(registers of a thread, bytes of its stack); None where Triton was packaged without cuobjdump."""
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


def printed(script: Path, store: Path) -> list[dict]:
    """The JSON lines of a script that compiles; `store` is a folder for what Triton keeps."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent), *filter(None, [env.get("PYTHONPATH")])])
    env |= {"PYTHONPATH": path, "TRITON_CACHE_DIR": str(store)}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
