"""Readings at several signals: the tables belong to them, samples depend on their seeds alone."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.tomography.noise_networks import SMALLEST
from ctlib.papers.tomography.readings import Readings, converter_step, line_integral_prior
from ctlib.papers.tomography.signal_levels import SignalLevels

PRIOR = 4 * torch.rand(20, 6, 8, generator=torch.Generator().manual_seed(0))
LEVELS = SignalLevels([Readings(s, 3.0, bits=8) for s in (3.0, 5.0)], PRIOR, step=0)


def test_the_step_follows_the_rule_or_is_given():
    y, w = line_integral_prior(PRIOR)
    few = SignalLevels([Readings(5.0, 3.0, bits=5)], PRIOR, step=0).detectors[5.0]
    assert few.step == converter_step(Readings(5.0, 3.0, bits=5), y, w) > 1
    assert SignalLevels([Readings(5.0, 3.0)], PRIOR + 1, step=0).detectors[5.0].step == 1  # no ray through air alone
    assert SignalLevels([Readings(5.0, 3.0)], PRIOR, step=4).detectors[5.0].step == 4
    assert SignalLevels([Readings(5.0, 3.0, step=2.0)], PRIOR).detectors[5.0].step == 2


def test_features_are_logarithm_mean_and_log_deviation():
    r = LEVELS.read(PRIOR[:2], 3.0, seed=1)
    f = LEVELS.features(r, 3.0)
    mu, sigma = LEVELS.tables[3.0](r)
    assert f.shape == (2, 3, 6, 8)
    assert torch.equal(f[:, 0], LEVELS.detectors[3.0].line_integrals(r))
    assert torch.equal(f[:, 1], mu)
    assert torch.equal(f[:, 2], sigma.clamp_min(SMALLEST).log())


def test_a_sample_depends_on_its_seed_alone():
    whole = LEVELS.drawn(PRIOR[:6], [5, 6, 7, 8, 9, 10])
    assert torch.equal(LEVELS.drawn(PRIOR[2:4], [7, 8]), whole[2:4])
    assert not torch.equal(LEVELS.drawn(PRIOR[2:3], [99]), whole[2:3])


def test_both_signals_are_drawn():
    """More signal, smaller deviations: the two levels are told apart by the table's."""
    f = LEVELS.drawn(PRIOR[:1].expand(200, -1, -1), list(range(200)))
    spread = f[:, 2].mean((1, 2))
    split = (spread.max() + spread.min()) / 2
    assert 0.35 < float((spread < split).float().mean()) < 0.65


def test_readings_are_unbiased_in_the_mean():
    y = torch.full((1, 200, 200), 1.0)
    r = LEVELS.read(y, 5.0, seed=3)
    assert float(r.mean() * LEVELS.detectors[5.0].step) == pytest.approx(float(torch.exp(torch.tensor(4.0))), rel=0.01)


def test_bad_input():
    with pytest.raises(ArgumentError, match="signal"):
        LEVELS.read(PRIOR, 4.0, 0)
    with pytest.raises(ArgumentError, match="seeds"):
        LEVELS.drawn(PRIOR[:3], [1, 2])
    with pytest.raises(ArgumentError, match="detectors"):
        SignalLevels([], PRIOR)
    with pytest.raises(ArgumentError, match="detectors"):
        SignalLevels([Readings(3.0, 3.0), Readings(3.0, 2.0)], PRIOR)


def test_the_largest_seed_of_a_stream_is_a_seed():
    seeds = [2**63 - 1, 2**63 - 2]
    assert torch.equal(LEVELS.drawn(PRIOR[:2], seeds), LEVELS.drawn(PRIOR[:2], seeds))
