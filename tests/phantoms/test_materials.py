"""Phantoms of two basis materials: the body of `torso`, and the compositions that were fitted to it."""

import math

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.phantoms import Ellipsoids, torso, torso_slice
from ctlib.phantoms.materials import (
    CORTICAL,
    MATERIALS,
    MU,
    MaterialPhantom,
    abdomen,
    abdomen_densities,
    composition,
    ellipse_phantom,
)

FIELD = Volume((64, 64), 6.0)
BEAM = ParallelBeam(FIELD, 9, 96, 4.0)


@pytest.mark.parametrize("seed", [0, 5])
def test_an_abdomen_attenuates_as_the_torso_of_its_seed(seed):
    """At 60 keV, tissue by tissue: rounding of the tabulated attenuations is left, at most 1 per cent."""
    pytest.importorskip("xraylib")
    from ctlib.physics import virtual_monoenergetic

    body = torso(seed, 384.0)
    mu = virtual_monoenergetic(abdomen(seed, 384.0).densities(FIELD), MATERIALS, 60.0)
    torch.testing.assert_close(mu, body.raster(FIELD, dtype=torch.float64), rtol=0.01, atol=2e-5)


@pytest.mark.parametrize(
    ("tissue", "name", "density", "tolerance"),
    [("fat", "adipose", 0.95, 0.085), ("cortical bone", "cortical bone", 1.676, 3e-3)],  # fat stands for less carbon
)
def test_compositions_attenuate_as_the_tabulated_tissue_at_every_energy(tissue, name, density, tolerance):
    pytest.importorskip("xraylib")
    from ctlib.physics import mass_attenuation

    energies = torch.arange(40.0, 121.0)
    basis = torch.stack([mass_attenuation(m, energies) for m in MATERIALS], 1)
    torch.testing.assert_close(
        basis @ torch.tensor(composition(tissue)), density * mass_attenuation(name, energies), rtol=tolerance, atol=0
    )


@pytest.mark.parametrize("seed", [0, 7])
def test_the_raster_is_the_body_of_the_ellipses_with_texture_in_soft_tissue(seed):
    """One body for scans of ellipses and for photons followed through voxels."""
    plain, x = abdomen(seed, 384.0).densities(FIELD), abdomen_densities(FIELD, seed, torch.float64)
    assert bool((x >= 0).all())
    torch.testing.assert_close(x, plain, rtol=0.07, atol=1e-12)
    torch.testing.assert_close(x.sum((1, 2)), plain.sum((1, 2)), rtol=2e-3, atol=0)
    ratio = torso_slice(FIELD, seed, dtype=torch.float64) / torso(seed, 384.0).raster(FIELD, dtype=torch.float64)
    body = plain[0] > 0.1
    torch.testing.assert_close((x / plain)[0][body], ratio[body])
    assert float((x / plain)[0][body].std()) > 0.005


def test_no_tissue_has_a_negative_density():
    assert min(composition(tissue).min() for tissue in MU) == 0


def test_bone_lies_between_water_and_cortical_bone():
    marrow, spongy, cortical = (composition(t) for t in ("marrow", "spongy bone", "cortical bone"))
    assert 0 < marrow[1] < spongy[1] < cortical[1] == pytest.approx(CORTICAL[1])
    assert composition("liver")[1] == 0
    assert composition("liver")[0] == pytest.approx(MU["liver"] / MU["fluid"], abs=0.01)


def test_the_papers_ellipses_have_the_papers_sizes():
    phantom = ellipse_phantom(384.0)
    longest = phantom.paths(ParallelBeam(FIELD, 180, 256, 1.5)).amax((0, 1))
    assert longest[0] == pytest.approx(26.88, rel=1e-3)
    assert longest[1] == pytest.approx(2 * 3.84 * 0.62, rel=1e-2), "both rods lie on the long axis"
    mass = phantom.densities(FIELD, 8).sum((1, 2)) * 0.6**2
    assert mass[0] == pytest.approx(math.pi * 13.44 * 4.8, rel=5e-3)
    assert mass[1] == pytest.approx(2 * 0.62 * math.pi * 1.92 * 1.152, rel=2e-2)


def test_every_view_holds_the_mass_of_every_material():
    phantom = abdomen(1)
    paths = phantom.paths(BEAM, rays_per_bin=16)
    assert paths.shape == (9, 96, 2)
    mass = [float((m.values * math.pi * m.axes_mm.prod(1)).sum()) / 100 for m in phantom.maps]  # g per cm of height
    torch.testing.assert_close(paths.sum(1) * 0.4, torch.tensor(mass).double().expand(9, 2), rtol=5e-3, atol=0)
    torch.testing.assert_close(
        phantom.densities(FIELD, 8).sum((1, 2)) * 0.36, torch.tensor(mass).double(), rtol=1e-2, atol=0
    )


def test_maps_of_different_dimension_are_refused():
    flat, solid = (
        Ellipsoids([1.0], [[0.0, 0.0]], [[1.0, 1.0]], [0.0]),
        Ellipsoids([1.0], [[0.0] * 3], [[1.0] * 3], [0.0]),
    )
    with pytest.raises(ArgumentError, match="maps"):
        MaterialPhantom((flat, solid))
