"""The chapter's runs: readers' slices, sweeps that differ in one setting alone, and the classical rivals."""

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.linop import FunctionOperator
from ctlib.papers.dip import experiment
from ctlib.papers.dip.experiment import Setup
from ctlib.papers.dip.operators import Mask
from ctlib.papers.dip.tasks import Task, make_task
from ctlib.units import mu_from_hu

SMALL = Setup(channels=4, skip=2, scales=2)


@pytest.fixture
def truth():
    return experiment.synthetic_slice(16)


def ramp_with_holes(n=12):
    """A restoration task of an image linear in y and x, corners known."""
    y, x = torch.meshgrid(torch.linspace(0, 0.5, n), torch.linspace(0, 0.3, n), indexing="ij")
    known = torch.ones(n, n)
    known[3:6, 4:8] = known[8, 3] = 0
    return Task("restore", Mask(known), Mask(known)(y + x), y + x)


def test_a_readers_slice_is_the_mean_of_blocks_of_its_middle_square(tmp_path, capsys):
    hu = np.full((20, 13), 2000.0)  # all but the middle 12 x 12 is bone
    hu[4:16, :12] = np.kron(np.array([[-160.0, 40.0], [240.0, 140.0]]), np.ones((6, 6)))
    np.save(tmp_path / "own.npy", hu)
    expected = torch.tensor([[0.1, 0.5], [0.9, 0.7]])
    assert experiment.own_slice(str(tmp_path / "own.npy"), 2, "HU") == pytest.approx(expected, abs=1e-6)
    assert "own.npy: 20 x 13, pixel size not stated; in HU" in capsys.readouterr().out
    np.save(tmp_path / "own.npy", mu_from_hu(torch.from_numpy(hu)).numpy())
    assert experiment.own_slice(str(tmp_path / "own.npy"), 2, "1/mm") == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ArgumentError, match=r"unit: got none, and own.npy holds"):
        experiment.own_slice(str(tmp_path / "own.npy"), 2)


def test_a_crop_is_in_the_middle_and_never_larger_than_the_image():
    image = torch.arange(24.0).reshape(4, 6)
    assert experiment.center_crop(image, 2).tolist() == [[8, 9], [14, 15]]
    assert torch.equal(experiment.center_crop(image, 9), image)


def test_a_fit_is_determined_by_its_seed_and_setup(truth):
    task = make_task("denoise", truth, 0)
    first, again, other = (experiment.fit_task(task, seed, 3, SMALL) for seed in (0, 0, 1))
    assert first.energy == again.energy
    assert first.energy[0] != other.energy[0]


def test_a_sweep_changes_one_setting_and_takes_the_fits_that_are_there(truth, monkeypatch):
    tasks, seeds = [make_task("denoise", truth, s) for s in (0, 1)], (0, 1)
    done = experiment.fit_all(tasks, seeds, 4, SMALL)
    fresh = experiment.sweep(tasks, seeds, "lr", [0.01, 0.001], 3, SMALL)
    fitted, fit_task = [], experiment.fit_task

    def counting(task, seed, num_iters, setup):
        fitted.append(setup.lr)
        return fit_task(task, seed, num_iters, setup)

    monkeypatch.setattr(experiment, "fit_task", counting)
    swept = experiment.sweep(tasks, seeds, "lr", [0.01, 0.001], 3, SMALL, done)
    assert fitted == [0.001, 0.001]
    for value in (0.01, 0.001):
        assert [f.energy for f in swept[value]] == [f.energy for f in fresh[value]]
    assert swept[0.01][0].energy[0] == swept[0.001][0].energy[0]  # same weights, same data
    assert swept[0.01][0].energy[2] != swept[0.001][0].energy[2]


def test_the_last_psnr_is_the_mean_of_eleven_steps_per_value_and_seed(truth):
    fit = experiment.fit_task(make_task("denoise", truth, 0), 0, 12, SMALL)
    assert experiment.swept_psnr({1: [fit], 2: [fit]}).shape == (2, 1)
    assert experiment.last_psnr([fit], "psnr_fit")[0] == pytest.approx(np.mean(fit.psnr_fit[1:]))


