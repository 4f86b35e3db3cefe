"""Adversarial training: an interrupted one equals an uninterrupted one bit by bit, and both players move."""

import math

import pytest
import torch
from states import same

from ctlib.errors import ArgumentError, DataError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.linop import scaled
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.adversarial import GanBatch, GanSettings, fit_gan, latents, spread
from ctlib.papers.tomography.critic import Critic
from ctlib.papers.tomography.losses import critic_loss, data_term
from ctlib.papers.tomography.networks import Positions, PostProcessor, Sampler
from ctlib.papers.tomography.noise_networks import reading_features
from ctlib.papers.tomography.readings import Readings
from ctlib.papers.tomography.residual_unet import ResidualUNet
from ctlib.projector import Projector
from ctlib.train import load_checkpoint
from ctlib.train.schedules import warm_up_rate

N, VIEWS, NUM = 16, 12, 5
SETTINGS = {"steps": 5, "batch": 2, "lr": 1e-3, "lam": 0.1, "z_shape": (2, 4, 4), "seed": 3}


def setting():
    A = Projector(ParallelBeam(Volume((N, N), 1.0), VIEWS, N, 1.0))
    g1 = seeded(0, ResidualUNet, 3, 2, 4, 1, 1)
    unet = seeded(1, ResidualUNet, 2 + 4, 1, 4, 1, 3, z_channels=2)
    g2 = PostProcessor(unet, Positions("fixed", (N, N)))
    return A, Sampler(g1, scaled(A.T, math.pi / VIEWS), g2), seeded(2, Critic, (4, 8))


def fetcher(A):
    t = torch.linspace(-1, 1, N)
    shift = torch.linspace(-0.4, 0.4, NUM)[:, None, None]
    images = 0.15 * torch.exp(-4 * (t[:, None] ** 2 + (t - shift) ** 2))  # (NUM, N, N)
    model = Readings(4.0, 2.0)

    def fetch(indices, seeds):
        x = images[indices]
        y = A(x)
        r = torch.stack([model.sample(s, torch.Generator().manual_seed(k)) for s, k in zip(y, seeds, strict=True)])
        log, sigma = model.line_integrals(r), torch.full_like(y, 0.2)
        return GanBatch(reading_features(log, log, sigma), log, sigma, x[:, None])

    return fetch


def run(path=None, every=0, callback=None, **changes):
    A, sampler, critic = setting()
    done = fit_gan(sampler, critic, A, fetcher(A), NUM, GanSettings(**{**SETTINGS, **changes}), path, every, callback)
    return sampler, critic, done


class Stop(Exception):
    pass


@pytest.mark.parametrize(("kind", "optimizer"), [("kl", "adam"), ("data", "radam")])
def test_an_interrupted_training_equals_an_uninterrupted_one(tmp_path, kind, optimizer):
    def stop(state):
        if state.step == 4:  # one step after the checkpoint of step 3
            raise Stop

    options = {"kind": kind, "optimizer": optimizer, "schedule": "warm-up", "start_lr": 1e-7, "rise": 4}
    run(tmp_path / "whole", **options)
    with pytest.raises(Stop):
        run(tmp_path / "killed", 3, stop, **options)
    assert load_checkpoint(tmp_path / "killed")["step"] == 3
    torch.rand(11)
    _, _, resumed = run(tmp_path / "killed", 3, **options)
    whole, killed = (load_checkpoint(tmp_path / name) for name in ("whole", "killed"))
    assert same(whole, killed)
    assert len(resumed.history["sampler"]) == 5
    with pytest.raises(DataError):
        run(tmp_path / "killed", **{**options, "lam": 0.2})


