"""Scenes, priors and the loop of the experiment."""

from dataclasses import replace

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.experiment import (
    Settings,
    in_span,
    low_rank,
    noise2noise,
    noise2sim,
    solve,
    spectral2spectral,
    stream,
    tv,
)
from ctlib.papers.spectral2spectral.scene import Acquisition, scanned, simulated
from ctlib.papers.spectral2spectral.splitting import split_reconstruct

pytest.importorskip("xraylib")
pytestmark = pytest.mark.usefixtures("one_thread")

ACQUISITION = Acquisition(n=24, views=12, n_slices=3, counts=2500.0, sirt_start=5)
SETTINGS = Settings(outer=2, rho=0.1, steps=3, lr=0.003, width=4, tol=None, sirt_inner=2)
TRAINED = {
    "Noise2Sim": lambda s: noise2sim(s, SETTINGS, 0.8),
    "Noise2Noise": lambda s: noise2noise(replace(s, taught={}), SETTINGS, 2),
    "views": lambda s: noise2noise(replace(s, taught={}), SETTINGS, 2, photons=False),
    "Spectral2Spectral": lambda s: spectral2spectral(s, SETTINGS, 0.01),
}


@pytest.fixture(scope="module")
def mouse():
    return simulated("mouse", 3, ACQUISITION, 0.01)


def test_every_use_of_a_seed_has_its_own_stream():
    a, b, again = (torch.rand(5, generator=stream(use, 7)) for use in (1, 2, 1))
    assert torch.equal(a, again)
    assert not torch.equal(a, b)


def test_a_scene_measures_against_its_truth(mouse):
    assert mouse.x0.shape == mouse.truth.shape == (3, 5, 24, 24)
    assert mouse.full.shape == (3, 1, 24, 24)
    torch.testing.assert_close(mouse.error(1.5 * mouse.truth), torch.full((5,), 0.5))
    torch.testing.assert_close(mouse.error(1.5 * mouse.truth[[1]], [1]), torch.full((5,), 0.5))
    air = torch.where(mouse.body, mouse.truth, mouse.truth + 1.0)
    torch.testing.assert_close(mouse.error(air), torch.zeros(5))  # what lies outside the body does not count
    assert mouse.scores(mouse.truth)["ssim"] == pytest.approx([1.0] * 5)
    assert mouse.scores(mouse.x0, mouse.x0)["error"] == [0.0] * 5


def test_the_truth_is_that_of_the_densities_by_the_matrix(mouse):
    torch.testing.assert_close(mouse.maps(mouse.truth), mouse.scan.truth, rtol=0, atol=2e-4)


def test_a_given_matrix_leaves_the_scan_as_it_is(mouse):
    other = simulated("mouse", 3, ACQUISITION, 0.01, 2 * mouse.matrix)
    assert torch.equal(other.x0, mouse.x0)
    torch.testing.assert_close(other.truth, 2 * mouse.truth)
    assert scanned(mouse.scan, 5).truth is None


@pytest.mark.parametrize("pairs", ["distant", "bins"])
def test_other_pairs_are_other_priors(mouse, pairs):
    shallow = replace(SETTINGS, depth=1)
    one, other = (spectral2spectral(mouse, shallow, 0.0, pairs=p)(mouse.x0, 0) for p in ("neighbors", pairs))
    assert one.shape == other.shape
    assert not torch.equal(one, other)


def test_a_bin_made_from_the_others_does_not_depend_on_itself(mouse):
    prior = spectral2spectral(mouse, SETTINGS, 0.0, retrain=False, pairs="bins")
    prior(mouse.x0, 0)
    x = mouse.x0.clone()
    x[:, 2] += torch.rand(3, 24, 24, generator=stream(9, 0))
    before, after = prior.images(mouse.x0), prior.images(x)
    assert torch.equal(before[:, 2], after[:, 2])
    assert not torch.equal(before[:, 3], after[:, 3])


def test_the_course_of_a_training_is_the_error_of_its_images(mouse):
    prior = spectral2spectral(mouse, replace(SETTINGS, watch_every=2), 0.0)
    z = prior(mouse.x0, 0)
    assert [step for step, _ in prior.course] == [2, 3]
    assert prior.course[-1][1] == pytest.approx(float(mouse.error(z[[1]], [1]).mean()), rel=1e-5)


def test_a_run_is_the_splitting_with_its_settings(mouse):
    run = solve(mouse, tv(1.0), SETTINGS)
    direct = split_reconstruct(mouse.A, mouse.y, tv(1.0), mouse.x0, 2, 2, 0.1)
    assert torch.equal(run.x, direct.x)
    assert torch.equal(run.z, direct.z)
    assert run.gaps == tuple(direct.gaps)


def test_the_bregman_variable_reaches_the_loop(mouse):
    plain, bregman = (solve(mouse, tv(1.0), replace(SETTINGS, bregman=b)).x for b in (False, True))
    assert not torch.equal(plain, bregman)


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_prior_depends_on_its_seed_alone(mouse, name):
    first, again = (TRAINED[name](mouse)(mouse.x0, 0) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, TRAINED[name](replace(mouse, seed=4))(mouse.x0, 0))


def test_noise2noise_is_trained_once_a_scene_and_kind_of_pair(mouse):
    scene = replace(mouse, taught={})
    photons = noise2noise(scene, SETTINGS, 2)
    assert noise2noise(scene, SETTINGS, 2) is photons
    assert noise2noise(scene, SETTINGS, 3) is not photons
    assert noise2noise(scene, SETTINGS, 2, photons=False) is not photons
    assert noise2noise(replace(mouse, taught={}), SETTINGS, 2) is not photons
    solve(scene, photons, SETTINGS)
    assert photons.step == 6  # 2 outer steps of 3, all before the first use


def test_a_network_that_is_not_retrained_has_the_same_steps(mouse):
    once = spectral2spectral(mouse, SETTINGS, 0.0, retrain=False)
    once(mouse.x0, 0)
    each = spectral2spectral(mouse, SETTINGS, 0.0)
    each(mouse.x0, 0)
    assert (once.step, each.step) == (6, 3)


def test_differences_of_scans_are_taught_by_views_only():
    scene = simulated("rods", 1, replace(ACQUISITION, bin_mode="subtract"))
    with pytest.raises(ArgumentError):
        noise2noise(scene, SETTINGS, 2)(scene.x0, 0)
    assert noise2noise(scene, SETTINGS, 2, photons=False)(scene.x0, 0).isfinite().all()


def test_images_in_the_span_are_spectra_of_the_materials(mouse):
    z = in_span(mouse, 1.0)(mouse.x0, 0)
    back = torch.einsum("em,zmyx->zeyx", mouse.matrix.to(z), mouse.maps(z)) / 10
    torch.testing.assert_close(back, z, rtol=0, atol=1e-5)
    assert (mouse.x0 - z).abs().max() > 1e-3  # noise leaves the span


def test_priors_smooth_and_keep_shapes(mouse):
    for prior in (tv(1.0), low_rank(6.0)):
        z = prior(mouse.x0, 0)
        assert z.shape == mouse.x0.shape
        assert bool((mouse.noise(z) < mouse.noise(mouse.x0)).all())
