"""The calibration chapter's runs: drift, rings, central differences, orders, the fold, proxies and clocks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("xraylib")

from ctlib.decompose import counts_jacobian, decompose_mle
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.pcct import experiment
from ctlib.papers.pcct.calibration import threshold_jacobian
from ctlib.papers.pcct.experiment import RingTest, Setting, f64
from ctlib.papers.pcct.proxy import solver_samples
from ctlib.phantoms.materials import ellipse_phantom
from ctlib.physics import Spectrum
from ctlib.projector import Projector

pytestmark = pytest.mark.usefixtures("one_thread")

THRESHOLDS = (15.0, 33.0, 45.0, 59.0, 125.0)
BOX = ((-5.0, 40.0), (-5.0, 20.0))
GRID_CM = torch.cartesian_prod(f64([5.0, 15.0, 25.0]), f64([0.0, 0.5, 1.0]))


@pytest.fixture(scope="module")
def setting():
    """The chapter's, with a coarser spectrum."""
    spectrum = Spectrum.tungsten(kvp=120, filters_mm={"Al": 3.0}, bin_kev=2.0)
    return Setting(THRESHOLDS, 0.5, 1.55, 1e6, 60.0, 1.6, 0.012, BOX, spectrum)


@pytest.fixture(scope="module")
def model(setting):
    return setting.model()


@pytest.fixture(scope="module")
def ring(setting, model):
    """A small scan of the ellipse phantom, two of whose detector pixels drifted: the test, counts, paths, image."""
    small = Projector(ParallelBeam(Volume((48, 48), 8.0), 40, 48, 8.0))
    test = RingTest(model, BOX, small, setting.drifted(THRESHOLDS), [14, 20])
    counts, paths = test.scan(ellipse_phantom())
    return test, counts, paths, test.reconstruct(paths)


def test_a_setting_builds_its_model_with_other_numbers(setting, model):
    paths = GRID_CM * setting.cm
    assert setting.cm.tolist() == [1.0, 1.55]
    assert float(model(torch.zeros(2).double()).sum()) < 1e6  # photons per reading
    scaled = setting.model([1.02 * t for t in THRESHOLDS], gain=1.02)  # energies and thresholds read 2 % too high
    torch.testing.assert_close(scaled(paths), model(paths))
    assert float((setting.model(gain=1.02)(paths) / model(paths) - 1).abs().max()) > 0.01
    assert (setting.model(rescatter=1.0)(paths).sum(-1) > model(paths).sum(-1)).all()
    other = Spectrum.tungsten(kvp=100, filters_mm={"Al": 3.0}, bin_kev=2.0)
    assert setting.model(spectrum=other).spectrum.edges_kev[-1] == 100
    assert model.spectrum.edges_kev[-1] == 120


def test_all_thresholds_but_the_top_one_drift(setting):
    assert setting.drifted(THRESHOLDS).tolist() == [15.5, 33.5, 45.5, 59.5, 125.0]
    assert setting.drifted([15.0, 50.0, 125.0]).tolist() == [15.5, 50.5, 125.0]


def test_drift_does_nothing_without_bias_and_what_the_gradient_says_with_a_small_one(setting, model):
    assert max(replace(setting, bias_kev=0.0).drift_error(model, THRESHOLDS, GRID_CM)) < 1e-6
    small = replace(setting, bias_kev=1e-3)
    for rho in (None, 0.62):
        scale = f64([1.0, rho or 1.55])
        paths = GRID_CM * scale
        moved = threshold_jacobian(model, model(paths), f64(THRESHOLDS), BOX).sum(-1) * 1e-3 / scale  # [cm]
        assert small.drift_error(model, THRESHOLDS, GRID_CM, rho) == pytest.approx(
            moved.square().mean(0).sqrt().tolist(), rel=1e-3
        )
    closed = (15.0, 33.0, 45.0, 59.0, 110.0)  # the thresholds asked for, not the setting's
    assert max(replace(setting, bias_kev=0.0).drift_error(setting.model(closed), closed, GRID_CM)) < 1e-6


def test_a_scan_gives_the_phantoms_paths_and_its_densities(ring):
    test, _, paths, image = ring
    phantom = ellipse_phantom()
    torch.testing.assert_close(paths, phantom.paths(test.project.geometry), rtol=0, atol=1e-5)
    exact = phantom.densities(test.project.volume)
    inside = exact[0] == 1
    assert float(image[0][inside].mean()) == pytest.approx(1.0, abs=0.02)  # g/cm3
    assert float(image[1].sum()) == pytest.approx(float(exact[1].sum()), rel=0.1)


