"""The experiments of the first chapter: bodies, equal constraints, calibrated noise, an inexact pair, exact objects."""

import math

import pytest
import torch

from ctlib.data.anatomy import real_slices
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.linop import dot_test
from ctlib.papers.forward import bodies, checks, comparison, mismatch, noise, remarks
from ctlib.projector import Projector
from ctlib.recon import tv_reconstruct
from ctlib.train.tuning import tune
from ctlib.units import hu_from_mu

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def real():
    return bodies.real_body(real_slices(split="test", region="abdomen")[1], 64)


@pytest.fixture(scope="module")
def made():
    return bodies.synthetic_body(0, 64)


def test_the_truth_of_a_body_agrees_with_its_line_integrals(real, made):
    for body in (real, made):
        geometry = checks.parallel_over(body.volume, 8)
        y, exact = Projector(geometry)(body.truth), body.exact(geometry)
        assert float((y - exact).norm() / exact.norm()) < 0.04
        mass = exact.sum(-1) * geometry.pitch_mm  # the same in every view
        area = math.prod(body.volume.voxel_mm)
        assert float((mass / (body.truth.sum() * area) - 1).abs().max()) < 0.01


def test_the_region_is_the_body_without_couch_and_air(real, made):
    for body in (real, made):
        hu = hu_from_mu(body.truth)
        assert float(hu[body.region].min()) > -501
        assert 0.2 < float(body.region.double().mean()) < 0.8
    assert not real.region[-6:].any()  # the couch below


def test_a_slice_without_a_body_is_refused(real):
    empty = real_slices(split="test", region="chest")[0]
    object.__setattr__(empty, "image", torch.full((32, 32), -1000.0))
    with pytest.raises(ArgumentError):
        bodies.real_body(empty, 16)


def test_noise_of_a_slice_is_its_deviation():
    stream = torch.Generator().manual_seed(0)
    flat = 40 + 12 * torch.randn(80, 80, generator=stream)
    assert abs(bodies.noise_hu(flat) / 12 - 1) < 0.08
    with pytest.raises(ArgumentError, match="soft tissue"):
        bodies.noise_hu(torch.full((20, 20), -800.0))


def test_photons_give_the_noise_that_was_asked_for(made):
    photons = [comparison.photons_for_noise(made, 60, hu, 0.0) for hu in (5.0, 10.0)]
    assert 3.5 < photons[0] / photons[1] < 4.5  # the variance goes with 1 / photons


def test_no_method_gives_negative_values_and_each_has_as_many_trials(made):
    scan = comparison.Scan(40, 5000.0, 10.0)
    for either in (scan, comparison.Scan(40, math.inf)):
        assert {len(trials) for trials in either.trials.values()} == {5}
    A = Projector(bodies.clinical_fan(made.volume, 40))
    y = scan.readings(made.exact(A.geometry), 0)
    for method, trials in scan.trials.items():
        x = comparison.reconstruct(method, trials[-1], A, y, scan)
        assert float(x.min()) >= 0


def test_what_is_compared_is_tuned_elsewhere_and_split_into_noise_and_the_rest(made, monkeypatch):
    monkeypatch.setattr(comparison, "SETTLED", 0.05)  # where TV ends has a test of its own
    scan, other = comparison.Scan(40, 5000.0, 10.0), bodies.synthetic_body(1, 64)
    tuning = comparison.tuned(other, scan)
    found = comparison.compared(made, scan, tuning, [0, 1])
    for method, r in found.items():
        assert r.settings == tuning.best(method).settings
        assert r.images.shape == (2, 64, 64)
        assert bool((r.error_hu < r.floor_hu + r.noise_hu).all())  # triangle
        assert float(r.noise_hu.min()) > 0
        assert not torch.equal(r.images[0], r.images[1])
    exact = comparison.compared(made, comparison.Scan(40, math.inf, 0.0), tuning, [])
    assert all(r.images.shape == (0, 64, 64) and r.floor_hu > 0 for r in exact.values())
    assert comparison.decibels(exact, "TV") == 0
    assert len(comparison.error_rows({"a": found})) == 3


def test_tv_ends_where_it_has_settled_or_says_that_it_has_not(made, monkeypatch):
    A = Projector(bodies.clinical_fan(made.volume, 30))
    y = made.exact(A.geometry).float()
    weight = comparison.noise_weight(A, y, comparison.Scan(30, math.inf))
    x = comparison.settled_tv(A, y, 8 * weight)
    longer = tv_reconstruct(A, y, 8 * weight, 400, x0=x, nonneg=True)
    assert float((longer - x).norm() / x.norm()) < 2 * comparison.SETTLED
    monkeypatch.setattr(comparison, "MAX_ITERS", 80)
    with pytest.raises(ConvergenceError, match="still moves"):
        comparison.settled_tv(A, y, 0.01 * weight)


