"""The GPU kernels compile for Hopper, without a GPU."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="needs triton: pip install 'ctlib-book[interpreter]'")

ROOT = Path(__file__).parents[2]
ASSEMBLER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


@pytest.mark.skipif(not (ASSEMBLER.exists() or shutil.which("ptxas")), reason="needs ptxas, which Triton brings")
def test_every_kernel_compiles_for_hopper_and_keeps_its_values_in_registers(tmp_path):
    """In a process of its own: under TRITON_INTERPRET=1 there is nothing to compile."""
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    path = os.pathsep.join([str(ROOT), *filter(None, [env.get("PYTHONPATH")])])
    env |= {"PYTHONPATH": path, "TRITON_CACHE_DIR": str(tmp_path)}
    script = Path(__file__).with_name("compile_triton.py")
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    names = {f"{what}_{n}d" for what in ("forward", "pack", "adjoint", "gather", "spread") for n in (2, 3)}
    assert {line["kernel"] for line in lines} == names
    if all(line["registers"] is None for line in lines):
        pytest.skip("compiled; this Triton has no cuobjdump to read registers with")
    for line in lines:
        assert line["stack"] == 0, line
        assert line["registers"] <= 128, line  # four blocks of 128 threads at once on a multiprocessor