def test_rings_are_gone_at_the_true_shift_and_there_alone(ring):
    test, counts, paths, clean = ring
    residual = test.residual(counts, paths, clean)
    true = torch.full((2, 4), 0.5, dtype=torch.float64)
    assert float(residual(true).abs().max()) < 1e-6
    drifted, one = residual(0 * true), residual(true * torch.tensor([[1.0], [0.0]]).double())
    assert float(drifted.square().mean().sqrt()) > 1e-3
    assert 0 < float(one.norm()) < float(drifted.norm())
    columns = torch.zeros(48, dtype=torch.bool)
    columns[[14, 20]] = True
    wrong = decompose_mle(test.model, counts[:, columns], BOX, thresholds_kev=test.believed)
    whole = paths.clone()
    whole[:, columns] = wrong  # the other pixels' thresholds are right
    torch.testing.assert_close(drifted, test.reconstruct(whole) - clean)


def test_objects_are_random_and_their_counts_poisson(setting, model):
    paths, counts = experiment.objects(model, setting.cm, 3, 4000)
    again, other = (experiment.objects(model, setting.cm, s, 4000)[1] for s in (3, 4))
    assert torch.equal(counts, again)
    assert not torch.equal(counts, other)
    cm = paths / setting.cm
    assert (cm >= 0).all()
    assert cm.amax(0).tolist() == pytest.approx([25.0, 1.5], rel=0.01)
    assert cm.mean(0).tolist() == pytest.approx([12.5, 0.75], rel=0.05)
    expected = model(paths)
    assert float(((counts - expected).square() / expected).mean()) == pytest.approx(1.0, abs=0.05)


def test_central_differences_are_exact_for_polynomials_of_degree_two():
    directions = torch.eye(2, dtype=torch.float64)
    at, slope = f64([0.3, -0.2]), f64([[1.0, 2.0], [-3.0, 0.5]])
    parabola = lambda d: (at + d).square() + slope @ d  # noqa: E731
    exact = 2 * torch.diag(at) + slope  # rows: values; columns: directions
    torch.testing.assert_close(experiment.central(parabola, directions, 0.1), exact)
    cubic = lambda d: f64([d**3])  # noqa: E731
    assert float(experiment.central(cubic, [1.0], 0.1)) == pytest.approx(0.01)  # h^2


def test_worst_is_relative_to_the_largest_numeric_value():
    assert experiment.worst(f64([1.0, -8.0, 3.0]), f64([2.0, -10.0, 3.0])) == pytest.approx(0.2)


def test_implicit_gradients_agree_with_central_differences(setting, monkeypatch):
    errors = experiment.gradient_errors(setting, 0, num=10)
    assert list(errors) == ["counts", "thresholds", "gain"]
    assert max(errors.values()) < 1e-4
    for name in ("counts_jacobian", "threshold_jacobian", "gain_jacobian"):  # a wrong one is seen
        right = getattr(experiment, name)
        monkeypatch.setattr(experiment, name, lambda *args, right=right: 1.1 * right(*args))
    wrong = experiment.gradient_errors(setting, 0, num=10)
    assert list(wrong.values()) == pytest.approx([0.1] * 3, abs=1e-3)


def test_the_gain_moves_all_thresholds_together(setting, model):
    """Counts depend on D / g alone: dA/dg = -sum_i D_i dA/dD_i, the top threshold counting nothing here."""
    counts = experiment.objects(model, setting.cm, 0, 10)[1]
    by_gain = experiment.gain_jacobian(setting, counts)
    by_thresholds = threshold_jacobian(model, counts, f64(THRESHOLDS), BOX)
    assert by_gain.shape == (10, 2, 1)
    torch.testing.assert_close(by_gain[..., 0], -by_thresholds @ f64(THRESHOLDS[:-1]), rtol=1e-3, atol=1e-4)


def test_the_order_of_powers_is_their_exponent():
    steps = experiment.steps_of(2.0)
    assert (len(steps), steps[0], steps[-1]) == (9, pytest.approx(0.02), pytest.approx(2.0))
    assert np.ptp(np.log(steps[1:] / steps[:-1])) < 1e-12
    for exponent in (1, 2, 3):
        assert experiment.order(2.0, 0.3 * steps**exponent) == pytest.approx(exponent)


@pytest.mark.parametrize(("of", "scale"), [("counts", 0.01), ("thresholds", 0.2)])
def test_the_linear_prediction_errs_with_the_square_of_the_step(setting, model, of, scale, monkeypatch):
    at = f64([20.0, 1.0]) * setting.cm
    errors = experiment.departures(setting, model, at, scale, of, 0)
    assert errors.shape == (9,)
    assert experiment.order(scale, errors) == pytest.approx(2, abs=0.1)
    assert np.array_equal(errors, experiment.departures(setting, model, at, scale, of, 0))
    in_mass = experiment.departures(replace(setting, rho_ca=1e9), model, at, scale, of, 0)  # water alone counts
    in_short = experiment.departures(replace(setting, rho_ca=0.155), model, at, scale, of, 0)
    calcium = (errors**2 - in_mass**2)[-1]
    assert calcium > 0
    assert in_short[-1] ** 2 == pytest.approx(in_mass[-1] ** 2 + 100 * calcium, rel=1e-4)  # lengths, in cm
    name = {"counts": "counts_jacobian", "thresholds": "threshold_jacobian"}[of]
    right = getattr(experiment, name)
    monkeypatch.setattr(experiment, name, lambda *args: 1.1 * right(*args))
    wrong = experiment.departures(setting, model, at, scale, of, 0)
    assert experiment.order(scale, wrong) < 1.5  # a wrong slope errs with the step itself


