"""The tables of the SIMD engines: every ray once, rising, and an inverse map that finds all rays a pixel may meet."""

import numpy as np
import pytest
from scans import SCANS

from ctlib.backends.tables.plan import plan
from ctlib.backends.tables.runs import APART, LANES, TILE, runs
from ctlib.geometry import ParallelBeam, Volume


@pytest.fixture(params=SCANS)
def scan(request):
    return SCANS[request.param]


@pytest.mark.parametrize("apart", [0.0, APART])
def test_every_ray_stands_in_one_run_with_the_plan_s_numbers(scan, apart):
    found = np.concatenate([r.rays[r.rays >= 0] for r in runs(scan, apart)])
    assert sorted(found) == list(range(scan.num_rays))
    for r, group in zip(runs(scan, apart), plan(scan), strict=True):
        start = np.empty(scan.num_rays)
        start[group.rays] = group.start[:, 0] + group.slope[:, 0] * r.middle[0] - r.middle[1]
        real = r.rays >= 0
        np.testing.assert_array_equal(r.start[real], start[r.rays[real]])
        assert (r.length[~real] == 0).all()
        assert r.count.sum() == real.sum()
        assert (r.first % LANES == 0).all()


@pytest.mark.parametrize("apart", [0.0, APART])
def test_places_rise_along_every_run_on_every_plane(scan, apart):
    for r in runs(scan, apart):
        q = np.arange(r.num) - r.middle[0]
        for a, n, every in zip(r.first, r.count, r.every, strict=True):
            x = r.start[a : a + n, None] + r.slope[a : a + n, None] * q
            assert (np.diff(x, axis=0) > 0).all()
            assert (np.diff(x, axis=0) >= (apart if every > 1 else 0) - 1e-12).all()
            assert (np.abs(np.diff(r.rays[a : a + n])) == every).all()


def test_a_block_s_span_holds_every_plane_on_which_it_meets_the_grid(scan):
    for r in runs(scan):
        x = r.start[:, None] + r.slope[:, None] * (np.arange(r.num) - r.middle[0]) + r.middle[1]
        over = ((x > -1) & (x < r.size) & (r.rays[:, None] >= 0)).reshape(-1, LANES, r.num).any(1)
        for block, (low, high) in zip(over, r.span, strict=True):
            assert not block[:low].any()
            assert not block[high:].any()


@pytest.mark.parametrize("apart", [0.0, APART])
def test_the_candidates_of_a_pixel_hold_every_ray_that_meets_it(scan, apart):
    """As the kernel counts: from ceil(s - slack), s the ray at place pixel - 1, `taps` rays on."""
    for r in runs(scan, apart):
        pixel = np.arange(r.size) - r.middle[1]
        for run, (a, n, p) in enumerate(zip(r.first, r.count, r.inverse, strict=True)):
            for q in range(r.num):
                c = q - r.middle[0]
                x = r.start[a : a + n] + r.slope[a : a + n] * c
                s = (p[0] + p[1] * c + p[2] * (pixel - 1)) / (1 + p[3] * c + p[4] * (pixel - 1))
                for error in (-0.99 * r.slack, 0.99 * r.slack):  # what float32 may do to s
                    begin = np.clip(np.ceil(s + error - r.slack), 0, n)
                    meets = np.abs(x[:, None] - pixel) < 1 - 1e-9
                    ray = np.arange(n)[:, None]
                    assert not (meets & ((ray < begin) | (ray >= begin + r.taps[run, q // TILE]))).any()


def test_the_slack_covers_float32_on_a_wide_detector():
    (r,) = runs(ParallelBeam(Volume((4, 100_000), 1.0), 1, 100_000, 1.0, angles=[0.3]))
    (p,), pixel = r.inverse, np.arange(r.size) - r.middle[1]
    exact = p[0] + p[1] + p[2] * (pixel - 1)
    p, pixel = p.astype(np.float32), pixel.astype(np.float32)
    rounded = p[0] + p[1] + p[2] * (pixel - 1)
    assert np.abs(rounded - exact).max() < r.slack


def test_the_permutation_s_reach_is_kept():
    for scan in SCANS.values():
        for r in runs(scan):
            ends = r.start[:, None] + r.slope[:, None] * (np.array([0, r.num - 1]) - r.middle[0])
            ends = np.where((r.rays >= 0)[:, None], ends, np.nan).reshape(-1, LANES, 2)
            width = np.nanmax(ends, axis=1) - ends[:, 0]
            assert (width[r.close] <= 2 * LANES - 3).all()
    assert not runs(SCANS["coarse bins"])[0].close.all()  # so the other path is used too
    assert not runs(SCANS["fine bins"])[0].near.any()
    assert runs(SCANS["fine bins"], APART)[0].near.all()
    assert runs(SCANS["parallel"])[0].close.all()
    assert runs(SCANS["parallel"])[0].near.all()
