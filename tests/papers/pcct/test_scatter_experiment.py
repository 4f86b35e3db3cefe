"""The scatter test: errors of a known guess, floors of known scatter, directions that images see, and trainings."""

import copy

import pytest
import torch

pytest.importorskip("xraylib")

from ctlib.decompose import decompose_mle
from ctlib.geometry import FanBeam, Volume
from ctlib.nets.seeded import seeded
from ctlib.papers.pcct import scatter_experiment
from ctlib.papers.pcct.scatter_experiment import ROWS, ScatterTest, Training
from ctlib.papers.pcct.scatter_net import ScatterNet, cross_loss, direct_loss, scatter_ratio
from ctlib.phantoms.materials import abdomen
from ctlib.physics import Detector, SpectralModel, Spectrum, mass_attenuation

pytestmark = pytest.mark.usefixtures("one_thread")

THRESHOLDS = (15.0, 33.0, 45.0, 59.0, 125.0)
BOX = ((-5.0, 40.0), (-5.0, 20.0))
CM = torch.tensor([1.0, 1.55], dtype=torch.float64)
FAN = FanBeam(Volume((16, 16), 25.0), 8, 24, 736.0 / 24, 625.0, 1097.0)
PARTS = torch.arange(4).split([2, 1, 1])
TRAINING = Training((4,), 12, 1e-2)


@pytest.fixture(scope="module")
def model():
    spectrum = Spectrum.tungsten(120, {"Al": 3.0}, bin_kev=4.0)
    detector = Detector.silicon(depth_mm=60.0, cloud_mm=0.012, noise_kev=1.6)
    return SpectralModel(spectrum, ("water", "calcium"), detector, THRESHOLDS, photons=1e6)


def counts_of(model, paths):
    """Relative counts (N, E, V, U) behind path lengths (N, M, V, U)."""
    return (model(paths.movedim(1, -1)) / model(torch.zeros(2))).movedim(-1, 1)


@pytest.fixture(scope="module")
def whole(model):
    """Four abdomens; scatter is brighter in the middle of each row, and a tenth of the primary in the mean."""
    paths = torch.stack([abdomen(s, 380.0).paths(FAN) for s in range(4)]).movedim(-1, 1).float()
    primary = counts_of(model, paths)
    u = torch.linspace(-1, 1, 24)
    scatter = primary.mean(-1, keepdim=True) * (1.2 - u.square())
    scatter = 0.1 * scatter / (scatter / primary).mean()
    return ScatterTest(model, BOX, FAN, primary, scatter, PARTS, CM)


@pytest.fixture
def test(whole):
    """A copy whose scatter and methods a test may replace."""
    return copy.copy(whole)


def with_scatter(test, scatter):
    test.scatter, test.total = scatter, test.primary + scatter
    return test


def error(test, guess, row):
    return float(test.errors(guess)[0][:, ROWS.index(row)].mean())


def test_counts_per_photon_are_those_of_the_model(model):
    found = scatter_experiment.bin_response(model)(model.energies_kev)
    assert found.shape == (4, len(model.energies_kev))
    exact = (model.bin_spectra() / model.spectrum.weights[:, None]).mT
    heavy = model.spectrum.weights > 1e-3
    torch.testing.assert_close(found[:, heavy], exact[:, heavy], rtol=0, atol=0.05)  # of one energy, and of 4 keV
    at = torch.tensor([80.0], dtype=torch.float64)
    above = model.detector.response(at, 1e-3 * torch.ones_like(at)).above(torch.tensor([15.0, 125.0]).double())
    one = scatter_experiment.bin_response(model)(at)
    assert float(one.sum()) == pytest.approx(float(above[0] - above[1]))