class Folded:
    """log counts -(w + c) and -(w + c^2 / (2 fold)), whose Jacobian determinant is c / fold - 1."""

    num_bins = num_materials = 2

    def __init__(self, fold):
        self.fold = fold

    def derivatives(self, paths, thresholds_kev=None):
        w, c = paths.unbind(-1)
        counts = torch.stack([-(w + c), -(w + c.square() / (2 * self.fold))], -1).exp()
        log_slope = torch.stack(
            [torch.full_like(paths, -1.0), torch.stack([-torch.ones_like(c), -c / self.fold], -1)], -1
        )
        return counts, counts[..., None] * log_slope, None


def test_a_fold_is_where_the_determinant_changes_sign(setting):
    assert experiment.fold_at(Folded(1.55), setting.cm) == pytest.approx(1.0, abs=2e-3)
    assert experiment.fold_at(Folded(0.62), setting.cm) == pytest.approx(0.4, abs=2e-3)
    assert np.isnan(experiment.fold_at(Folded(100.0), setting.cm))  # beyond 2.5 cm


def test_the_fold_of_two_bins_is_where_their_solutions_lose_their_slope(setting):
    """On both sides of it the determinant has the opposite sign, and at it the derivatives are largest."""
    two = setting.model([15.0, 50.0, 125.0])
    fold = experiment.fold_at(two, setting.cm)
    assert 0 < fold < 2.5
    at = f64([[20.0, fold - 0.3], [20.0, fold - 0.02]]) * setting.cm
    far, near = counts_jacobian(two, two(at), at, BOX).abs().amax((1, 2)).tolist()
    assert near > 5 * far


def test_proxy_errors_are_those_of_a_network_that_is_known(setting):
    """Paths -W log(counts) have the relative derivatives -W."""
    weights = torch.tensor([[1.0, -0.5, 0.2, 0.1], [-0.3, 0.4, 0.0, 0.2]])
    counts = torch.rand(20, 4, generator=torch.Generator().manual_seed(0)).double() + 0.5
    net = lambda c: -c.log() @ weights.T  # noqa: E731
    paths, slope = -counts.log() @ weights.double().T, -weights.double().expand(20, 2, 4)
    assert experiment.proxy_errors(net, (counts, paths, slope), setting.cm) == pytest.approx([0, 0], abs=1e-6)
    off = (counts, paths + 0.1 * setting.cm, slope + 0.2 * setting.cm[:, None])
    assert experiment.proxy_errors(net, off, setting.cm) == pytest.approx([0.1, 0.2], abs=1e-6)


def test_a_proxy_learns_and_its_seed_sets_it(setting, model):
    low, high = 0 * setting.cm, f64([25.0, 1.5]) * setting.cm
    samples = solver_samples(model, low, high, 400, torch.Generator().manual_seed(0), BOX, noisy=False)
    open_beam = model(torch.zeros(2).double())
    train = lambda seed, steps, beta=1.0: experiment.trained_proxy(  # noqa: E731
        open_beam, low, high, samples, seed, beta, steps
    )
    few, many = (experiment.proxy_errors(train(0, steps), samples, setting.cm) for steps in (1, 60))
    assert many[0] < 0.5 * few[0]
    assert many[1] < few[1]
    first, again, other, plain = (n.layers[0].weight for n in (train(0, 2), train(0, 2), train(1, 2), train(0, 2, 0.0)))
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, plain)


def test_seconds_are_medians_without_the_first_round(monkeypatch):
    now, calls = [0.0], []

    def spends(name, *times):
        left = list(times)

        def run():
            calls.append(name)
            now[0] += left.pop(0)

        return run

    monkeypatch.setattr(experiment, "time", SimpleNamespace(process_time=lambda: now[0]))
    runs = spends("a", 50.0, 1.0, 9.0, 2.0), spends("b", 50.0, 4.0, 4.0, 30.0)
    assert experiment.seconds(*runs, repeats=3) == pytest.approx([2.0, 4.0])
    assert calls == ["a", "b"] * 4


def test_the_general_optimizer_finds_the_same_optimum(setting, model):
    counts = experiment.objects(model, setting.cm, 0, 6)[1]
    found = experiment.by_scipy(model, counts, BOX)
    torch.testing.assert_close(found, decompose_mle(model, counts, BOX), rtol=0, atol=1e-3)
