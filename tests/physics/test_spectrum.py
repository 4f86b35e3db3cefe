import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.physics import Spectrum, linear_attenuation, mass_attenuation
from ctlib.physics.compton import transfer_samples
from ctlib.physics.spectrum import TABLES
from ctlib.physics.tube import parametric_tungsten

pytest.importorskip("xraylib")


def half_value_layer_mm(spectrum):
    """Thickness [mm] of aluminium that halves the air kerma, by bisection.

    Kerma per photon is E (mu_tr/rho)_air = E mu_photo + T mu_compton, T the mean Klein-Nishina transfer.
    """
    e = spectrum.energies_kev
    transfers, odds = transfer_samples(8, e.numpy(), bound=False)
    photo, compton = (mass_attenuation("air", e, p) for p in ("photo", "compton"))
    kerma = spectrum.weights * (e * photo + torch.from_numpy((transfers * odds).sum(1)) * compton)
    mu, low, high = linear_attenuation("Al", e), 0.0, 1e3
    while high - low > 1e-6:
        middle = 0.5 * (low + high)
        left = float((kerma * torch.exp(-mu * middle)).sum() / kerma.sum())
        low, high = (middle, high) if left > 0.5 else (low, middle)
    return low


@pytest.mark.parametrize(
    ("kvp", "al_mm", "mean_kev", "hvl_mm"),
    [(120, 3.0, 55.41, 4.62), (120, 6.0, 59.65, 6.36), (70, 1.0, 35.58, 1.39), (70, 2.5, 39.40, 2.40)],
)
def test_tables_behind_our_filters_are_what_spekpy_says(kvp, al_mm, mean_kev, hvl_mm):
    """SpekPy 2.5.4, 12 degrees, filtered by SpekPy itself. Its aluminium and air coefficients are others than ours."""
    spectrum = Spectrum.tungsten(kvp, {"Al": al_mm}, bin_kev=0.5)
    assert spectrum.mean_kev == pytest.approx(mean_kev, abs=0.1)
    assert half_value_layer_mm(spectrum) == pytest.approx(hvl_mm, rel=0.015)


def test_the_half_value_layer_of_one_energy_is_log_2_over_mu():
    line = Spectrum(torch.tensor([59.9, 60.1]), torch.ones(1))
    assert half_value_layer_mm(line) == pytest.approx(np.log(2) / float(linear_attenuation("Al", 60.0)), rel=1e-5)


@pytest.mark.parametrize(("kvp", "al_mm"), [(120, 3.0), (120, 6.0), (70, 1.0), (70, 2.5)])
def test_the_parametric_tube_is_as_far_from_the_tables_as_it_says(kvp, al_mm):
    energies, photons = parametric_tungsten(kvp)
    table = np.loadtxt(TABLES / f"tungsten_{kvp}kv.csv", delimiter=",")
    assert np.array_equal(energies, table[:, 0])
    edges = np.append(energies - 0.25, energies[-1] + 0.25)
    both = [Spectrum(edges, p).filtered({"Al": al_mm}).rebinned(1.0) for p in (photons, table[:, 1])]
    assert 0.005 < (both[0].weights - both[1].weights).abs().sum() < 0.07
    assert both[0].mean_kev == pytest.approx(both[1].mean_kev, abs=0.7)


def test_voltages_without_a_table_lie_between():
    means = [Spectrum.tungsten(kvp, {"Al": 3.0}).mean_kev for kvp in (70, 80, 100, 120, 140)]
    assert means == sorted(means)


def test_bins_keep_photons_and_energy():
    fine = Spectrum.tungsten(120, {"Al": 3.0, "Cu": 0.1}, bin_kev=0.5)
    coarse = Spectrum.tungsten(120, {"Al": 3.0, "Cu": 0.1}, bin_kev=2.0)
    assert coarse.weights.sum() == pytest.approx(1)
    assert coarse.mean_kev == pytest.approx(fine.mean_kev, abs=0.1)  # photons move to their bin's center
    assert torch.equal(coarse.edges_kev % 2, torch.zeros_like(coarse.edges_kev))
    assert fine.edges_kev[-1] == 120


def test_splitting_keeps_the_photons_of_every_bin():
    s = Spectrum(torch.tensor([32.0, 33, 34]), torch.tensor([0.4, 0.6]))
    cut = s.split([33.169, 50.0])
    assert cut.edges_kev.tolist() == pytest.approx([32, 33, 33.169, 34])
    assert cut.weights.tolist() == pytest.approx([0.4, 0.6 * 0.169, 0.6 * 0.831])
    assert cut.split([33.169]).edges_kev.tolist() == cut.edges_kev.tolist()


def test_either_end_is_left_out_up_to_a_millionth_of_the_photons():
    few, many = [4e-7, 4e-7], [0.4, 0.0, 0.6]
    found = Spectrum(range(8), [*few, *many, *few]).trimmed()
    assert found.edges_kev.tolist() == [2, 3, 4, 5]
    assert found.weights.tolist() == pytest.approx(many)
    assert len(Spectrum(range(8), [*few, 4e-7, *many, 2e-6]).trimmed().weights) == 5


def test_another_spectrum_has_the_edges_and_weights_it_is_given():
    s = Spectrum([32.0, 33, 34], [0.4, 0.6])
    found = [s.replace(weights=[3, 1]), s.replace(edges_kev=[30, 33, 35]), s.replace([10, 20, 50, 60], [1, 1, 2])]
    assert [t.edges_kev.tolist() for t in found] == [[32, 33, 34], [30, 33, 35], [10, 20, 50, 60]]
    assert [t.weights.tolist() for t in found] == [[0.75, 0.25], [0.4, 0.6], [0.25, 0.25, 0.5]]


def test_wrong_arguments_are_named():
    with pytest.raises(ArgumentError, match="kvp"):
        Spectrum.tungsten(300)
    with pytest.raises(ArgumentError, match="filters_mm"):
        Spectrum.tungsten(120, {"Al": -1.0})
    with pytest.raises(ArgumentError, match="edges_kev"):
        Spectrum(torch.tensor([2.0, 1.0]), torch.ones(1))
    with pytest.raises(ArgumentError, match="weights"):
        Spectrum(torch.tensor([1.0, 2.0]), torch.tensor([-1.0]))
