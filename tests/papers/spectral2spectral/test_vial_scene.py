"""The lab's scene: made specimens of known noise and content, and a stored slice."""

import numpy as np
import pytest
import torch

from ctlib.papers.spectral2spectral.noise_level import neighbor_correlation
from ctlib.papers.spectral2spectral.vial_scene import (
    FIELD_MM,
    PIXEL_MM,
    content,
    correlated,
    made,
    measured,
    measures,
    step_at,
)
from ctlib.papers.spectral2spectral.vials import CONTENT

pytestmark = pytest.mark.usefixtures("one_thread")

MATRIX = (  # [cm2/g]; rows water, iodine, barium, gadolinium, bone, columns bins
    (0.3222, 0.3220, 0.2911, 0.2635, 0.2442, 0.2304, 0.2186, 0.2049),
    (15.6188, 12.7954, 20.3665, 20.9604, 16.4106, 13.1529, 10.4335, 7.4192),
    (15.1741, 12.5767, 9.4394, 19.2138, 18.2928, 14.7074, 11.6919, 8.3326),
    (13.1257, 13.8609, 10.7791, 7.8003, 5.8833, 7.6278, 14.7015, 11.5078),
    (0.9698, 0.9701, 0.7844, 0.6219, 0.5103, 0.4339, 0.3726, 0.3068),
)
SIGMA = (0.003, 0.002, 0.003, 0.001, 0.003, 0.001, 0.002, 0.003)


@pytest.fixture(scope="module")
def scene():
    return made(1, SIGMA, 64, 48, torch.tensor(MATRIX, dtype=torch.float64).T)


def test_a_made_specimen_has_the_noise_it_was_asked_for(scene):
    np.testing.assert_allclose(scene.noise(scene.x0), SIGMA, rtol=0.25)  # some 40 pixels a vial
    assert scene.noise(scene.truth).max() < 1e-6
    assert (scene.seed, scene.voxel_mm) == (1, FIELD_MM / 64)


def test_the_images_are_projected_noise_included(scene):
    torch.testing.assert_close(scene.y, scene.A(scene.x0))
    assert scene.A.range_shape == (48, 70)
    torch.testing.assert_close(scene.full, scene.x0.mean(1, keepdim=True))


def test_the_vials_hold_their_elements(scene):
    mean, deviation = content(scene, scene.truth)
    torch.testing.assert_close(mean, 1e3 * torch.diag(torch.tensor(CONTENT)), rtol=0, atol=0.05)
    assert deviation.max() < 0.05


def test_a_k_edge_is_a_step_up(scene):
    iodine = CONTENT[0]
    below, above = (MATRIX[0][b] + iodine * MATRIX[1][b] for b in (1, 2))
    assert step_at(scene, scene.truth, "iodine") == pytest.approx(above / below, rel=1e-4)
    assert step_at(scene, scene.truth, "gadolinium") > 1


def test_first_images_are_their_own_measure(scene):
    found = measures(scene, scene.x0)
    assert found["noise"] == pytest.approx(1.0)
    assert found["right"] == 3
    np.testing.assert_allclose(found["content"], 1e3 * np.array(CONTENT), rtol=0.1)
    clean = measures(scene, scene.truth)
    assert clean["noise"] < 1e-3
    assert clean["spread"] < found["spread"]
    assert clean["false"] < found["false"]


def test_a_stored_slice_is_averaged_and_cut(tmp_path):
    image = pytest.importorskip("PIL.Image")
    stored = np.random.default_rng(0).uniform(0, 0.1, (8, 134, 134)).astype(np.float32)
    for k, bin_image in enumerate(stored, 1):
        image.fromarray(bin_image).save(tmp_path / f"bin{k}_slice0194.tif")
    found = measured(tmp_path, 64, 12, torch.tensor(MATRIX, dtype=torch.float64).T)
    assert found.x0.shape == (1, 8, 64, 64)
    assert found.voxel_mm == 2 * PIXEL_MM
    assert found.truth is None
    np.testing.assert_allclose(found.x0[0, :, 0, 0], stored[:, 2:4, 2:4].mean((1, 2)) / 0.453, rtol=1e-5)


def test_noise_is_blurred_until_neighbors_share_as_much_as_asked():
    white = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = neighbor_correlation(correlated(white, (0.0, 0.45, 0.74))[0])
    torch.testing.assert_close(found, torch.tensor([0.0, 0.45, 0.74]), rtol=0, atol=0.02)


def test_a_made_specimen_may_have_the_correlation_of_a_measured_one(scene):
    other = made(1, SIGMA, 64, 48, scene.matrix, shared=(0.6,) * 8)
    noise, before = other.x0 - other.truth, scene.x0 - scene.truth
    assert float(neighbor_correlation(noise).min()) > 0.5 > float(neighbor_correlation(before).max())
    np.testing.assert_allclose(noise[..., 16:48, 16:48].std((0, 2, 3)), SIGMA, rtol=0.05)
    assert other.body.shape == (1, 1, 64, 64)