def test_counts_per_photon_know_the_gain_and_take_any_numbers(model):
    at = torch.tensor([40.0, 65.0, 80.0], dtype=torch.float64)
    scaled = model.replace(gain=1.05)
    moved = model.replace(thresholds_kev=model.thresholds_kev / 1.05)
    found = scatter_experiment.bin_response(scaled)(at)
    torch.testing.assert_close(found, scatter_experiment.bin_response(moved)(at))
    assert (found - scatter_experiment.bin_response(model)(at)).abs().max() > 1e-3
    single = scatter_experiment.bin_response(scaled)(at.float())
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, found)
    assert torch.equal(scatter_experiment.bin_response(scaled)([40, 65, 80]), found)
    pixels = model.replace(thresholds_kev=torch.stack([model.thresholds_kev, model.thresholds_kev + 1]))
    own = pixels.counts_per_photon(at)
    assert own.shape == (2, 4, 3)
    torch.testing.assert_close(own[0], model.counts_per_photon(at))


def test_simulated_single_scatter_is_the_integral_within_its_errors(model, monkeypatch):
    pytest.importorskip("numba")
    soft, response = Spectrum.tungsten(120, {"Al": 3.0}, bin_kev=8.0), scatter_experiment.bin_response(model)
    right, factor, kept = scatter_experiment.single_scatter, 1.0, {}

    def integral(*args, process, **options):
        if process not in kept:
            kept[process] = right(*args, process=process, **options)
        return factor * kept[process]

    monkeypatch.setattr(scatter_experiment, "single_scatter", integral)
    z, relative = scatter_experiment.single_against_quadrature(FAN, soft, response, 4000, 0)
    assert z.shape == (4, 1, 1, 8)
    assert 0.5 < float(z.square().mean().sqrt()) < 1.6
    assert 0 < float(relative) < 0.3
    assert sorted(kept) == ["compton", "rayleigh"]
    factor = 2.0  # an integral that is wrong is seen
    wrong, half = scatter_experiment.single_against_quadrature(FAN, soft, response, 4000, 0)
    assert float(wrong.square().mean().sqrt()) > 2.5
    assert float(half) == pytest.approx(float(relative) / 2, rel=1e-5)


def test_rms_is_over_the_axes_asked_for():
    x = torch.tensor([[3.0, 4.0], [1.0, -1.0]])
    torch.testing.assert_close(scatter_experiment.rms(x, -1), torch.tensor([12.5**0.5, 1.0]))
    torch.testing.assert_close(scatter_experiment.rms(x, (0, 1)), torch.tensor((27 / 4) ** 0.5))


def test_the_references_are_what_the_counts_without_scatter_give(test):
    exact = torch.stack([abdomen(s, 380.0).paths(FAN) for s in range(4)]).movedim(-1, 1).float()
    torch.testing.assert_close(test.true_paths, exact, rtol=0, atol=5e-3)
    assert test.true_images.shape == (4, 2, 16, 16)
    body = test.true_images[:, 0, 6:10, 6:10].mean()
    assert float(body) == pytest.approx(1.0, abs=0.2)  # g/cm3 of water
    assert torch.equal(test.total, test.primary + test.scatter)


def test_the_true_scatter_has_no_errors_and_none_has_some(test):
    right = test.errors(test.scatter[test.test_set])[0]
    assert right.shape == (1, 6)
    assert right.dtype == torch.float64
    wrong = test.errors(0 * test.scatter[test.test_set])[0]
    assert (wrong > 0.01).all()
    assert (right < 1e-2 * wrong).all()


def test_a_guess_that_is_wrong_by_a_centimeter_is_so_in_the_paths(test, model):
    """Counts behind 0.5 cm more of water and 0.2 cm more of calcium."""
    more = torch.tensor([0.5, 0.2]) * CM.float()
    paths = test.true_paths[test.test_set] + more[:, None, None]
    guess = test.total[test.test_set] - counts_of(model, paths)
    found, (back, images, gray) = test.errors(guess)
    assert found[0, :2].tolist() == pytest.approx([0.5, 0.2], abs=2e-3)
    torch.testing.assert_close(back, paths, rtol=0, atol=1e-2)
    torch.testing.assert_close(images, test.material_images(paths) - test.true_images[test.test_set], atol=2e-3, rtol=0)
    square = images[0].double().square().mean((1, 2)).sqrt()
    assert found[0, 3:5].tolist() == pytest.approx((1000 * square).tolist(), rel=1e-4)  # mg/mL
    share = float(mass_attenuation("calcium", 60.0) / mass_attenuation("water", 60.0))
    hounsfield = 1000 * (images[:, 0] + share * images[:, 1])
    torch.testing.assert_close(gray, hounsfield, rtol=1e-4, atol=1e-2)
    assert float(found[0, 5]) == pytest.approx(float(hounsfield.square().mean().sqrt()), rel=1e-4)


