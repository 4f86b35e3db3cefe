"""Calibration without a reference, pile-up and one step: limits, gradients, and problems with known answers."""

import pytest
import torch

pytest.importorskip("xraylib")

from ctlib.decompose import decompose_mle, jacobian_determinant
from ctlib.errors import ConvergenceError
from ctlib.papers.pcct.beyond import blind_shift, measured, parallel
from ctlib.papers.pcct.blind import neighbor_paths, suspects, threshold_information
from ctlib.papers.pcct.experiment import Setting, f64
from ctlib.papers.pcct.one_step import Polynomial, edge_penalty, noise_and_bias, one_step, two_step
from ctlib.papers.pcct.pictures import likelihood_map, perturbed
from ctlib.papers.pcct.pileup import PileUp, decompose
from ctlib.phantoms.materials import ellipse_phantom

pytestmark = pytest.mark.usefixtures("one_thread")

SETTING = Setting.of_paper(photons=1e6)
MODEL = SETTING.model()
GRID = torch.cartesian_prod(f64([0.0, 10.0, 20.0]), f64([0.2, 1.0])) * SETTING.cm


def test_information_grows_with_what_is_known_and_is_that_of_counts_with_a_reference():
    alone = threshold_information(MODEL, GRID)
    rings = threshold_information(MODEL, GRID, torch.diag(f64([0.1, 0.01])))
    known = threshold_information(MODEL, GRID, 1e-12 * torch.eye(2).double())
    assert (torch.linalg.eigvalsh(rings - alone) > 0).all()
    assert (torch.linalg.eigvalsh(known - rings) > 0).all()
    slopes = torch.autograd.functional.jacobian(lambda d: MODEL(GRID, thresholds_kev=d), MODEL.thresholds_kev)
    direct = torch.einsum("pei,pej,pe->ij", slopes, slopes, 1 / MODEL(GRID))[:4, :4]
    torch.testing.assert_close(known, direct, rtol=1e-5, atol=1e-3)


def test_one_reading_leaves_as_many_combinations_unknown_as_it_has_path_lengths():
    values = torch.linalg.eigvalsh(threshold_information(MODEL, GRID[:1]))
    assert (values[:2].abs() < 1e-9 * values[-1]).all()
    assert values[2] > 1e-6 * values[-1]


