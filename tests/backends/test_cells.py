"""The tables of the GPU engine's transposed back-projection: candidates that hold every pixel near a cell."""

import numpy as np
import pytest
import torch
from scans import SCANS

from ctlib.backends.gpu.cells import cells
from ctlib.backends.gpu.tables import BLOCK, middle_fan
from ctlib.backends.tables.footprint import footprint
from ctlib.backends.tables.runs import SLACK, TILE
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume

NEAR = {"source_origin_mm": 13.0, "source_detector_mm": 15.0}
ALL = SCANS | {
    "source at the grid": FanBeam(Volume((16, 17)), 5, 25, 1.4, detector_offset_mm=2.0, **NEAR),
    "cells of steep rays": FanBeam(Volume((16, 17)), 5, 3, 25.0, **NEAR),
    "all miss": ParallelBeam(Volume((5, 4)), 3, 6, 1.0, detector_offset_mm=60.0),
    "cone": ConeBeam(Volume((3, 9, 12)), 4, 14, 1.5, num_rows=4, **NEAR),
}


def places(scan):
    """(V, Y, X) column under every pixel, by the reference."""
    like = torch.zeros(1, dtype=torch.float64)
    return np.stack([footprint(scan, v, like)[0].numpy() for v in range(scan.num_views)])


@pytest.mark.parametrize("scan", ALL.values(), ids=ALL)
def test_every_cell_stands_in_one_lane_of_whole_blocks(scan):
    found = np.concatenate([c.cells for c in cells(scan)])
    assert len(found) % BLOCK == 0
    assert sorted(found[found >= 0]) == list(range(scan.num_views * scan.num_cols))


@pytest.mark.parametrize("error", [-0.9 * SLACK, 0.0, 0.9 * SLACK])
@pytest.mark.parametrize("scan", ALL.values(), ids=ALL)
def test_candidates_hold_every_pixel_near_a_cell(scan, error):
    """Also where the kernel's first candidate is off by as much as its float32 arithmetic may be."""
    under = places(scan)
    for c in cells(scan):
        turned = under.swapaxes(1, 2) if c.axis else under  # (V, planes, pixels)
        plane, pixel, block = np.arange(c.num), np.arange(c.size), np.arange(len(c.cells)) // BLOCK
        for lane in np.flatnonzero(c.cells >= 0):
            view, column = divmod(c.cells[lane], scan.num_cols)
            near = np.abs(turned[view] - column) < 1 - 1e-9
            begin = c.begin[lane] + c.rise[lane] * (plane - c.num // 2) + error
            first = np.rint(np.clip(begin, -(c.size // 2), c.size - c.size // 2)).astype(int)[:, None] + c.size // 2
            taps = c.taps[block[lane], plane // TILE][:, None]
            low, high = c.span[block[lane]]
            held = (pixel >= first) & (pixel < first + taps) & ((plane >= low) & (plane < high))[:, None]
            assert not (near & ~held).any()


def test_candidates_are_few():
    """Two cells over the least spacing of the places, and one that an inexact start costs."""
    scan = ParallelBeam(Volume((40, 48)), 30, 60, 1.0)
    found = cells(scan)
    assert {c.axis for c in found} == {0, 1}
    assert max(c.taps.max() for c in found) == 3  # 2 / cos(pi / 4) = 2.8
    assert cells(middle_fan(ALL["cone"]))[0].taps.max() < 9


def test_planes_that_no_pixel_of_a_block_lies_on_are_skipped():
    for c in cells(ALL["all miss"]):
        assert (c.span[:, 0] == c.span[:, 1]).all()
        assert (c.taps == 0).all()
