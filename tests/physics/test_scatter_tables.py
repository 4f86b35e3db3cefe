"""Interaction tables: cross sections against their integrals and limits, sampled angles against their density."""

import math

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError

pytest.importorskip("xraylib")

from ctlib.physics.attenuation import Material, mass_attenuation
from ctlib.physics.scatter import CrossSections
from ctlib.physics.scatter.angles import (
    AVOGADRO,
    CLASSICAL_RADIUS_CM,
    angular_density,
    electrons_per_gram,
    free_electron_attenuation,
    klein_nishina_total,
)

THOMSON = 8 * math.pi / 3 * CLASSICAL_RADIUS_CM**2
ROWS = {"compton water": 0, "rayleigh water": 1, "compton calcium": 2, "rayleigh calcium": 3}


@pytest.fixture(scope="module")
def sections():
    return CrossSections.of(("water", "calcium"), 120.0)


@pytest.mark.parametrize("energy", [1.0, 4.9, 5.0, 5.2, 30.0, 60.0, 120.0, 511.0])
def test_klein_nishina_total_is_the_integral_of_its_angular_density(energy):
    cosine = np.linspace(-1, 1, 200_001)
    value, _ = angular_density(0, energy, cosine)
    integral = 2 * math.pi * np.trapezoid(value, cosine) * CLASSICAL_RADIUS_CM**2
    assert klein_nishina_total(energy) == pytest.approx(integral, rel=1e-6)


def test_thomson_limit():
    cosine = np.linspace(-1, 1, 11)
    value, _ = angular_density(0, 1e-6, cosine)
    np.testing.assert_allclose(value, 0.5 * (1 + cosine**2), rtol=1e-6)
    assert klein_nishina_total(1e-6) == pytest.approx(THOMSON, rel=1e-6)
    assert klein_nishina_total(60.0) == pytest.approx(0.5456198e-24, rel=1e-6)  # xraylib, CS_KN(60)


def test_water_has_its_electrons():
    assert electrons_per_gram(Material.named("water")) == pytest.approx(10 * AVOGADRO / 18.015, rel=1e-3)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("energy", [20.0, 60.0, 120.0])
def test_angular_densities_integrate_to_the_tabulated_cross_section(sections, row, energy):
    """S(x) and F(x)^2 are another table than the total cross sections; they agree within 1.5 %."""
    node = int((energy - sections.first_kev) / sections.step_kev)
    integral = float(sections.norms[row, node]) * CLASSICAL_RADIUS_CM**2 * AVOGADRO
    expected = mass_attenuation(sections.materials[row // 2], energy, ("compton", "rayleigh")[row % 2])
    assert integral == pytest.approx(float(expected), rel=0.015)


def test_free_electrons_have_the_klein_nishina_cross_section():
    free = CrossSections.of(("water",), 120.0, bound=False)
    energies = torch.tensor([20.0, 60.0, 110.0], dtype=torch.float64)
    rates = free.interpolate(free.rates, energies)
    expected = 0.1 * free_electron_attenuation(free.materials[0], energies.numpy())
    np.testing.assert_allclose(rates[1].numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(free.norms[0, 100].item(), klein_nishina_total(60.0) / CLASSICAL_RADIUS_CM**2, rtol=1e-5)


@pytest.mark.parametrize("energy", [15.25, 33.3, 77.77])
def test_interpolated_rates(sections, energy):
    """Linear in 0.5 keV: a convex E^-3 is read up to 0.2 % too large at 15 keV."""
    at = torch.tensor([energy], dtype=torch.float64)
    read = sections.interpolate(sections.rates, at)[:, 0]
    for m, material in enumerate(sections.materials):
        for p, process in enumerate(("photo", "compton", "rayleigh")):
            assert read[3 * m + p].item() == pytest.approx(
                0.1 * mass_attenuation(material, at, process).item(), rel=2e-3
            )


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("energy", [12.3, 60.0, 119.0])
def test_sampled_angles_follow_the_density(sections, row, energy):
    """The inverse distribution function against the density: largest distance of the distribution functions."""
    t = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    cosine = 1 - 2 * t**2
    rows, energies = torch.full(t.shape, row), torch.full_like(t, energy)
    density = sections.density(rows, energies, cosine) * 8 * math.pi * t
    distribution = torch.cat([t.new_zeros(1), torch.cumulative_trapezoid(density, t)])
    # the norm, E^-2, is linear between nodes: 0.06 % too large at 12 keV
    assert distribution[-1].item() == pytest.approx(1, abs=1e-3 if energy < 20 else 1e-4)
    distribution = distribution / distribution[-1]
    uniform = torch.linspace(0.0005, 0.9995, 999, dtype=torch.float64)
    sampled = sections.sample_cosine(rows[:999], energies[:999], uniform)
    where = torch.from_numpy(np.interp(((1 - sampled) / 2).sqrt().numpy(), t.numpy(), distribution.numpy()))
    assert (where - uniform).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("materials", lambda: CrossSections.of(())),
        ("materials", lambda: CrossSections.of("water")),
        ("highest_kev", lambda: CrossSections.of(("water",), 8.0)),
        ("highest_kev", lambda: CrossSections.of(("water",), 900.0)),
        ("material", lambda: CrossSections.of(("unobtainium",))),
    ],
)
def test_bad_input_names_the_argument(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