def test_neighbors_continue_a_line_and_a_ring_is_suspected():
    u = torch.arange(12.0).double()
    paths = torch.stack([u, 3 - 0.1 * u], -1).expand(6, 12, 2).clone()
    torch.testing.assert_close(neighbor_paths(paths, 5, [6]), paths[:, 5])
    paths += 0.01 * torch.randn(paths.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    paths[:, 7, 0] += 0.5
    assert suspects(MODEL, paths, 1) == [7]


def test_a_noiseless_scan_of_an_unknown_body_gives_its_thresholds():
    scan = parallel(16, 8)
    counts = measured(SETTING, ellipse_phantom().paths(scan.geometry), None)
    assert float((blind_shift(SETTING, counts, [6, 9], 0.0) - 0.5).abs().max()) < 0.01


def test_pile_up_vanishes_without_load_and_keeps_its_cluster_rate():
    piled = PileUp(MODEL)
    torch.testing.assert_close(piled(GRID, f64(1e-9)), MODEL(GRID), rtol=1e-7, atol=0)
    load, everything = 0.3, f64([5.0, 6.0, 500.0])
    pulses = torch.exp(-GRID @ MODEL.attenuation.mT) @ piled.classes
    n = load * pulses.sum(-1)
    recorded = piled(GRID, f64(load), everything).sum(-1) / 1e6
    torch.testing.assert_close(recorded, pulses.sum(-1) * torch.exp(-n), rtol=1e-6, atol=1e-12)
    assert (
        piled(GRID, f64(load))[:, 3] / piled(GRID, f64(load)).sum(-1) > MODEL(GRID)[:, 3] / MODEL(GRID).sum(-1)
    ).all()


def test_the_decomposition_of_any_model_is_exact_and_its_gradient_that_of_differences():
    piled = PileUp(MODEL)
    counts = piled(GRID, f64(0.2))
    load = f64(0.25).requires_grad_()
    solve = lambda x: decompose(lambda a, t: piled(a, t), counts, GRID, x)  # noqa: E731
    torch.testing.assert_close(solve(f64(0.2)), GRID, rtol=0, atol=1e-7)
    (slope,) = torch.autograd.grad(solve(load).sum(), load)
    numeric = (solve(f64(0.2501)).sum() - solve(f64(0.2499)).sum()) / 2e-4
    assert float(slope) == pytest.approx(float(numeric), rel=1e-5)
    with pytest.raises(ConvergenceError):
        decompose(lambda a, t: piled(a, t), counts, GRID + 5, f64(0.2), max_iters=1)


def test_a_polynomial_gives_back_what_it_was_fitted_on():
    axes = torch.arange(0, 31, 3.0).double(), torch.arange(0, 2.01, 0.4).double()
    paths = torch.cartesian_prod(*axes) * SETTING.cm
    off = [Polynomial.fitted(MODEL, paths, MODEL(paths), d)(MODEL(paths)) - paths for d in (2, 3)]
    rms = [float(o.square().mean().sqrt()) for o in off]
    assert rms[1] < rms[0] < 0.5


def test_one_step_finds_noiseless_images_and_says_when_it_does_not_settle():
    scan = parallel(12, 16)
    densities = ellipse_phantom().densities(scan.geometry.volume)
    counts = MODEL(0.1 * scan(densities).movedim(0, -1))
    start = two_step(scan, 0.1 * scan(densities).movedim(0, -1), 1.0)
    found = one_step(MODEL, scan, counts, start, 1e-3, tol=1e-6)
    before, after = (float((x - densities).square().mean().sqrt()) for x in (start, found))
    assert after < 0.2 * before
    with pytest.raises(ConvergenceError):
        one_step(MODEL, scan, counts, start, 1e-3, tol=1e-9, max_iters=2)


def test_the_penalty_is_a_square_for_small_edges_and_linear_for_large_ones():
    z = torch.zeros(1, 2, 2, dtype=torch.float64)
    z[0, 0, 0] = 0.01
    assert float(edge_penalty(z, 0.1)) == pytest.approx(2 * 0.5 * 0.01**2)
    assert float(edge_penalty(100 * z, 0.1)) == pytest.approx(2 * 0.1 * (1 - 0.05))


def test_noise_and_bias_add_up_to_the_error():
    truth, inside = torch.zeros(2, 5, 5), torch.ones(5, 5, dtype=torch.bool)
    images = 0.5 + torch.randn(400, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    found = noise_and_bias(images, truth, inside)
    assert found["bias"].tolist() == pytest.approx([0.5, 0.5], abs=0.03)
    assert found["noise"].tolist() == pytest.approx([1.0, 1.0], abs=0.03)
    assert found["rmse"].tolist() == pytest.approx([1.25**0.5] * 2, abs=0.03)


def test_the_bias_of_two_scans_is_free_of_their_noise():
    truth, inside = torch.zeros(2, 100, 100), torch.ones(100, 100, dtype=torch.bool)
    images = torch.randn(2, 2, 100, 100, generator=torch.Generator().manual_seed(1))
    images[:, 1] += 0.5
    found = noise_and_bias(images, truth, inside)
    assert found["bias"][0] < 0.15, "the mean of two draws alone is off by 0.7"
    assert found["bias"][1] == pytest.approx(0.5, abs=0.03)
    assert noise_and_bias(torch.stack([truth + 1, truth - 1]), truth, inside)["bias"].tolist() == [0.0, 0.0]


def test_the_deviance_is_least_at_the_truth_and_has_a_twin_beyond_the_fold():
    point = f64([20.0, 1.0]) * SETTING.cm
    two = SETTING.model([15.0, 50.0, 125.0])
    water, calcium = f64([19.0, 20.0, 21.0]), f64([0.8, 1.0, 1.2])
    found = likelihood_map(MODEL, MODEL(point), water * SETTING.cm[0], calcium * SETTING.cm[1])
    assert found.argmin() == 4
    assert float(found[1, 1]) == pytest.approx(0, abs=1e-6)
    twin = decompose_mle(two, two(point)[None], SETTING.box, start=f64([[5.0, 0.1]]))[0]
    assert float((twin - point).abs().max()) > 1
    assert float(likelihood_map(two, two(point), twin[:1], twin[1:])) == pytest.approx(0, abs=1e-6)
    sides = jacobian_determinant(two, torch.stack([twin, point])).sign()
    assert sides[0] == -sides[1]
    between = [twin + s * (point - twin) for s in (0.1, 0.3, 0.5, 0.7, 0.9)]
    along = [float(likelihood_map(two, two(point), p[:1], p[1:])) for p in between]
    assert min(along) > 1e-3
    assert max(along) < 1, "a million photons do not tell the twins apart"


@pytest.mark.parametrize(("of", "span"), [("counts", 1e-4), ("thresholds", 0.01)])
@pytest.mark.parametrize("bins", [2, 4])
def test_a_surface_lies_on_its_tangent_for_small_changes(of, span, bins):
    model = MODEL if bins == 4 else SETTING.model([15.0, 50.0, 125.0])
    point = f64([20.0, 1.0]) * SETTING.cm
    found, plane = perturbed(model, point, of, span, 3, SETTING.box)
    assert (plane - point).abs().max() > 1e-6
    assert (found - plane).abs().max() < 0.05 * (plane - point).abs().max()


def test_a_surface_has_holes_where_no_path_lengths_give_the_counts():
    """Two bins near their fold: the solver ends on the line between the branches, with other counts."""
    two, point = SETTING.model([15.0, 50.0, 125.0]), f64([20.0, 1.0]) * SETTING.cm
    found, _ = perturbed(two, point, "thresholds", 2.0, 5, SETTING.box)
    holes = found.isnan().any(-1)
    assert 0 < int(holes.sum()) < 25
    assert not bool(holes[2, 2])
    four, _ = perturbed(MODEL, point, "thresholds", 2.0, 5, SETTING.box)
    assert not bool(four.isnan().any())
