"""The tables of the GPU engine: every ray once, and candidates that hold every ray and row that meet a voxel."""

import numpy as np
import pytest
from scans import SCANS

from ctlib.backends.gpu.tables import BLOCK, lanes, middle_fan, rise
from ctlib.backends.tables.columns import columns
from ctlib.backends.tables.runs import TILE, runs
from ctlib.geometry import ConeBeam, Volume

CONE = {"num_views": 7, "pitch_mm": 1.7, "source_origin_mm": 24.0, "source_detector_mm": 40.0}
CONES = {
    "cone": ConeBeam(Volume((12, 20, 17)), num_cols=31, num_rows=14, **CONE),
    "fine rows": ConeBeam(Volume((7, 20, 17), (0.9, 1.2, 1.0)), num_cols=31, num_rows=60, row_pitch_mm=0.3, **CONE),
    "coarse rows": ConeBeam(Volume((30, 20, 17), (0.4, 1.0, 1.3)), num_cols=31, num_rows=6, row_pitch_mm=5.0, **CONE),
}
CLEAR = 1 - 1e-9  # a ray at distance 1 has no weight


def first_candidates(fan, run, q, c, error=0.0):
    """The lanes at which the candidates of pixels c of plane q begin, as the kernel counts, s being off by `error`."""
    p = fan.maps[run]
    s = (p[0] + p[1] * q + p[2] * c) / ((p[3] + p[4] * q + p[5] * c) if fan.curved else 1.0)
    return fan.first[run] + np.rint(np.clip(s + error, 0, fan.count[run])).astype(int)


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_every_ray_stands_in_one_lane_with_its_run_s_numbers(scan):
    found = []
    for r in runs(scan):
        fan, kept = lanes(r), r.rays >= 0
        real = fan.rays >= 0
        for table, same in (("rays", r.rays), ("start", r.start), ("slope", r.slope), ("length", r.length)):
            np.testing.assert_array_equal(getattr(fan, table)[real], same[kept])
        assert len(fan.rays) % BLOCK == 0
        assert (np.abs(fan.start[~real]) > 2 * fan.size).all()
        assert (fan.length[~real] == 0).all()
        found.append(fan.rays[real])
    assert sorted(np.concatenate(found)) == list(range(scan.num_rays))


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_a_block_s_span_holds_every_plane_on_which_it_meets_the_grid(scan):
    for r in runs(scan):
        fan = lanes(r)
        x = fan.start[:, None] + fan.slope[:, None] * (np.arange(fan.num) - fan.num // 2) + fan.size // 2
        over = ((x > -1) & (x < fan.size) & (fan.rays >= 0)[:, None]).reshape(-1, BLOCK, fan.num).any(1)
        q = np.arange(fan.num)
        assert not (over & ((q < fan.span[:, :1]) | (q >= fan.span[:, 1:]))).any()
        assert ((fan.span >= 0) & (fan.span <= fan.num)).all()


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_the_candidates_of_a_pixel_hold_every_ray_that_meets_it_and_none_of_another_run(scan):
    for r in runs(scan):
        fan, pixel = lanes(r), np.arange(r.size) - r.size // 2
        ends = np.append(fan.first[1:], len(fan.rays))
        for run, (a, n) in enumerate(zip(fan.first, fan.count, strict=True)):
            for plane in range(fan.num):
                q, ray = plane - fan.num // 2, np.arange(a, a + n)[:, None]
                meets = np.abs(fan.start[ray] + fan.slope[ray] * q - pixel) < CLEAR
                taps = max(fan.unrolled, fan.taps[run, plane // TILE])
                for error in (-0.9 * r.slack, 0.0, 0.9 * r.slack):
                    begin = first_candidates(fan, run, q, pixel, error)
                    assert not (meets & ((ray < begin) | (ray >= begin + taps))).any()
                    assert begin.max() + taps <= ends[run]
        assert fan.more == (fan.taps.max() > fan.unrolled)


def test_only_curved_maps_divide():
    assert not any(lanes(r).curved for r in runs(SCANS["parallel"]))
    assert all(lanes(r).curved for r in runs(SCANS["wide fan"]))


@pytest.mark.parametrize("cone", CONES.values(), ids=CONES)
def test_lanes_of_a_cone_are_its_columns(cone):
    c, found = columns(cone), []
    for fan in map(lanes, runs(middle_fan(cone))):
        up, real = rise(cone, fan), fan.rays >= 0
        view, column = fan.rays[real] // cone.num_cols, fan.rays[real] % cone.num_cols
        assert (c.axis[view, column] == 1 + fan.axis).all()
        q = 3
        place = fan.start[real] + fan.slope[real] * (q - fan.num // 2) + fan.size // 2
        np.testing.assert_allclose(place, c.start[view, column] + c.slope[view, column] * q, atol=1e-9)
        lift = up.level[real] + up.steep[real] * (q - fan.num // 2)
        np.testing.assert_allclose(lift, c.gain[view, column] * (q - c.source[view, column]), rtol=1e-12)
        np.testing.assert_allclose(np.sqrt(up.flat[real]), fan.length[real], rtol=1e-12)
        assert (up.limits[~real] == 0).all()
        found.append(up.place[real])
    expected = np.arange(cone.num_views)[:, None] * cone.num_rows * cone.num_cols + np.arange(cone.num_cols)
    assert sorted(np.concatenate(found)) == sorted(expected.ravel())


@pytest.mark.parametrize("cone", CONES.values(), ids=CONES)
def test_the_candidate_rows_of_a_voxel_hold_every_row_that_meets_it(cone):
    """In every column that touches the grid on the plane; rows are counted from the middle."""
    slices, rows = cone.volume.shape[0], cone.num_rows
    slice_, row = np.arange(slices) - (slices - 1) / 2, np.arange(rows)
    for fan in map(lanes, runs(middle_fan(cone))):
        up, limited = rise(cone, fan), False
        for run, (a, n) in enumerate(zip(fan.first, fan.count, strict=True)):
            for plane in range(fan.num):
                q, taps = plane - fan.num // 2, up.taps[run, plane // TILE]
                x = fan.start[a : a + n] + fan.slope[a : a + n] * q + fan.size // 2
                lift = (up.level[a : a + n] + up.steep[a : a + n] * q)[(x > -1) & (x < fan.size), None]
                begin = np.rint(np.clip((slice_ - 1) / lift + rows * 0.5 - up.slack, 0, rows))[..., None]
                meets = np.abs((row - (rows - 1) / 2) * lift[..., None] - slice_[:, None]) < CLEAR
                assert not (meets & ((row < begin) | (row >= begin + taps))).any()
                limited |= taps < rows
        assert limited or cone is CONES["coarse rows"]
