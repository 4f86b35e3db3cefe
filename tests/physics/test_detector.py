import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.physics import Detector
from ctlib.physics.compton import klein_nishina, largest_transfer, transfer_matrix, transfer_samples
from ctlib.physics.detectors.sharing import counts_above, shared_counts, whole_share
from ctlib.physics.detectors.silicon import detected, interaction, kept

pytest.importorskip("xraylib")

KEV = (30, 40, 50, 60, 80, 100, 120)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def above(detector, energies, thresholds):
    e = tensor(*energies)
    return detector.response(e, torch.ones_like(e)).above(tensor(*thresholds))


def test_silicon_interactions_are_the_tabulated_ones():
    photo, compton = interaction(tensor(*KEV))
    seen = detected(photo + compton, tensor(60.0), tensor(0.0))
    assert seen.tolist() == pytest.approx([1.000, 1.000, 0.995, 0.981, 0.939, 0.905, 0.881], abs=1e-3)
    thin = detected(photo + compton, tensor(30.0), tensor(0.0))
    assert thin.tolist() == pytest.approx([1.000, 0.987, 0.932, 0.860, 0.752, 0.691, 0.654], abs=1e-3)
    fraction = photo / (photo + compton)
    assert fraction.tolist() == pytest.approx([0.885, 0.753, 0.600, 0.458, 0.257, 0.149, 0.091], abs=1e-3)
    dead = detected(tensor(0.1), tensor(60.0), tensor(1.0)) / detected(tensor(0.1), tensor(60.0), tensor(0.0))
    assert float(dead) == pytest.approx(np.exp(-0.1))


def test_compton_transfers_are_the_tabulated_ones():
    e = np.array(KEV, dtype=float)
    assert largest_transfer(e) == pytest.approx([3.15, 5.41, 8.18, 11.4, 19.1, 28.1, 38.4], abs=0.06)
    for bound, means in (
        (False, [1.56, 2.68, 4.04, 5.62, 9.37, 13.8, 18.8]),
        (True, [1.69, 2.85, 4.26, 5.88, 9.69, 14.2, 19.2]),
    ):
        transfers, odds = transfer_samples(14, e, bound)
        assert (transfers * odds).sum(1) == pytest.approx(means, rel=5e-3)


def test_klein_nishina_is_thomson_at_low_energy():
    """(1 + cos^2) / 2 with T proportional to 1 - cos."""
    cos = np.linspace(-1, 1, 9)
    energy = 0.01
    a = energy / 510.99895
    k = 1 / (1 + a * (1 - cos))
    density = klein_nishina(energy, energy * (1 - k))
    assert density / density[-1] == pytest.approx((1 + cos**2) / 2, rel=1e-3)


def test_the_transfer_matrix_keeps_probability_and_mean():
    matrix = transfer_matrix(14, 0.5, 200)
    grid = 0.5 * np.arange(200)
    assert matrix[1:].sum(1) == pytest.approx(np.ones(199))
    transfers, odds = transfer_samples(14, grid[1:])
    assert matrix[1:] @ grid == pytest.approx((transfers * odds).sum(1))


def test_charge_sharing_adds_the_stated_counts_and_conserves_charge():
    cloud, pitch = tensor(0.012)[0], tensor(0.5)[0]
    assert float(counts_above(tensor(5 / 60), cloud, pitch)) == pytest.approx(0.066, abs=5e-4)
    grid = 0.05 * torch.arange(2001, dtype=torch.float64)
    spread = shared_counts(tensor(60.0), grid, cloud, pitch)[0]
    assert float(spread.sum()) == pytest.approx(16 * 0.012 / 0.5)
    charge = float(whole_share(cloud, pitch)) * 60 + float(spread @ grid)
    assert charge == pytest.approx(60, rel=1e-3)  # what a pixel loses its neighbors get


def test_both_limits_of_rescatter_agree_with_a_monte_carlo():
    """Laterally endless silicon, 60 mm, without charge sharing: counts in other strips, 2e5 photons an energy.

    Within 7 %: the model takes scattered photons as born evenly over the depth and flying isotropically.
    """
    limits = [
        above(Detector.silicon(cloud_mm=0, noise_kev=0.05, rescatter=r), (60, 80, 100, 120), (5, 15)) for r in (0, 1)
    ]
    other = limits[1] - limits[0]
    assert other[0].tolist() == pytest.approx([0.639, 0.970, 1.208, 1.37], rel=0.07)
    assert other[1].tolist() == pytest.approx([0.466, 0.570, 0.731, 0.868], rel=0.07)
    assert limits[0][0].tolist() == pytest.approx(
        [0.674, 0.681, 0.703, 0.726], abs=0.08
    )  # own strip, sums merged there
    halfway = above(Detector.silicon(cloud_mm=0, noise_kev=0.05, rescatter=0.5), (60, 80, 100, 120), (5, 15))
    assert (halfway > limits[0]).all()
    assert (halfway < limits[1]).all()


def test_a_thick_slab_keeps_its_photons_and_a_thin_one_none():
    assert float(kept(tensor(0.04), tensor(1e6))) == pytest.approx(1, abs=1e-4)
    assert float(kept(tensor(0.04), tensor(1e-6))) == pytest.approx(0, abs=1e-6)
    tau = 0.1  # mean chord of a slab is twice its thickness: first order in tau up to the logarithm
    assert 0.1 < float(kept(tensor(0.1), tensor(1.0))) < 2 * tau