def test_the_error_of_the_ratio_is_in_percent_of_the_primary(test):
    guess = (test.scatter - 0.03 * test.primary)[test.test_set]
    assert error(test, guess, "spr") == pytest.approx(3.0, rel=1e-4)


def test_directions_say_how_much_of_a_change_of_counts_images_see(test, model):
    behind, amplified, directions = test.visible_directions()
    at = test.true_paths[test.test_set].movedim(1, -1).reshape(-1, 2).double()
    assert torch.equal(behind, at[:, 0] > 1)
    assert 10 < len(amplified) == int(behind.sum()) < len(behind)
    assert (amplified[:, 0] > amplified[:, 1]).all()
    counts = model(at[behind])
    h = 1e-4
    for k in range(4):
        moved = [decompose_mle(model, counts * (1 + s * h * directions[:, k]), BOX) for s in (1, -1)]
        slope = ((moved[0] - moved[1]) / (2 * h)).norm(dim=-1)
        expected = amplified[:, k] if k < 2 else torch.zeros(len(slope)).double()
        torch.testing.assert_close(slope, expected, rtol=1e-2, atol=1e-2)


def test_the_shares_of_an_error_are_those_of_its_directions(test, monkeypatch):
    behind, _, directions = test.visible_directions()
    primary, scatter = test.primary[test.test_set], test.scatter[test.test_set]

    def shares(weights):
        off = torch.zeros(len(behind), 4, dtype=torch.float64)
        off[behind] = 0.01 * (torch.tensor(weights).double() @ directions)
        off[~behind] = 7.0  # air does not count
        relative = off.reshape(1, 8, 24, 4).movedim(-1, 1)
        monkeypatch.setattr(test, "estimate", lambda net: scatter + primary * relative)
        return test.error_shares(None, behind, directions)

    assert shares([1.0, 0, 0, 0]) == pytest.approx([1, 0, 0], abs=1e-4)
    assert shares([0, 2.0, 0, 0]) == pytest.approx([0, 1, 0], abs=1e-4)
    assert shares([0, 0, 1.0, 1.0]) == pytest.approx([0, 0, 1], abs=1e-4)
    assert shares([1.0, 2.0, 1.0, 2.0]) == pytest.approx([0.1, 0.4, 0.5], abs=1e-4)


def test_shares_of_a_network_sum_to_one(test):
    behind, _, directions = test.visible_directions()
    found = test.error_shares(seeded(0, ScatterNet, 4, (4,), ndim=1, last_stride=1).eval(), behind, directions)
    assert sum(found) == pytest.approx(1)
    assert min(found) > 0


def test_the_error_of_a_ratio_is_relative_to_its_mean_in_these_columns(test, monkeypatch):
    scatter, primary = test.scatter[test.test_set], test.primary[test.test_set]
    left = torch.arange(24) < 12
    monkeypatch.setattr(test, "estimate", lambda net: scatter * torch.where(left, 1.2, 0.9))
    assert test.ratio_error(None, left) == pytest.approx(0.2, rel=1e-4)
    assert test.ratio_error(None, ~left) == pytest.approx(0.1, rel=1e-4)
    monkeypatch.setattr(test, "estimate", lambda net: scatter + 0.05 * primary)
    mean = float((scatter / primary)[..., left].mean())
    assert test.ratio_error(None, left) == pytest.approx(0.05 / mean, rel=1e-3)


def test_errors_of_views_are_those_of_the_water_in_each(test):
    paths = test.true_paths[test.test_set].clone()
    paths[:, 0, 3] += 0.5
    paths[:, 0, 5, ::2] += 0.5
    paths[:, 1, 6] += 0.5  # calcium
    expected = torch.tensor([[0, 0, 0, 0.5, 0, 0.5 / 2**0.5, 0, 0]])
    torch.testing.assert_close(test.view_errors((None, (paths, None, None))), expected)


