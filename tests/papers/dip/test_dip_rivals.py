"""The classical methods: what they keep, what they reproduce exactly."""

import pytest
import torch

from ctlib.papers.dip import rivals
from ctlib.papers.dip.bodies import synthetic_body
from ctlib.papers.dip.operators import Mask
from ctlib.papers.dip.tasks import Task, make_task


@pytest.fixture
def truth():
    return synthetic_body(16).gray


def ramp_with_holes(n=12):
    """A restoration task of an image linear in y and x, corners known."""
    y, x = torch.meshgrid(torch.linspace(0, 0.5, n), torch.linspace(0, 0.3, n), indexing="ij")
    known = torch.ones(n, n)
    known[3:6, 4:8] = known[8, 3] = 0
    return Task("restore", Mask(known), Mask(known)(y + x), y + x)


def test_the_plain_input_shows_what_a_method_starts_from(truth):
    noisy, small, holed = (make_task(name, truth, 0, factor=2) for name in ("denoise", "sr", "restore"))
    assert rivals.plain_input(noisy) is noisy.x0
    assert torch.equal(rivals.plain_input(small)[::2, 1::2], small.x0)
    filled, known = rivals.plain_input(holed), holed.A.mask > 0
    assert torch.equal(filled[known], truth[known])
    assert filled[~known].numpy() == pytest.approx(float(truth[known].mean()), abs=1e-6)


def test_fillings_keep_what_is_known_and_follow_a_plane():
    pytest.importorskip("scipy")
    pytest.importorskip("skimage")
    task = ramp_with_holes()
    for fill in (rivals.fill_linear, rivals.fill_biharmonic):
        assert fill(task) == pytest.approx(task.truth, abs=1e-4), fill.__name__
    known = task.A.mask > 0
    assert rivals.fill_tv(task, 1e-4)[known] == pytest.approx(task.truth[known], abs=1e-2)


def test_pixels_outside_the_hull_take_the_nearest_known_value():
    pytest.importorskip("scipy")
    known = torch.zeros(8, 8)
    known[2:6, 2:6] = 1
    image = torch.arange(64.0).reshape(8, 8)
    filled = rivals.fill_linear(Task("restore", Mask(known), image * known, image))
    assert filled[0, 0] == image[2, 2]
    assert filled[7, 7] == image[5, 5]


@pytest.mark.parametrize("enlarge", [rivals.enlarge_bicubic, rivals.enlarge_lanczos])
def test_enlargements_keep_a_constant_and_place_a_wave_where_it_was(truth, enlarge):
    task = make_task("sr", torch.full_like(truth, 0.3), 0, factor=4)
    assert enlarge(task) == pytest.approx(task.truth, abs=1e-6)
    t = (torch.arange(64) + 0.5) / 64
    wave = 0.5 + 0.4 * torch.cos(2 * torch.pi * 2 * t).expand(64, 64)
    error = (enlarge(make_task("sr", wave, 0, factor=4)) - wave).abs()
    assert error[:, 8:-8].max() < 0.02


def test_denoising_lowers_the_error(truth):
    pytest.importorskip("skimage")
    flat = make_task("denoise", torch.full((32, 32), 0.4), 0)
    for denoise in (rivals.denoise_tv, rivals.denoise_means):
        assert (denoise(flat, 0.1) - 0.4).std() < 0.5 * (flat.x0 - 0.4).std()


def test_every_method_with_a_weight_tries_as_many():
    counts = {len(weights) for methods in rivals.RIVALS.values() for _, weights in methods.values()}
    assert counts == {1, len(rivals.NOISE_WEIGHTS)}
    assert len(rivals.HOLE_WEIGHTS) == len(rivals.NOISE_WEIGHTS)