def test_the_photo_peak_has_the_noise_asked_for():
    """Between 52 and 68 keV only the 60 keV peak counts: the fall of H there is an error function."""
    thresholds = torch.linspace(52, 68, 65, dtype=torch.float64)
    e = tensor(60.0)
    count = Detector.silicon(cloud_mm=0, noise_kev=1.6).response(e, torch.ones(1)).above(thresholds)[:, 0]
    density = (count[:-1] - count[1:]) / (count[0] - count[-1])
    center = 0.5 * (thresholds[1:] + thresholds[:-1])
    mean = float((density * center).sum())
    assert mean == pytest.approx(60, abs=1e-3)
    assert float((density * (center - mean) ** 2).sum()) ** 0.5 == pytest.approx(1.6, rel=0.01)


def test_a_100_kev_photon_is_mostly_counted_below_its_energy():
    """Compton recoils put it into 15 to 33 keV far more often than into the bin it belongs to."""
    h = above(Detector.silicon(noise_kev=2.0), (100,), (15, 33, 45, 59, 125))[:, 0]
    assert (h[0] - h[1]).item() == pytest.approx(0.35, abs=0.02)
    assert (h[3] - h[4]).item() == pytest.approx(0.13, abs=0.02)


def test_czt_shares_charge_and_fluorescence():
    h = above(Detector.czt(), (25, 60, 100), (3, 15, 40, 55, 140))
    assert (h[:-1] >= h[1:] - 1e-12).all()
    assert h[0, 1] > 1.2  # one photon, several counts
    assert h[4].abs().max() < 1e-9
    closed = above(Detector.czt(escape=0.0, cloud_mm=0.0), (25, 60, 100), (3, 15, 40, 55, 140))
    assert (closed <= 1 + 1e-12).all()
    assert closed[0, 0] == pytest.approx(1, abs=1e-3)


def test_ideal_edge_rules_are_what_they_say():
    energies, thresholds = (32.5, 33.5, 34.5), (33.25,)
    assert above(Detector.ideal(), energies, thresholds)[0].tolist() == pytest.approx([0, 0.75, 1])
    assert above(Detector.ideal("center"), energies, thresholds)[0].tolist() == [0, 1, 1]
    with pytest.raises(ArgumentError, match="edge_rule"):
        Detector.ideal("nearest")


def test_tabulated_edge_rules_integrate_their_interpolant():
    heights = torch.arange(0, 11, dtype=torch.float64)
    density = (heights * (10 - heights))[None]
    e, widths = tensor(9.0), tensor(1.0)
    fine = torch.linspace(0, 10, 100_001, dtype=torch.float64)
    for rule, at in (("linear", np.interp(fine, heights, density[0])), ("histogram", density[0][fine.round().long()])):
        response = Detector.tabulated(heights, density, rule).response(e, widths)
        got = response.above(tensor(0.0, 2.3, 5.0, 9.9, 50.0))[:, 0]
        values = torch.as_tensor(at, dtype=torch.float64)
        expected = [float((values * (fine > t)).sum() * 1e-4) for t in (0.0, 2.3, 5.0, 9.9, 50.0)]
        assert got.tolist() == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("make", [Detector.silicon, Detector.czt, Detector.ideal])
def test_counts_fall_with_the_threshold_and_end_at_infinity(make):
    h = above(make(), (20, 33.08, 60, 119.5), (5, 15, 33, 59, 90, float("inf")))
    assert (h[:-1] >= h[1:] - 1e-12).all()
    assert h[-1].abs().max() == 0


def test_gradients_reach_every_parameter():
    names = {"depth_mm": 60.0, "dead_mm": 0.2, "pitch_mm": 0.5, "cloud_mm": 0.012, "noise_kev": 1.6, "rescatter": 0.3}
    values = tuple(tensor(v)[0].requires_grad_() for v in names.values())
    e = tensor(40.0, 80.0)

    def counts(thresholds, *values):
        detector = Detector.silicon(**dict(zip(names, values, strict=True)))
        return detector.response(e, torch.ones_like(e)).above(thresholds)

    assert torch.autograd.gradcheck(counts, (tensor(15.0, 33.0).requires_grad_(), *values))


@pytest.mark.parametrize(
    ("name", "value"), [("depth_mm", 0.0), ("noise_kev", -1.0), ("cloud_mm", -1.0), ("rescatter", -0.1)]
)
def test_impossible_parameters_are_named(name, value):
    with pytest.raises(ArgumentError, match=name):
        Detector.silicon(**{name: value})


def test_detectors_are_equal_where_kind_and_parameters_are():
    noise = torch.tensor(1.6, dtype=torch.float64, requires_grad=True)
    table = torch.arange(3.0), torch.ones(2, 3)
    same = [Detector.silicon(), Detector.silicon(noise_kev=noise)], [Detector.tabulated(*table) for _ in range(2)]
    for one, other in same:
        assert one == other
        assert hash(one) == hash(other)
    others = (
        Detector.silicon(59),
        Detector.czt(),
        Detector.ideal(),
        Detector.ideal("center"),
        Detector.tabulated(*table),
    )
    assert len({Detector.silicon(), *others}) == 6
    assert [d.requires_grad for d in same[0]] == [False, True]


def test_a_detector_must_have_a_response_and_a_name_makes_it():
    with pytest.raises(TypeError, match="abstract"):
        Detector()

    class Counter(Detector, name="every_second"):
        def response(self, energies_kev, widths_kev):
            return Half(energies_kev)

    class Half:
        def __init__(self, energies_kev):
            self.energies_kev = energies_kev

        def above(self, thresholds_kev):
            return 0.5 * (self.energies_kev > thresholds_kev[:, None])

    try:
        assert above(Detector.every_second(), (20, 60), (30,)).tolist() == [[0, 0.5]]
    finally:
        del Detector.every_second


def test_a_new_kind_cannot_take_a_name_that_is_taken():
    for taken in ("response", "silicon"):
        with pytest.raises(ArgumentError, match="name"):
            type("Other", (Detector,), {}, name=taken)