def coarse_lines(stages):
    """Random positive scatter and ratio that are linear between the centers of coarse cells (4, 4, 8, 24)."""
    cells = torch.rand(32, 4, 24 // 2**stages, generator=torch.Generator().manual_seed(0)) + 0.5
    line = torch.nn.functional.interpolate(cells, 24, mode="linear")
    return line.unflatten(0, (4, 8)).transpose(1, 2)


@pytest.mark.parametrize(("spread", "other"), [("scatter", "ratio"), ("ratio", "scatter")])
def test_the_floor_is_nothing_for_scatter_that_the_grid_holds(test, spread, other):
    line = 0.05 * coarse_lines(2)
    dark = test.primary.amin((2, 3), keepdim=True)
    scatter = line * dark if spread == "scatter" else test.primary * line / (1 - line)  # of the total
    with_scatter(test, scatter)
    nothing = error(test, 0 * scatter[test.test_set], "water")
    assert test.floor(spread, 2) < 0.01 * nothing
    assert test.floor(other, 2) > 5 * test.floor(spread, 2)


def test_the_best_coarse_scatter_is_better_than_no_correction(test):
    nothing = error(test, 0 * test.scatter[test.test_set], "water")
    floors = [test.floor("scatter", stages) for stages in (1, 3)]
    assert 0 < floors[0] < floors[1] < nothing


@pytest.mark.parametrize("spread", ["scatter", "ratio"])
@pytest.mark.parametrize("stages", [0, 1, 3])
def test_a_floor_takes_at_most_95_percent_of_the_counts(test, spread, stages):
    """Strong scatter that changes from column to column: the best coarse one is more than some pixels have."""
    columns = torch.arange(24) % 5 == 0
    with_scatter(test, test.primary * torch.where(columns, 40.0, 0.02))
    assert 0 <= test.floor(spread, stages) < 1e4


class Constant:
    """A network that takes a fiftieth of the counts for scatter, in twelve cells."""

    ndim = 1

    def __call__(self, views):
        return torch.full((len(views), 4, 12), 0.02)


def test_an_estimate_is_the_networks_ratio_times_the_counts(test):
    """The same share of every cell's mean, interpolated, is the scatter."""
    total = test.total[test.test_set]
    cells = total.unflatten(-1, (12, 2)).mean(-1)
    line = torch.nn.functional.interpolate(cells.flatten(0, 1), 24, mode="linear")
    torch.testing.assert_close(test.estimate(Constant()), 0.02 * line.unflatten(0, (1, 4)))


@pytest.mark.parametrize("kind", ["direct", "cross"])
def test_a_training_lowers_its_loss_and_its_seed_sets_it(test, kind):
    net, least = test.train(kind, 0, TRAINING)
    again, same = test.train(kind, 0, TRAINING)
    other, _ = test.train(kind, 1, TRAINING)
    assert not net.training
    assert same == least
    weights = [n.bottleneck[1].weight for n in (net, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])

    def loss(n):
        total = test.total[test.validate_set]
        ratio = scatter_ratio(n, total)
        if kind == "direct":
            return float(direct_loss(ratio, total, test.scatter[test.validate_set]))
        reference = test.true_images[test.validate_set]
        return float(cross_loss(ratio, total, reference, test.by_solver, test.material_images, None))

    short = test.train(kind, 0, Training((4,), 1, 1e-2))[1]
    with torch.no_grad():
        assert loss(net) == pytest.approx(least, rel=1e-5)
    assert least < short


def test_cross_never_sees_the_scatter_and_asks_the_decomposition_it_is_given(test):
    calls, once = [], Training((4,), 1, 1e-2)
    net, _ = test.train("cross", 0, once)
    test.scatter = torch.full_like(test.scatter, torch.nan)
    blind, _ = test.train("cross", 0, once, decompose=lambda c: calls.append(1) or test.by_solver(c, test.start))
    assert torch.equal(net.bottleneck[1].weight, blind.bottleneck[1].weight)
    assert len(calls) == 2  # a step and a look at the validation body
    held, _ = test.train("cross", 0, Training((4,), 1, 1e-2, gradient_limit=1e-6))
    assert not torch.equal(net.bottleneck[1].weight, held.bottleneck[1].weight)
