"""Torsos in three dimensions: tissues stay tissues, slices change slowly, seeds are patients."""

import math

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.papers.hqinet.volume import LONG, torso_solids, torso_volume
from ctlib.phantoms.anatomy import MU

GRID = Volume((8, 96, 96), (5.0, 400 / 96, 400 / 96))


@pytest.mark.parametrize("seed", range(6))
def test_attenuations_stay_those_of_tissues(seed):
    """Nothing that lies in an organ reaches out of it: sampled at points, the values are sums that tissues have."""
    x = torso_volume(GRID, seed, texture=0.0, supersample=1, dtype=torch.float64)
    assert float(x.min()) >= 0.0
    assert float(x.max()) < MU["cortical bone"] + 0.004  # an organ may touch a rib
    tissues = torch.tensor([0.0, *MU.values()], dtype=torch.float64)
    known = ((x[..., None] - tissues).abs().min(-1).values < 1e-9).double().mean()
    assert float(known) > 0.97  # the rest are overlaps of organs


def test_the_body_is_continuous_and_changes():
    x = torso_volume(GRID, 1, texture=0.0)
    step = (x[1:] - x[:-1]).abs().mean((1, 2))
    far = (x[0] - x[-1]).abs().mean()
    other = (x[0] - torso_volume(GRID, 2, texture=0.0)[0]).abs().mean()
    assert (step > 0).all()
    assert float(step.max()) < 0.7 * float(far)
    assert float(far) < float(other)


def test_texture_is_fine_soft_and_correlated_across_slices():
    plain, x = (torso_volume(GRID, 3, texture=t, supersample=1) for t in (0.0, 0.02))
    ratio = (x / plain.clamp_min(1e-6) - 1) / 0.02
    soft = (plain > 0.0185) & (plain < 0.0245)
    bone_or_air = (plain < 0.016) | (plain > 0.027)
    assert float(ratio[soft].std()) == pytest.approx(1, abs=0.15)
    assert torch.equal(x[bone_or_air], plain[bone_or_air])
    pairs = [(ratio[k], ratio[k + d], soft[k] & soft[k + d]) for k, d in ((3, 1), (3, 3))]
    near, far = (float(torch.corrcoef(torch.stack([a[m], b[m]]))[0, 1]) for a, b, m in pairs)
    assert near == pytest.approx(4 / 6, abs=0.12)  # (1, 2, 1) over neighbors: 4/6 one slice apart, 0 from three on
    assert abs(far) < 0.15


def test_one_body_per_seed_at_any_resolution():
    fine = torso_volume(Volume((4, 128, 128), (5.0, 3.125, 3.125)), 4, texture=0.0)
    coarse = torso_volume(Volume((4, 64, 64), (5.0, 6.25, 6.25)), 4, texture=0.0)
    binned = fine.reshape(4, 64, 2, 64, 2).mean((2, 4))
    assert float((binned - coarse).abs().mean()) < 0.02 * float(coarse.mean())
    assert torch.equal(torso_volume(GRID, 5), torso_volume(GRID, 5))
    assert not torch.equal(torso_volume(GRID, 5), torso_volume(GRID, 6))


def test_organs_end_and_the_wall_does_not():
    solids = torso_solids(0, 400.0, 40.0)
    half = solids.axes_mm[:, 2]
    assert (half[:3] == LONG * 200).all()
    ends = half < LONG * 200
    assert ends.sum() > 20
    assert half[ends].max() < 120
    assert np.isfinite(solids.centers_mm).all()
    assert math.isclose(solids.values[0], MU["fat"])


def test_bad_sizes_are_named():
    with pytest.raises(ArgumentError, match="height_mm"):
        torso_solids(0, 400.0, 0.0)
