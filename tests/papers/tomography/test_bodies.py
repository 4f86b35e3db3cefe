"""Random bodies: values of tissues, inside the circle, inserts where they are said to be and nowhere else."""

import math

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.tomography.bodies import AXES, CONTRAST, FIELD_MM, bodies, body
from ctlib.phantoms.anatomy import MU
from ctlib.projector import Projector

GRID = Volume((64, 64), FIELD_MM / 64)
y, x = (torch.from_numpy(GRID.axis(i)) for i in range(2))
RADIUS = torch.hypot(y[:, None], x[None, :])


@pytest.fixture(scope="module")
def many():
    return [body(s, GRID, torch.float64) for s in range(40)]


def test_bodies_touch_the_inscribed_circle_and_are_zero_outside(many):
    reach = [float(RADIUS[b.image > 0.005].max()) / (FIELD_MM / 2) for b in many]
    assert min(reach) > 0.93
    assert all(float(b.image[RADIUS > FIELD_MM / 2].abs().max()) == 0 for b in many)


def test_values_are_those_of_tissues_and_most_of_the_body_is_soft(many):
    for b in many:
        assert float(b.image.min()) >= 0
        assert float(b.image.max()) < MU["cortical bone"] + 0.004
        inside = b.background[b.background > 0.01]
        assert 0.019 < float(inside.median()) < 0.023
        assert float(b.background[b.soft].std()) > 1e-4  # texture


def test_rays_through_the_middle_have_two_to_four_nepers(many):
    A = Projector(ParallelBeam(GRID, 60, 64, FIELD_MM / 64))
    p = A(torch.stack([b.image for b in many]))
    middle = p[:, :, 31:33].mean((1, 2))
    assert 2.2 < float(middle.min()) < float(middle.max()) < 3.4
    assert float(p.max()) < 4.0


def test_inserts_are_the_difference_to_the_background(many):
    """Total of the difference: the sum of contrast times area of the ellipses, up to the texture on them."""
    for b in many:
        d = b.image - b.background
        total = sum(i.contrast * math.pi * math.prod(i.axes_mm) for i in b.inserts)
        size = sum(abs(i.contrast) * math.pi * math.prod(i.axes_mm) for i in b.inserts)
        assert float(d.sum()) * GRID.voxel_mm[0] ** 2 == pytest.approx(total, abs=0.04 * size)


def test_each_insert_has_its_contrast_at_its_center_and_they_do_not_touch(many):
    for b in many:
        for i in b.inserts:
            cx, cy = i.center_mm
            row, col = int(np.abs(GRID.axis(0) - cy).argmin()), int(np.abs(GRID.axis(1) - cx).argmin())
            assert float((b.image - b.background)[row, col]) == pytest.approx(i.contrast, rel=0.15)
            assert bool(b.soft[row, col])
            assert CONTRAST[0] <= abs(i.contrast) <= CONTRAST[1]
            assert all(AXES[0] <= a / (FIELD_MM / 2) <= AXES[1] for a in i.axes_mm)
        far = [math.dist(i.center_mm, j.center_mm) - max(i.axes_mm) - max(j.axes_mm)
               for k, i in enumerate(b.inserts) for j in b.inserts[:k]]  # fmt: skip
        assert min(far, default=1.0) > 0
    assert {len(b.inserts) for b in many} == {2, 3, 4}


def test_seeds_are_bodies_and_size_does_not_matter(many):
    again = body(3, GRID, torch.float64)
    assert torch.equal(again.image, many[3].image)
    assert again.inserts == many[3].inserts
    assert float((many[3].image - many[4].image).abs().mean()) > 1e-3
    fine = body(3, Volume((128, 128), FIELD_MM / 128), torch.float64)
    assert fine.inserts == many[3].inserts
    coarse = torch.nn.functional.avg_pool2d(fine.background[None], 2)[0]
    assert float((coarse - many[3].background).abs().mean()) < 5e-4  # texture and rasters differ, the anatomy does not


def test_many_at_once():
    stack = bodies([3, 5], GRID)
    assert stack.shape == (2, 64, 64)
    assert stack.dtype == torch.float32
    assert torch.equal(stack[1], body(5, GRID).image)


@pytest.mark.parametrize("volume", [Volume((8, 8, 8), 1.0), Volume((32, 48), 1.0), Volume((32, 32), (1.0, 2.0))])
def test_other_grids_are_refused(volume):
    with pytest.raises(ArgumentError, match="square"):
        body(0, volume)
