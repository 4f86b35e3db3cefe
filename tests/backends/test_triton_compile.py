"""The GPU kernels compile for Hopper, without a GPU."""

from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs triton: pip install 'ctlib-book[interpreter]'")
from hopper import can_assemble, printed


@pytest.mark.skipif(not can_assemble(), reason="needs ptxas, which Triton brings")
def test_every_kernel_compiles_for_hopper_and_keeps_its_values_in_registers(tmp_path):
    lines = printed(Path(__file__).with_name("compile_triton.py"), tmp_path)
    names = {f"{what}_{n}d" for what in ("forward", "pack", "adjoint", "gather", "spread") for n in (2, 3)}
    assert {line["kernel"] for line in lines} == names
    if all(line["registers"] is None for line in lines):
        pytest.skip("compiled; this Triton has no cuobjdump to read registers with")
    for line in lines:
        assert line["stack"] == 0, line
        assert line["registers"] <= 128, line  # four blocks of 128 threads at once on a multiprocessor
