"""The compiled CPU engine against the stored matrix: both precisions, every group of images, every path."""

import os
import subprocess
import sys

import numba
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.backends.cpu.engine_2d import groups
from ctlib.geometry import FanBeam, ParallelBeam, Volume
from ctlib.projector import Projector

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}
PLACES = 2 * 2.0**-19  # a ray's place in pixels and its sum with a shift, rounded in float32: both below 64, of slope 1
ROUNDING = 8 * 2.0**-24  # of weights, values and lengths
SCANS = {
    "parallel": ParallelBeam(Volume((48, 40)), 37, 71, 0.8, detector_offset_mm=1.3),
    "coarse bins": ParallelBeam(Volume((48, 40)), 12, 17, 3.5),
    "fine bins": ParallelBeam(Volume((24, 30)), 12, 200, 0.2),
    "wide fan": FanBeam(Volume((60, 33), (0.7, 1.0)), 29, 97, 2.0, source_origin_mm=31.0, source_detector_mm=70.0),
}


def pair(scan, batch, dtype):
    generator = torch.Generator().manual_seed(batch)
    x = torch.rand(batch, *scan.volume.shape, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.rand(batch, *scan.sino_shape, generator=generator, dtype=torch.float64).to(dtype)


def largest_difference(scan, x, y):
    """Of both products, relative to the largest value; the matrix in float64 is what counts as right.

    Images and data may differ in number.
    """
    A, matrix = Projector(scan, "numba"), Projector(scan, "sparse")
    out = []
    for ours, right in ((A(x), matrix(x.double())), (A.T(y), matrix.T(y.double()))):
        assert ours.dtype == x.dtype
        out.append(float((ours - right).abs().max() / right.abs().max()))
    return max(out)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7])
def test_it_computes_what_the_matrix_computes(scan, batch, dtype):
    assert largest_difference(scan, *pair(scan, batch, dtype)) < TOLERANCE[dtype]


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    columns=st.integers(1, 140),
    pitch=st.floats(0.1, 5.0),
    angle=st.floats(-7, 7),
    fan=st.booleans(),
)
def test_it_computes_what_the_matrix_computes_at_any_bin_size(shape, columns, pitch, angle, fan):
    common = {"volume": Volume(shape), "num_views": 2, "num_cols": columns, "angles": [angle, angle + 0.3]}
    if fan:
        scan = FanBeam(**common, pitch_mm=2 * pitch, source_origin_mm=60.0, source_detector_mm=110.0)
    else:
        scan = ParallelBeam(**common, pitch_mm=pitch)
    x, y = pair(scan, 1, torch.float32)
    A, matrix = Projector(scan, "numba"), Projector(scan, "sparse")
    for ours, right in ((A(x), matrix(x.double())), (A.T(y), matrix.T(y.double()))):
        bound = (PLACES + ROUNDING) * max(float(right.abs().max()), 1.0)
        assert float((ours - right).abs().max()) <= bound


def test_results_do_not_depend_on_the_number_of_threads_or_the_call():
    scan = SCANS["wide fan"]
    x, y = pair(scan, 5, torch.float32)
    A, before = Projector(scan, "numba"), numba.get_num_threads()
    results = []
    try:
        for threads in (1, before, before):
            numba.set_num_threads(threads)
            results.append((A(x), A.T(y)))
    finally:
        numba.set_num_threads(before)
    for again in results[1:]:
        assert torch.equal(again[0], results[0][0])
        assert torch.equal(again[1], results[0][1])


def test_an_image_s_result_hardly_depends_on_its_neighbors_in_the_batch():
    scan = SCANS["parallel"]
    x, y = pair(scan, 5, torch.float32)
    A = Projector(scan, "numba")
    torch.testing.assert_close(A(x)[3], A(x[3]), rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(A.T(y)[3], A.T(y[3]), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("sizes", [(4, 1), (8, 4, 1)])
@pytest.mark.parametrize("batch", range(1, 20))
def test_groups_cover_the_batch_once_and_the_largest_first(batch, sizes):
    covered = [i for _, part in groups(batch, sizes) for i in range(batch)[part]]
    assert covered == list(range(batch))
    assert all((part.stop - part.start) % images == 0 for images, part in groups(batch, sizes))
    assert sum(part.stop - part.start for images, part in groups(batch, sizes) if images == 1) == batch % 4


def test_the_adjoint_of_thirteen_images_is_that_of_each():
    """Groups of eight (where the processor has registers for them), four and one."""
    scan = SCANS["parallel"]
    A, (_, y) = Projector(scan, "numba"), pair(scan, 13, torch.float64)
    torch.testing.assert_close(A.T(y), torch.stack([A.T(one) for one in y]), rtol=1e-12, atol=1e-12)


OTHER_MACHINE = """
import torch
from ctlib.backends.cpu.simd_memory import permutes
from numba import types
from tests.backends.test_numba_2d import SCANS, largest_difference, pair
assert not permutes(types.float32)
x, y = ({k: pair(s, b, torch.float32)[i] for k, s in SCANS.items()} for i, b in enumerate((4, 1)))
print(max(largest_difference(SCANS[k], x[k], y[k]) for k in SCANS))
"""


@pytest.mark.long
def test_it_computes_the_same_on_a_machine_without_wide_permutations(tmp_path):
    """Compiled for an older instruction set, where `take` is one load per lane.

    Compiling takes all the time: A for a group of four images, A.T for one, so that both products and both sizes occur.
    """
    name = "haswell" if "x86" in os.uname().machine else "generic"
    env = {**os.environ, "NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OTHER_MACHINE], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < TOLERANCE[torch.float32]


def test_a_fan_much_wider_than_the_grid_and_beside_it_loses_no_digits():
    """Rays far from the grid are large numbers, and those that meet it must not be counted from them."""
    wide = FanBeam(Volume((3, 3)), 2, 128, 6.0, angles=[6.92, 7.2], source_origin_mm=60.0, source_detector_mm=110.0)
    beside = FanBeam(
        Volume((5, 4)), 2, 400, 1.0, angles=[2.0, 2.3], source_origin_mm=60.0, source_detector_mm=110.0,
        detector_offset_mm=180.0,
    )  # fmt: skip
    for scan in (wide, beside):
        assert largest_difference(scan, *pair(scan, 1, torch.float32)) < 1e-6
