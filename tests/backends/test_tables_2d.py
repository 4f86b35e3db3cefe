"""The CPU engine's tables say of every ray what the runs say of it."""

import numpy as np
import pytest
from scans import SCANS

pytest.importorskip("numba")

from ctlib.backends.cpu.tables_2d import adjoint_tables, lines
from ctlib.backends.tables.runs import APART, LANES, TILE, runs


@pytest.fixture(params=SCANS)
def scan(request):
    return SCANS[request.param]


def test_a_ray_s_place_scaled_and_moved_is_where_it_meets_a_plane(scan):
    for r in runs(scan):
        place, zoom, shift = lines(r)
        q = np.arange(r.num) - r.middle[0]
        for k, (a, n) in enumerate(zip(r.first, r.count, strict=True)):
            x = r.start[a : a + n, None] + r.slope[a : a + n, None] * q
            np.testing.assert_allclose(zoom[k] * place[a : a + n, None] + shift[k], x, atol=1e-10)


def test_every_pixel_that_a_ray_meets_lies_in_a_block_its_run_can_touch(scan):
    for r in runs(scan):
        spans = adjoint_tables(r, r, np.float64)[0][1].reshape(-1, 3, len(r.first))
        pixel = np.arange(r.size) - r.middle[1]
        for q in range(r.num):
            x = r.start + r.slope * (q - r.middle[0])
            for (first, low, high), n in zip(spans[q // TILE].T, r.count, strict=True):
                met = np.flatnonzero((np.abs(x[first : first + n, None] - pixel) < 1).any(0)) // LANES
                assert ((met >= low) & (met < high)).all()


def test_a_run_s_last_candidates_are_its_last_rays(scan):
    for r in runs(scan):
        (_, spans, maps, _), (taps, _, _) = adjoint_tables(r, r, np.float32)
        last = maps.reshape(-1, 3, len(r.first))[:, 2]
        assert (last + taps == r.count).all()
        assert spans.dtype == np.int64
        assert maps.dtype == np.float32


def test_both_products_read_the_same_numbers_of_a_ray_however_runs_are_divided():
    read, apart = runs(SCANS["fine bins"])[0], runs(SCANS["fine bins"], APART)[0]
    assert (apart.every > 1).all()
    place, zoom, shift = lines(read)
    (own, _, _, scales), _ = adjoint_tables(apart, read, np.float64)
    scales = scales.reshape(read.num, 4, -1)
    of, run = np.empty(read.rays.max() + 1), np.empty(read.rays.max() + 1, int)
    for k, (a, n) in enumerate(zip(read.first, read.count, strict=True)):
        of[read.rays[a : a + n]], run[read.rays[a : a + n]] = place[a : a + n], k
    for k, (a, n) in enumerate(zip(apart.first, apart.count, strict=True)):
        rays = apart.rays[a : a + n]
        assert (own[a : a + n] == of[rays]).all()
        assert (scales[:, 0, k, None] == zoom.T[:, run[rays]]).all()
        assert (scales[:, 1, k, None] == shift.T[:, run[rays]]).all()
