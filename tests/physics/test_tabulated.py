"""Response tables: uneven heights, rows at K-edges and at energies of their own, and what is refused."""

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.physics import Detector, SpectralModel, Spectrum

pytest.importorskip("xraylib")

HEIGHTS = (12.0, 20.0, 31.0, 33.0, 60.0, 95.0)
THRESHOLDS = (5.0, 12.0, 13.7, 25.5, 32.0, 46.5, 77.5, 94.9, 95.0, 120.0)
EDGES = (20.0, 32.0, 36.0, 50.0, 70.0, 90.0)


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def rows(num=5, heights=6):
    return torch.rand(num, heights, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.2


def above(detector, energies, thresholds=THRESHOLDS):
    return detector.response(f64(energies), torch.ones(len(energies))).above(f64(thresholds))


def integral(rule, row, threshold, heights=HEIGHTS):
    """By points 0.001 keV apart, from the definition; ends are not zero, so that their cells count."""
    h = np.array(heights)
    if rule == "linear":
        e = np.arange(h[0], h[-1], 1e-3) + 5e-4
        values = np.interp(e, h, row)
    else:
        edges = np.concatenate([[1.5 * h[0] - 0.5 * h[1]], 0.5 * (h[1:] + h[:-1]), [1.5 * h[-1] - 0.5 * h[-2]]])
        e = np.arange(edges[0], edges[-1], 1e-3) + 5e-4
        values = np.asarray(row)[np.searchsorted(edges, e) - 1]
    return float((values * (e > threshold)).sum() * 1e-3)


@pytest.mark.parametrize("rule", ["linear", "histogram"])
def test_uneven_heights_are_integrated_as_they_are(rule):
    table = rows(2)
    found = above(Detector.tabulated(f64(HEIGHTS), table, rule), (40.0, 70.0))
    expected = [[integral(rule, row.tolist(), t) for row in table] for t in THRESHOLDS]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=2e-3)
    assert (found.diff(dim=0) <= 0).all()
    assert (found[-1] == 0).all()


def test_the_cells_of_a_histogram_hold_all_of_it():
    table, heights = rows(3), torch.arange(10.0, 70.0, 10.0).double()
    found = above(Detector.tabulated(heights, table, "histogram"), (30.0, 40.0, 50.0), (0.0, 5.0, 65.0, 66.0))
    torch.testing.assert_close(found[0], 10 * table.sum(1))
    torch.testing.assert_close(found[1], found[0])
    assert (found[2:] == 0).all()


@pytest.mark.parametrize("rule", ["linear", "histogram"])
def test_gradients_to_thresholds_heights_and_density(rule):
    inputs = [f64([13.7, 25.1, 50.3]), f64(HEIGHTS), rows(2)]

    def run(thresholds, heights, density):
        response = Detector.tabulated(heights, density, rule).response(f64([40.0, 70.0]), torch.ones(2))
        return response.above(thresholds)

    assert torch.autograd.gradcheck(run, [t.requires_grad_() for t in inputs])


def models(detector):
    """Water and iodine, whose K-edge at 33.17 keV cuts the second bin."""
    spectrum = Spectrum(f64(EDGES), f64([1.0, 2.0, 3.0, 2.0, 1.0]))
    return SpectralModel(spectrum, ("water", "iodine"), detector, (25.0, 40.0, 80.0), photons=1e4)


def test_both_parts_of_a_bin_cut_at_a_k_edge_have_its_row():
    table, paths = rows(), f64([[3.0, 0.01], [10.0, 0.05]])
    model = models(Detector.tabulated(f64(HEIGHTS), table))
    assert len(model.energies_kev) == 6
    for_parts = models(Detector.tabulated(f64(HEIGHTS), table[[0, 1, 1, 2, 3, 4]]))
    torch.testing.assert_close(model(paths), for_parts(paths), rtol=1e-14, atol=0)
    plain = Detector.tabulated(f64(HEIGHTS), table).response(0.5 * (f64(EDGES)[1:] + f64(EDGES)[:-1]), torch.ones(5))
    bins = plain.above(f64([25.0, 40.0, 80.0]))
    per_part = (model.bin_spectra() / model.spectrum.weights[:, None]).mT
    torch.testing.assert_close(per_part, (bins[:-1] - bins[1:])[:, [0, 1, 1, 2, 3, 4]])


def test_rows_at_energies_of_their_own_are_interpolated():
    at = (25.0, 45.0, 85.0)
    detector = Detector.tabulated(f64(HEIGHTS), rows(3), "linear", f64(at))
    found = above(detector, (15.0, 25.0, 30.0, 65.0, 85.0, 100.0))
    ends = above(Detector.tabulated(f64(HEIGHTS), rows(3)), at)
    expected = torch.stack([ends[:, 0], ends[:, 0], 0.75 * ends[:, 0] + 0.25 * ends[:, 1],
                            0.5 * (ends[:, 1] + ends[:, 2]), ends[:, 2], ends[:, 2]], 1)  # fmt: skip
    torch.testing.assert_close(found, expected)
    assert models(detector).counts_per_photon([30.0, 60.0]).shape == (2, 2)
    for beyond in (14.9, 105.1):
        with pytest.raises(ArgumentError, match="energies_kev"):
            above(detector, (30.0, beyond))


@pytest.mark.parametrize("kind", [list, np.array, lambda v: np.array(v, np.float32), tuple])
def test_arrays_of_any_kind(kind):
    whole = Detector.tabulated(f64(HEIGHTS), rows(2).float().double())
    given = Detector.tabulated(kind(HEIGHTS), kind(rows(2).float().tolist()))
    torch.testing.assert_close(above(given, (40.0, 70.0)), above(whole, (40.0, 70.0)))
    assert given == whole


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("heights_kev", {"heights_kev": HEIGHTS[::-1]}),
        ("heights_kev", {"heights_kev": (12.0, 20.0, 20.0, 33.0, 60.0, 95.0)}),
        ("heights_kev", {"heights_kev": (12.0, 20.0, float("nan"), 33.0, 60.0, 95.0)}),
        ("heights_kev", {"heights_kev": (12.0,), "density": [[1.0]]}),
        ("heights_kev", {"heights_kev": "abcdef"}),
        ("density", {"density": rows(2, 5)}),
        ("density", {"density": -rows(2)}),
        ("density", {"density": rows(2) * float("nan")}),
        ("density", {"density": rows(2).to(torch.complex128)}),
        ("density", {"density": [[1.0, 2.0], [3.0]]}),
        ("edge_rule", {"edge_rule": "cubic"}),
        ("energies_kev", {"energies_kev": (50.0, 30.0)}),
        ("energies_kev", {"energies_kev": (50.0,)}),
        ("energies_kev", {"energies_kev": (-1.0, 30.0)}),
    ],
)
def test_impossible_tables_are_named(argument, given):
    with pytest.raises(ArgumentError) as caught:
        Detector.tabulated(**{"heights_kev": HEIGHTS, "density": rows(2)} | given)
    assert caught.value.argument == argument


@pytest.mark.parametrize("num", [4, 7])
def test_a_table_of_other_bins_is_named(num):
    with pytest.raises(ArgumentError, match="density"):
        models(Detector.tabulated(f64(HEIGHTS), rows(num)))(f64([3.0, 0.01]))
