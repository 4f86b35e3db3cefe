import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.physics import Material, k_edges, linear_attenuation, mass_attenuation
from ctlib.units import MU_WATER

pytest.importorskip("xraylib")

NIST = {  # mass attenuation with coherent scatter [cm2/g], Hubbell and Seltzer
    "water": {20: 0.8096, 30: 0.3756, 60: 0.2059, 100: 0.1707, 150: 0.1505},
    "Al": {20: 3.441, 30: 1.128, 60: 0.2778, 100: 0.1704, 150: 0.1378},
    "calcium": {20: 13.06, 30: 4.080, 60: 0.6578, 100: 0.2571, 150: 0.1674},
    "iodine": {20: 25.43, 60: 7.579, 100: 1.942, 150: 0.6978},
    "Si": {30: 1.436, 60: 0.3207, 100: 0.1835},
    "W": {20: 65.73, 100: 4.438, 150: 1.581},
}


@pytest.mark.parametrize("name", NIST)
def test_attenuation_is_that_of_the_reference_tables(name):
    """Within 0.15 %: the tables print four digits, and xraylib is up to 0.1 % away from them."""
    energies = list(NIST[name])
    expected = torch.tensor(list(NIST[name].values()), dtype=torch.float64)
    torch.testing.assert_close(mass_attenuation(name, energies), expected, rtol=1.5e-3, atol=0)


def test_silicon_and_oxygen_by_process():
    parts = [float(mass_attenuation("Si", 60.0, p)) * 2.33 for p in ("photo", "compton", "rayleigh")]
    assert parts == pytest.approx([0.3002, 0.3556, 0.0913], rel=2e-3)
    oxygen = [float(mass_attenuation("O", 60.0, p)) for p in ("photo", "compton", "rayleigh")]
    assert oxygen == pytest.approx([0.016806, 0.158351, 0.015575], rel=1e-4)
    assert sum(parts) / 2.33 == pytest.approx(float(mass_attenuation("Si", 60.0)), rel=1e-9)


def test_the_k_edge_of_iodine_is_a_jump_and_belongs_to_the_side_below():
    (edge,) = k_edges("iodine", 20, 120)
    assert edge == pytest.approx(33.169, abs=1e-3)
    at, above = mass_attenuation("iodine", [edge, edge * (1 + 1e-4)]).tolist()
    assert at == pytest.approx(6.55, abs=0.01)
    assert above == pytest.approx(35.82, abs=0.01)
    assert k_edges("iodine", 34, 120) == ()


def test_linear_attenuation_agrees_with_the_constants_of_the_library():
    assert float(linear_attenuation("water", 60.0)) == pytest.approx(MU_WATER, rel=1e-3)


def test_mixtures_add_by_mass():
    e = torch.tensor([40.0, 80.0], dtype=torch.float64)
    blood = Material.mixture("contrast", {"water": 0.99, "iodine": 0.01}, 1.01)
    expected = 0.99 * mass_attenuation("water", e) + 0.01 * mass_attenuation("iodine", e)
    torch.testing.assert_close(mass_attenuation(blood, e), expected)


def test_parts_of_a_mixture_may_share_elements():
    e = torch.tensor([20.0, 60.0], dtype=torch.float64)
    mixed = Material.mixture("tissue and water", {"soft tissue": 0.3, "water": 0.5, "adipose": 0.2}, 1.0)
    expected = sum(w * mass_attenuation(m, e) for m, w in (("soft tissue", 0.3), ("water", 0.5), ("adipose", 0.2)))
    torch.testing.assert_close(mass_attenuation(mixed, e), expected)
    assert len({symbol for symbol, _ in mixed.mass_fractions}) == len(mixed.mass_fractions)


def test_wrong_arguments_are_named():
    with pytest.raises(ArgumentError, match="material"):
        Material.named("unobtainium")
    with pytest.raises(ArgumentError, match="material"):
        mass_attenuation("Zz", 60.0)
    with pytest.raises(ArgumentError, match="process"):
        mass_attenuation("water", 60.0, "pair")
    with pytest.raises(ArgumentError, match="energies_kev"):
        mass_attenuation("water", [60.0, -1.0])
    with pytest.raises(ArgumentError, match="mass_fractions"):
        Material("half", (("H", 0.5),), 1.0)
    with pytest.raises(ArgumentError, match="density"):
        Material("light", (("H", 1.0),), 0.0)