def test_held_out_pixels_are_those_the_fit_does_not_see(truth):
    task = make_task("denoise", truth, 0)
    fitted, (operator, observation) = experiment.hold_out(task, 0.75, seed=0)
    assert torch.equal(fitted.A.mask + operator.mask, torch.ones_like(truth))
    assert torch.equal(fitted.x0 + observation, task.x0)
    assert 0 < operator.num_observed < truth.numel() / 2


def test_target_energies_start_at_the_distance_to_the_untrained_output(truth):
    energies = experiment.target_energies({"slice": truth, "gray": torch.full_like(truth, 0.5)}, 0, 2, SMALL)
    net, z = SMALL.prior(tuple(truth.shape), 0)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(50_000))
    with torch.no_grad():
        x = net(z + SMALL.reg_noise * noise)[0, 0]
    assert energies["slice"][0] == pytest.approx(float((x - truth).square().mean()), rel=1e-5)
    assert len(energies["gray"]) == 2


def test_the_spectrum_of_the_kernel_falls(truth):
    values, frequencies = experiment.kernel_spectrum(0, SMALL, n=8, scales=2)
    assert values.shape == frequencies.shape == (64,)
    assert (values.diff() <= 0).all()
    assert frequencies.min() >= 0


def test_the_plain_input_shows_what_a_method_starts_from(truth):
    noisy, small, holed = (make_task(name, truth, 0, factor=2) for name in ("denoise", "sr", "restore"))
    assert experiment.plain_input(noisy) is noisy.x0
    assert torch.equal(experiment.plain_input(small)[::2, 1::2], small.x0)
    filled, known = experiment.plain_input(holed), holed.A.mask > 0
    assert torch.equal(filled[known], truth[known])
    assert filled[~known].numpy() == pytest.approx(float(truth[known].mean()), abs=1e-6)


def test_fillings_keep_what_is_known_and_follow_a_plane():
    pytest.importorskip("scipy")
    pytest.importorskip("skimage")
    task = ramp_with_holes()
    for fill in (experiment.fill_linear, experiment.fill_biharmonic):
        assert fill(task) == pytest.approx(task.truth, abs=1e-4), fill.__name__
    known = task.A.mask > 0
    assert experiment.fill_tv(task, 1e-4)[known] == pytest.approx(task.truth[known], abs=1e-2)


def test_pixels_outside_the_hull_take_the_nearest_known_value():
    pytest.importorskip("scipy")
    known = torch.zeros(8, 8)
    known[2:6, 2:6] = 1
    image = torch.arange(64.0).reshape(8, 8)
    filled = experiment.fill_linear(Task("restore", Mask(known), image * known, image))
    assert filled[0, 0] == image[2, 2]
    assert filled[7, 7] == image[5, 5]


def test_bicubic_enlargement_keeps_a_constant(truth):
    task = make_task("sr", torch.full_like(truth, 0.3), 0, factor=4)
    assert experiment.enlarge_bicubic(task) == pytest.approx(task.truth, abs=1e-6)


def test_psnr_of_a_known_error():
    x = torch.zeros(4, 4)
    x[0] = 0.1
    assert experiment.psnr_db(x.double(), torch.zeros(4, 4)) == pytest.approx(20 + 10 * np.log10(4), abs=1e-4)
    assert experiment.psnr_db(x, torch.zeros(4, 4), x > 0) == pytest.approx(20, abs=1e-4)


def test_a_scan_with_many_photons_is_the_line_integral():
    A = FunctionOperator(lambda x: x + 1, lambda y: y, (30, 40), (30, 40))  # p = 1 behind an empty image
    readings = experiment.noisy_scan(A, torch.zeros(30, 40), 1e4, seed=3)
    assert readings.mean() == pytest.approx(1, abs=3e-3)
    assert readings.std() == pytest.approx(float(np.exp(0.5)) / 1e2, rel=0.1)  # Var = e^p / photons
    assert torch.equal(readings, experiment.noisy_scan(A, torch.zeros(30, 40), 1e4, seed=3))
