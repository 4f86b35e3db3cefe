"""One fit with its settings, and what is asked of fits."""

import numpy as np
import pytest
import torch

from ctlib.papers.dip import experiment
from ctlib.papers.dip.bodies import synthetic_body
from ctlib.papers.dip.experiment import Setup
from ctlib.papers.dip.tasks import make_task

SMALL = Setup(channels=4, inputs=4, skip=2, scales=2)


@pytest.fixture
def truth():
    return synthetic_body(16).gray


def test_a_fit_is_determined_by_its_seed_and_setup(truth):
    task = make_task("denoise", truth, 0)
    first, again, other = (experiment.fit_task(task, seed, 3, SMALL) for seed in (0, 0, 1))
    assert first.energy == again.energy
    assert first.energy[0] != other.energy[0]


def test_a_setup_makes_the_network_it_says(truth):
    net, z = Setup(channels=6, inputs=3, skip=1, scales=2, up="nearest").prior((16, 16), 0)
    assert z.shape == (1, 3, 16, 16)
    assert net.body.up.mode == "nearest"
    assert net.body.skip[0].out_channels == 1
    assert net.scales == 2


def test_scores_are_taken_inside_the_region_alone(truth):
    task, region = make_task("restore", truth, 0), torch.zeros(16, 16, dtype=torch.bool)
    region[4:9, 5:12] = True
    fit = experiment.fit_task(task, 0, 3, SMALL, region=region, snapshots=(1, 2))
    for step in (1, 2):
        scores = (fit.psnr_truth[step], fit.psnr_average[step])
        images = (fit.snapshots[step], fit.averages[step])
        assert scores == pytest.approx([experiment.psnr_db(x, truth, region) for x in images], abs=1e-4)
    cut = fit.first(2)
    assert torch.equal(cut.average, fit.averages[1])
    assert torch.equal(cut.last, fit.snapshots[1])
    assert cut.snapshots.keys() == {1}
    assert fit.first(3) is fit


def test_the_last_psnr_is_the_mean_of_eleven_steps(truth):
    fit = experiment.fit_task(make_task("denoise", truth, 0), 0, 12, SMALL)
    assert experiment.last_psnr([fit, fit]).shape == (2,)
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


def test_the_spectrum_of_the_kernel_falls():
    values, frequencies = experiment.kernel_spectrum(0, SMALL, n=8, scales=2)
    assert values.shape == frequencies.shape == (64,)
    assert (values.diff() <= 0).all()
    assert frequencies.min() >= 0


def test_psnr_of_a_known_error():
    x = torch.zeros(4, 4)
    x[0] = 0.1
    assert experiment.psnr_db(x.double(), torch.zeros(4, 4)) == pytest.approx(20 + 10 * np.log10(4), abs=1e-4)
    assert experiment.psnr_db(x, torch.zeros(4, 4), x > 0) == pytest.approx(20, abs=1e-4)
