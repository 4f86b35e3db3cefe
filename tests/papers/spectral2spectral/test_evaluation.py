"""Measures on the rods and the mouse, on images whose error is known."""

import numpy as np
import pytest
import torch

from ctlib.papers.spectral2spectral.evaluation import (
    bone_contrast,
    edge_slope,
    iodine_steps,
    maps_in_units,
    profile_error,
    rod_errors,
    shared_noise,
    spine_row,
    vessel_error,
)
from ctlib.papers.spectral2spectral.scene import Acquisition, simulated
from ctlib.papers.spectral2spectral.specimens import ALUMINIUM

pytest.importorskip("xraylib")
pytestmark = pytest.mark.usefixtures("one_thread")

ACQUISITION = Acquisition(n=48, views=24, n_slices=3, counts=2500.0, sirt_start=5)


@pytest.fixture(scope="module")
def rods():
    return simulated("rods", 1, ACQUISITION)


@pytest.fixture(scope="module")
def mouse():
    return simulated("mouse", 1, ACQUISITION)


def with_more(scene, density):
    """The true images and those of another density (3,) [g/cm3] on top, everywhere."""
    return scene.truth + (scene.matrix @ torch.tensor(density, dtype=torch.float64)).to(scene.truth)[:, None, None] / 10


def test_each_rod_is_measured_by_its_own_material(rods):
    np.testing.assert_allclose(rod_errors(rods, rods.truth), 0, atol=1e-4)
    off = rod_errors(rods, with_more(rods, [0.1 * ALUMINIUM, 0.02, 0.003]))
    np.testing.assert_allclose(off, [0.1, 0.02, 0.003], atol=1e-4)


def test_another_matrix_gives_other_maps(rods):
    halved = maps_in_units(rods, rods.truth, 2 * rods.matrix)
    torch.testing.assert_close(2 * halved, maps_in_units(rods, rods.truth))


def test_iodine_steps_are_counted_in_deviations(rods):
    noise = torch.randn(3, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    x = rods.truth + 0.0002 * noise * rods.matrix[:, 2].to(noise)[:, None, None] / 10
    assert iodine_steps(rods, x) == pytest.approx(0.005 / 0.0002, rel=0.15)


def test_an_offset_is_the_error_of_the_profile_and_of_the_vessels(mouse):
    x = with_more(mouse, [0.0, 0.0, 0.002])
    assert profile_error(mouse, x) == pytest.approx(0.0002 * float(mouse.matrix[4, 2]), rel=1e-4)
    assert vessel_error(mouse, x) == pytest.approx(2.0, rel=1e-2)
    assert vessel_error(mouse, mouse.truth) < 1e-2


def test_the_row_of_the_spine_has_the_most_bone(mouse):
    row = spine_row(mouse)
    assert bool((mouse.scan.truth[1, 0].sum(1) <= mouse.scan.truth[1, 0, row].sum()).all())


def test_noise_lowers_the_contrast_of_bone_and_blur_the_slope(mouse):
    noise = torch.randn(mouse.truth.shape, generator=torch.Generator().manual_seed(0))
    assert bone_contrast(mouse, mouse.truth + 0.01 * noise) < bone_contrast(mouse, mouse.truth)
    assert edge_slope(mouse, mouse.truth) == pytest.approx(1.0)
    assert edge_slope(mouse, torch.nn.functional.avg_pool2d(mouse.truth, 3, 1, 1)) < 0.9


def test_shared_noise_is_that_of_the_reconstruction(mouse):
    assert abs(shared_noise(mouse, lambda A, y: y)) < 0.05
    # a sum of two neighbors along one of the two axes
    assert shared_noise(mouse, lambda A, y: y + y.roll(1, -1)) == pytest.approx(0.25, abs=0.05)