def test_a_step_moves_both_players_and_reports_their_losses():
    _, sampler, critic = setting()
    trained_g, trained_c, done = run(steps=1)
    start, end = (
        dict(g.named_parameters()) | dict(c.named_parameters()) for g, c in ((sampler, critic), (trained_g, trained_c))
    )
    still = [name for name, p in start.items() if torch.equal(p, end[name])]
    assert still == ["convs.2.bias"]  # adds the same to D on real and on generated images
    assert all(p.requires_grad for p in end.values())
    assert {k: len(v) for k, v in done.history.items()} == dict.fromkeys(("sampler", "critic", "match", "spread"), 1)
    assert not trained_g.training


def test_the_first_report_is_that_of_the_players_at_the_start():
    """By hand: same readings, same z, and the critic in training mode."""
    A, sampler, critic = setting()
    settings = GanSettings(**{**SETTINGS, "steps": 1, "kind": "data"})
    seen = []

    def fetch(indices, seeds):
        seen.append(fetcher(A)(indices, seeds))
        return seen[-1]

    done = fit_gan(*setting()[1:], A, fetch, NUM, settings)
    batch, z = seen[0], latents(settings, 0)
    assert z.shape == (4, 2, 4, 4)
    assert z.flatten(1).norm(dim=1).tolist() == pytest.approx([math.sqrt(32)] * 4)
    with torch.no_grad():
        fakes = torch.cat([sampler(batch.features, part) for part in z.chunk(2)])
        scores = critic.train()(torch.cat([batch.real, fakes]))
        y1, y2 = A(fakes[:, 0]).chunk(2)
    assert done.history["critic"][0] == pytest.approx(float(critic_loss(scores[:2], scores[2:])), rel=1e-4)
    match = (data_term(y1, batch.mu, batch.sigma) + data_term(y2, batch.mu, batch.sigma)) / 2
    assert done.history["match"][0] == pytest.approx(float(match), rel=1e-4)
    assert done.history["spread"][0] == pytest.approx(float(spread(y1, y2, batch.sigma)), rel=1e-3)


def test_training_brings_the_samples_closer_to_the_readings():
    _, _, done = run(steps=25, lr=1e-2, lam=0.0, kind="data")
    match = done.history["match"]
    assert sum(match[-5:]) < 0.5 * sum(match[:5])


def test_half_precision_runs_with_single_precision_projections():
    _, _, done = run(steps=2, precision="bf16")
    assert all(math.isfinite(v) for values in done.history.values() for v in values)


def test_spread_is_one_for_samples_as_wide_as_sigma():
    g = torch.Generator().manual_seed(0)
    sigma = torch.rand(40_000, generator=g) + 0.5
    y1, y2 = (sigma * torch.randn(40_000, generator=g) for _ in range(2))
    assert float(spread(y1, y2, sigma)) == pytest.approx(1, abs=0.02)
    assert float(spread(y1, y1, sigma)) == 0


def test_the_learning_rate_rises_exponentially_and_halves():
    rates = {step: warm_up_rate(step, 3e-4) for step in (0, 2500, 5000, 84_999, 85_000, 165_000)}
    want = {0: 1e-6, 2500: math.sqrt(1e-6 * 3e-4), 5000: 3e-4, 84_999: 3e-4, 85_000: 1.5e-4, 165_000: 7.5e-5}
    assert rates == pytest.approx(want)
    assert warm_up_rate(7, 0.1, rise=0, halve=0) == 0.1
    ratios = [warm_up_rate(k + 1, 3e-4) / warm_up_rate(k, 3e-4) for k in (0, 1000, 4998)]
    assert ratios == pytest.approx([ratios[0]] * 3)


@pytest.mark.parametrize(
    "call",
    [
        lambda: GanSettings(**{**SETTINGS, "kind": "wgan"}),
        lambda: GanSettings(**{**SETTINGS, "optimizer": "sgd"}),
        lambda: GanSettings(**{**SETTINGS, "precision": "half"}),
        lambda: GanSettings(**{**SETTINGS, "lr": 0.0}),
        lambda: warm_up_rate(0, 1e-3, start=0.0),
        lambda: warm_up_rate(-1, 1e-3),
    ],
)
def test_wrong_arguments_are_named(call):
    with pytest.raises(ArgumentError):
        call()
