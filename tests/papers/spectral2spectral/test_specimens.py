"""Rods and mouse: densities, places, texture, and the measures taken on them."""

import math

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.metrics.contrast import contrast_to_noise
from ctlib.papers.spectral2spectral.regions import (
    bone_regions,
    edge_gradient,
    in_units,
    slopes,
    vessel_region,
)
from ctlib.papers.spectral2spectral.specimens import (
    ALUMINIUM,
    RODS,
    TISSUES,
    mouse,
    mouse_shapes,
    rod_regions,
    rods,
    specimen,
)
from ctlib.physics.attenuation import linear_attenuation, mass_attenuation

VOLUME = Volume((64, 64), 82.6 / 64)
SMALL = Volume((64, 64), 46.0 / 64)


def test_each_rod_holds_its_material():
    maps, inside = rods(0, 3, 82.6).densities(VOLUME, 4), rod_regions(VOLUME, 0, 3)
    for k, values in enumerate(RODS):
        assert int(inside[k].sum()) > 10
        for m in range(3):
            np.testing.assert_allclose(maps[m][inside[k]].numpy(), values[m], atol=1e-12)


def test_the_rods_mass_is_that_of_their_area():
    maps = rods(0, 0, 82.6).densities(VOLUME, 8)
    area = [math.pi * (r * 82.6) ** 2 for r in (0.085, 0.12)]
    pixel = VOLUME.voxel_mm[0] ** 2
    assert float(maps[0].sum()) * pixel == pytest.approx(ALUMINIUM * area[0], rel=0.01)
    assert float(maps[1].sum()) * pixel == pytest.approx(4 * area[1], rel=0.01)
    assert float(maps[2].sum()) * pixel == pytest.approx(0.030 * area[1], rel=0.01)


def test_leaning_rods_turn():
    straight, leaning = (specimen("rods", VOLUME, 3, 0, drift) for drift in (0.0, 0.1))
    assert torch.equal(straight[0], straight[2])
    assert not torch.equal(leaning[0], leaning[2])
    assert torch.equal(straight[1], leaning[1])  # the middle slice is the same


@pytest.mark.parametrize(("tissue", "material", "tolerance"),
                         [("bone", "cortical bone", 0.016), ("fat", "adipose", 0.005)])  # fmt: skip
def test_tissues_attenuate_as_what_they_stand_for(tissue, material, tolerance):
    energies = np.arange(22, 70, 1.0)
    basis = torch.stack([mass_attenuation(m, energies) for m in ("Al", "water", "I")], 1)
    ours = 0.1 * basis @ torch.tensor(TISSUES[tissue], dtype=torch.float64)
    exact = linear_attenuation(material, energies)
    assert float((ours / exact - 1).abs().max()) < tolerance


def test_a_mouse_has_what_it_should():
    d = mouse(SMALL, 0.0, 1)
    bone, around = bone_regions(d[None])
    vessels = vessel_region(d[None])
    assert d.shape == (3, 64, 64)
    assert int(bone.sum()) > 30
    assert int(around.sum()) > 100
    assert int(vessels.sum()) > 30
    assert not bool((bone & around).any())
    assert float(d[2].max()) == pytest.approx(0.012, rel=0.2)
    assert float(d[1].min()) > -0.1


def test_texture_lies_in_soft_tissue_alone():
    plain, textured = mouse_shapes(0.0, 2, 46.0).densities(SMALL, 2), mouse(SMALL, 0.0, 2)
    change = textured - plain
    assert torch.equal(plain[0], textured[0])
    assert torch.equal(plain[2], textured[2])
    soft = (plain[1] > 1.0) & (plain[0].abs() < 1e-9)
    assert 0.02 < float((change[1] / plain[1].clamp_min(0.1))[soft].std()) < 0.06
    assert not bool(change[1][plain[1] < 0.85].any())


def test_mice_differ_by_seed_and_slices_by_drift():
    a, b = (specimen("mouse", SMALL, 3, s, 0.01) for s in (0, 1))
    assert float((a - b).abs().mean()) > 0.01
    still = specimen("mouse", SMALL, 3, 0)
    assert torch.equal(still[0], still[2])
    assert float((a[0] - a[1]).abs().mean()) < float((a[0] - a[2]).abs().mean())
    with pytest.raises(ArgumentError, match="kind"):
        specimen("rat", SMALL, 1, 0)


def test_contrast_to_noise_of_bone_follows_the_noise():
    """Bone is uneven: only with the noise of its surroundings does the ratio fall as noise grows."""
    densities = specimen("mouse", SMALL, 1, 0)
    bone, around = bone_regions(densities)
    image = torch.einsum("m,zmyx->zyx", torch.tensor([0.05, 0.02, 0.0]).double(), densities)[:, None]
    noise = torch.randn(bone.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once, twice = (contrast_to_noise(image + s * noise, bone, around) for s in (0.005, 0.01))
    assert float(once / twice) == pytest.approx(2, rel=0.1)


def test_edge_gradient_of_truth_blur_and_noise():
    y, x = np.mgrid[:64, :64]
    truth = torch.from_numpy(1.0 * ((x - 32) ** 2 + (y - 30) ** 2 < 300))
    assert edge_gradient(truth, truth) == pytest.approx(1.0)
    assert edge_gradient(0.5 * truth, truth) == pytest.approx(0.5)
    blurred = torch.nn.functional.avg_pool2d(truth[None, None], 5, 1, 2)[0, 0]
    assert edge_gradient(blurred, truth) < 0.7
    noise = torch.randn(truth.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert edge_gradient(truth + 0.2 * noise, truth) == pytest.approx(1.0, abs=0.15)


def test_slopes_of_a_plane():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    g = slopes(3 * x + 4 * y)
    assert torch.equal(g[:, 1:-1, 1:-1], torch.tensor([4.0, 3.0])[:, None, None].expand(2, 4, 5))
    assert not bool(g[0, [0, -1]].any())
    assert not bool(g[1, :, [0, -1]].any())


def test_aluminium_is_stated_as_a_share():
    maps = torch.ones(2, 3, 4, 4) * torch.tensor([ALUMINIUM, 0.5, 0.01])[:, None, None]
    assert torch.allclose(in_units(maps), torch.ones(2, 3, 4, 4) * torch.tensor([1.0, 0.5, 0.01])[:, None, None])
