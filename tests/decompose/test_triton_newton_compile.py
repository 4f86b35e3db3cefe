"""Newton's kernels compile for Hopper, without a GPU, and keep a pixel's sums in registers."""

from pathlib import Path

import pytest

pytest.importorskip("triton", reason="needs triton: pip install 'ctlib-book[interpreter]'")
from hopper import can_assemble, printed

STACK = {  # bytes
    "newton": 0,
    "adjoint": 8,  # reserved by a call of the division in double precision; nothing is stored
    "descend": 24,  # three values, with three materials and six bins
}


@pytest.mark.skipif(not can_assemble(), reason="needs ptxas, which Triton brings")
def test_newtons_kernels_compile_for_hopper_and_keep_their_sums_in_registers(tmp_path):
    lines = printed(Path(__file__).with_name("compile_newton.py"), tmp_path)
    assert {line["kernel"] for line in lines} == STACK.keys()
    if all(line["registers"] is None for line in lines):
        pytest.skip("compiled; this Triton has no cuobjdump to read registers with")
    for line in lines:
        assert line["stack"] <= STACK[line["kernel"]], line
        if line["bins"] == 4:  # the usual case: 16 warps at once on a multiprocessor
            assert line["registers"] <= 128, line