def test_inexact_adjoints_diverge_no_faster_than_the_eigenvalues_say():
    found = mismatch.sirt_with_nearest_cell(16, 600)
    assert 1 < found.measured < found.predicted  # on its way there; the page waits until it is
    assert found.paths["nearest cell"][-1] > found.paths["exact adjoint"][-1]
    paths = mismatch.cgls_with_interpolation(16, 60).paths
    assert paths["linear interpolation"][-1] > 10 * paths["exact adjoint"][-1]


def test_noise_of_the_logarithm_follows_its_expansions():
    levels = torch.tensor([0.0, 3.0], dtype=torch.float64)
    for measured, formula in noise.log_variances(levels, [0, 1], 20_000).values():
        assert measured.shape == (2, 2)
        assert float((measured / formula - 1).abs().max()) < 0.08
    assert noise.log_bias(0, draws=100_000) == pytest.approx(1.03, abs=0.15)


def test_sentences_follow_the_numbers():
    def said(cases):
        return next(c if isinstance(c, str) else c[1] for c in cases if isinstance(c, str) or c[0])

    assert "not a photon" in said(remarks.flats(3.0))
    assert "one photon" in said(remarks.flats(1.02))
    assert "gains more" in said(remarks.low_dose(0.7, 0.9, 0.5))
    assert "not on the person" in said(remarks.low_dose(0.7, 1.1, 0.5))
    assert "does not" in said(remarks.low_dose(1.1, 0.9, 0.5))
    assert "95 % of its squared error is noise" in said(remarks.low_dose(0.7, 1.1, 0.95))
    flat = {("parallel", share): 30.0 for share in (0.25, 0.5, 1, 2)}
    assert "loses much" in said(remarks.views(flat))
    assert "safe rather" in said(remarks.views(flat | {("parallel", 0.25): 20.0}))
    assert "still improve" in said(remarks.views(flat | {("parallel", 2): 40.0}))
    assert "no worse" in said(remarks.discs(0.5, 0.6))
    assert "sooner" in said(remarks.semi_convergence([9, 10], [80]))
    assert "blurs" in said(remarks.projection(1.4, 0.7))
    assert "blurs" not in said(remarks.projection(1.4, 1.4))
    assert "little" in said(remarks.few_views(6.0, 8.0))
    assert "sparse" in said(remarks.few_views(8.0, 6.0))


def test_a_best_setting_at_the_end_of_its_range_is_told():
    tuned = tune({"SIRT": [{"n": k} for k in (1, 2, 3)], "TV": [{"k": k} for k in (1, 2, 3)]},
                 lambda method, s: -s["n"] if method == "SIRT" else abs(s["k"] - 2))  # fmt: skip
    (inside, _), ends = remarks.ranges({"other": tuned})
    assert not inside
    assert "SIRT on the other body" in ends
    assert "TV" not in ends


def test_pairs_that_are_no_transposes():
    small = Volume((8, 8), 1.0)
    A = Projector(ParallelBeam(small, 12, 6, 2.0))
    stream = torch.Generator().manual_seed(0)
    assert dot_test(mismatch.nearest_pair(A), stream) > 0.01
    assert dot_test(mismatch.interpolating_pair(A), stream) > 0.001
    exact = mismatch.sirt_eigenvalues(A)
    assert abs(float(exact.real.max()) - 1) < 1e-9
    assert mismatch.growth(exact, 1.9) <= 1 + 1e-9
    assert mismatch.growth(torch.tensor([-0.1 + 0j]), 1.9) == pytest.approx(1.19)


@pytest.mark.parametrize("radius", [60.0, 120.0])
def test_the_cosine_counts_on_the_axis(radius):
    """The solution of an exercise said that the error vanishes there: it is -R^2 / (4 SO^2)."""
    assert checks.cosine_error(radius, 570.0) == pytest.approx(-(radius**2) / (4 * 570.0**2), rel=0.08)


def test_fdk_of_a_long_cylinder_and_of_flat_discs():
    assert checks.cylinder_deviation(24, 72) < 4
    assert len(checks.stack_of_discs(100.0)) == 7


def test_both_sides_of_the_slice_theorem():
    f, left, right = checks.sides_of_the_slice_theorem(3)
    assert left.shape == right.shape == (3, len(f))
    assert float((left - right).abs().max() / right.abs().max()) < 1e-3
