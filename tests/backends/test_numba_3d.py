"""The compiled cone-beam engine against the stored matrix: both precisions, batches, any rows, steep rays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.backends.tables.columns import columns
from ctlib.backends.tables.plan import plan
from ctlib.geometry import ConeBeam, Volume
from ctlib.linop import dot_test
from ctlib.projector import Projector

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}


def cone(volume, rows, row_pitch, source, detector, columns=21, **more):
    scan = {"num_views": 5, "num_cols": columns, "pitch_mm": 2.0, "num_rows": rows, "row_pitch_mm": row_pitch}
    return ConeBeam(volume, **scan, source_origin_mm=source, source_detector_mm=detector, **more)


SCANS = {
    "plain": cone(Volume((12, 20, 20)), 15, 2.0, 80.0, 160.0, detector_offset_mm=0.7),
    "anisotropic": cone(Volume((19, 12, 15), (0.7, 1.1, 1.3)), 33, 0.9, 14.0, 30.0),
    "coarse rows": cone(Volume((40, 10, 12)), 18, 7.0, 60.0, 110.0),
    "fine rows": cone(Volume((7, 10, 12)), 90, 0.3, 60.0, 110.0),
    "steep rays": cone(Volume((30, 10, 10)), 70, 2.0, 9.0, 12.0),
}


def pair(scan, batch, dtype):
    generator = torch.Generator().manual_seed(batch)
    x = torch.rand(batch, *scan.volume.shape, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.rand(batch, *scan.sino_shape, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
@pytest.mark.parametrize("batch", [1, 3, 6])
def test_it_computes_what_the_matrix_computes(scan, batch, dtype):
    x, y = pair(scan, batch, dtype)
    A, matrix = Projector(scan, "numba"), Projector(scan, "sparse")
    for ours, right in ((A(x), matrix(x.double())), (A.T(y), matrix.T(y.double()))):
        assert ours.dtype == dtype
        assert float((ours - right).abs().max() / right.abs().max()) < TOLERANCE[dtype]


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12)),
    rows=st.integers(1, 50),
    row_pitch=st.floats(0.1, 8.0),
    distance=st.floats(1.01, 6.0),
    angle=st.floats(-7, 7),
)
def test_it_computes_what_the_matrix_computes_at_any_row_height(shape, rows, row_pitch, distance, angle):
    volume = Volume(shape, (1.0, 0.8, 1.1))
    source = distance * volume.reach_mm
    scan = cone(volume, rows, row_pitch, source, 1.8 * source, 9, angles=[angle + 0.4 * k for k in range(5)])
    x, y = pair(scan, 1, torch.float64)
    A, matrix = Projector(scan, "numba"), Projector(scan, "sparse")
    torch.testing.assert_close(A(x), matrix(x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(A.T(y), matrix.T(y), rtol=1e-11, atol=1e-11)
    assert dot_test(A, torch.Generator().manual_seed(0)) < 1e-12


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_the_column_tables_are_the_plan_s_rays(scan):
    """Every ray once: place, height and path of the general tables, from six numbers a column."""
    c, shape, seen = columns(scan), scan.sino_shape, np.zeros(scan.sino_shape, bool)
    for group in plan(scan):
        view, row, col = np.unravel_index(group.rays, shape)
        kept = (row >= c.rows[view, col, 0]) & (row < c.rows[view, col, 1])
        assert (kept == (group.axis > 0)).all()
        seen[view, row, col] = True
        if group.axis == 0:
            assert c.steep
            continue
        assert (c.axis[view, col] == group.axis).all()
        q, lateral = scan.volume.shape[group.axis] // 3, 1  # others are (z, x) or (z, y)
        place = c.start[view, col] + c.slope[view, col] * q
        np.testing.assert_allclose(place, group.start[:, lateral] + group.slope[:, lateral] * q, atol=1e-9)
        g = c.gain[view, col] * (q - c.source[view, col])
        height = (scan.volume.shape[0] - 1) / 2 + (row - (shape[1] - 1) / 2) * g
        np.testing.assert_allclose(height, group.start[:, 0] + group.slope[:, 0] * q, atol=1e-9)
        path = np.sqrt(c.flat[view, col] + c.rise[view, col] * (row - (shape[1] - 1) / 2) ** 2)
        np.testing.assert_allclose(path, group.length, rtol=1e-12)
    assert seen.all()
    assert c.steep == any(group.axis == 0 for group in plan(scan))
