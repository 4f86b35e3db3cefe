"""RAdam with the paper's schedule: its first steps by hand, and that a stopped training goes on bit by bit."""

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError, DataError
from ctlib.papers.tomography.throughput import frames_per_second
from ctlib.train import load_checkpoint
from ctlib.train.reconstruction import RadamSettings, fit_radam
from ctlib.train.schedules import warm_up_rate

X = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
W = torch.tensor([[1.0, -2.0, 0.5, 3.0]])


def noisy(indices, seeds):
    """Inputs with noise from each sample's seed, as readings are."""
    noise = [torch.randn(4, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return X[indices] + 0.01 * torch.stack(noise), X[indices] @ W.T


def fitted(settings, **options):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.PReLU(), nn.Linear(8, 1))
    return net, fit_radam(net, nn.functional.mse_loss, noisy, 12, settings, **options)


def test_it_minimises():
    _, run = fitted(RadamSettings(300, 4, 0.03, rise=20, halve=100))
    assert sum(run.history["loss"][-10:]) < 0.1 * sum(run.history["loss"][:10])


def test_first_steps_are_momentum_with_the_rate_of_the_schedule():
    """For five steps rho <= 5 and RAdam is momentum without division: m / (1 - 0.9^t), {cite}`liu2020`."""
    net = nn.Linear(1, 1, bias=False)
    start, slope = net.weight.detach().clone(), 3.0
    settings = RadamSettings(4, 1, 0.1, start_lr=0.01, rise=2)
    fit_radam(net, lambda a, b: a.mean(), lambda i, s: (torch.full((1, 1), slope), torch.zeros(1, 1)), 1, settings)
    moved = (
        sum(warm_up_rate(k, 0.1, 0.01, 2, 0) for k in range(4)) * slope
    )  # constant gradient: m / (1 - 0.9^t) = slope
    torch.testing.assert_close(start - net.weight.detach(), torch.full((1, 1), moved), rtol=1e-5, atol=0)


def test_noise_is_drawn_anew_and_repeated_by_the_seed():
    seen = []

    def fetch(indices, seeds):
        seen.append(tuple(seeds))
        return noisy(indices, seeds)

    for _ in range(2):
        net = nn.Linear(4, 1)
        fit_radam(net, nn.functional.mse_loss, fetch, 12, RadamSettings(5, 3, 0.01, seed=7))
    assert seen[:5] == seen[5:]
    assert len({s for step in seen[:5] for s in step}) == 15


def test_resume_is_bit_exact(tmp_path):
    settings = RadamSettings(12, 3, 0.03, rise=4, halve=5, seed=2)
    whole, run = fitted(settings, path=tmp_path / "whole")

    def stop(run):
        if run.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(settings, path=tmp_path / "cut", every=3, callback=stop)
    assert load_checkpoint(tmp_path / "cut")["step"] == 6
    resumed, again = fitted(settings, path=tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert again.history == run.history
    assert not resumed.training
    with pytest.raises(DataError, match="about"):
        fitted(RadamSettings(12, 3, 0.03, rise=5, halve=5, seed=2), path=tmp_path / "cut")


def test_half_precision_keeps_the_weights_in_single():
    net, run = fitted(RadamSettings(3, 4, 0.01, precision="bf16"))
    assert next(net.parameters()).dtype == torch.float32
    assert run.history["loss"][0] == pytest.approx(fitted(RadamSettings(1, 4, 0.01))[1].history["loss"][0], rel=0.02)


@pytest.mark.parametrize("bad", [{"steps": -1}, {"batch": 0}, {"lr": 1e-7}, {"start_lr": 0.0}, {"precision": "fp8"}])
def test_bad_settings(bad):
    with pytest.raises(ArgumentError):
        RadamSettings(**{"steps": 1, "batch": 1, "lr": 0.1, **bad})


def test_frames_per_second_counts_samples_and_calls():
    calls = []

    def apply(x):
        calls.append(torch.is_grad_enabled())
        return x

    assert frames_per_second(apply, torch.zeros(7, 2), repeats=3) > 0
    assert calls == [False] * 4
    with pytest.raises(ArgumentError):
        frames_per_second(apply, torch.zeros(0, 2))
