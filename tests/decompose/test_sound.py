"""Nothing wrong in silence: what is called converged, which minimum is found, what is refused, and per-pixel rules."""

import itertools
import subprocess
import sys

import pytest
import torch

from ctlib.decompose import decompose_mle
from ctlib.decompose.newton import Problem
from ctlib.decompose.restart import descend, local, lowest, starts
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.physics import Detector, SpectralModel, Spectrum

pytestmark = pytest.mark.usefixtures("one_thread")
THREE = ("water", "calcium", "iodine"), ((-5, 40), (-5, 10), (-1, 1)), (30.0, 2.0, 0.02), (15, 30, 45, 59, 75, 120)
TWO = ("water", "calcium"), ((-5, 35), (-5, 10)), (25.0, 1.5), (15, 33, 45, 59, 120)
CASES = {"two": TWO, "not negative": (TWO[0], ((0, 35), (0, 10)), *TWO[2:]), "three": THREE}
DTYPES = torch.float32, torch.float64


def few_counts(build, case, num, photons=None):
    """A model, Poisson counts of some 10 to 1000 photons a pixel, or of so many sent, and the problem in float64."""
    materials, box, top, thresholds = CASES[case]
    g = torch.Generator().manual_seed(4)
    one = build(materials, thresholds, photons=1.0)
    expected = one(torch.rand(num, len(top), generator=g).double() * torch.tensor(top).double())
    total = 10 ** (1 + 2 * torch.rand(num, generator=g).double())
    sent = total / expected.sum(-1) if photons is None else torch.full((num,), photons, dtype=torch.float64)
    counts = torch.poisson(expected * sent[:, None], generator=g)
    low, high = torch.tensor(box).double().unbind(1)
    problem = Problem(counts / sent[:, None], one.bin_spectra(), one.attenuation, low, high, sent)
    return one.replace(photons=sent), counts, box, problem


def nll(problem, paths):
    return local(problem, problem.tables, paths).value * problem.photons


def oracle(problem):
    """The least likelihood of descents from every point of a grid over the box, a grid finer towards zero."""
    axes = [torch.tensor([-0.4, 0.0, 0.1, 0.3, 0.9]).double() * h for h in problem.high]
    grid = torch.cartesian_prod(*axes).clamp(problem.low, problem.high)
    best = torch.full_like(problem.photons, torch.inf)
    for point in grid:
        found = descend(problem, point.expand(len(best), -1), 60, 1e-6)[0]
        best = torch.minimum(best, nll(problem, found))
    return best


@pytest.mark.parametrize("photons", [1e2, 1e5])
def test_a1_converged_pixels_are_finite_and_so_are_gradients(build, photons):
    model, counts, box, _ = few_counts(build, "three", 60, photons)
    y = counts.float().requires_grad_()
    found, info = decompose_mle(model, y, box, return_info=True)
    found.sum().backward()
    assert found.isfinite().all()
    assert info.converged.all()
    assert y.grad.isfinite().all()


@pytest.mark.parametrize("case", CASES)
def test_a2_the_lowest_minimum_is_found_or_the_pixel_flagged(build, case):
    """Against descents from every point of a grid over the box."""
    model, counts, box, problem = few_counts(build, case, 25)
    best = oracle(problem)
    for dtype in DTYPES:
        found, info = decompose_mle(model, counts.to(dtype), box, return_info=True)
        worse = nll(problem, found.double()) > best + 1e-4
        assert not (worse & ~info.multiple & info.converged).any()
        assert worse.sum() <= 1
        assert info.converged.all()
        value = model(found.double())
        torch.testing.assert_close(info.nll, (value - torch.xlogy(counts, value)).sum(-1), rtol=1e-5, atol=1e-3)


def test_a2_eight_counts_that_had_the_wrong_minimum(build):
    one = build(photons=1.0)
    truth, y = torch.tensor([21.6, 1.9]).double(), torch.tensor([8.0, 0, 7, 6]).double()
    model = one.replace(photons=float(21 / one(truth).sum()))
    _found, info = decompose_mle(model, y, return_info=True)
    value = model(truth)
    assert info.nll <= (value - torch.xlogy(y, value)).sum()


def test_other_minima_are_told(build):
    """Two bins whose counts two path lengths explain exactly: the model folds, at any number of counts."""
    model = build(thresholds=(15, 50, 120))
    near, far = torch.tensor([20.0, 1.55]).double(), torch.tensor([20.0, 0.2]).double()
    found, info = decompose_mle(model, model(torch.stack([near, far])), return_info=True)
    torch.testing.assert_close(model(found), model(torch.stack([near, far])), rtol=1e-6, atol=0)
    assert info.multiple[0]
    _, alone = decompose_mle(model, model(near), start=near, return_info=True)
    assert not alone.multiple


def test_compiled_restarts_are_those_of_torch(build):
    pytest.importorskip("numba")
    from ctlib.decompose import engine

    for case in ("two", "three"):
        *_, problem = few_counts(build, case, 12)
        given = starts(problem)
        ours, theirs = engine._lowest(problem, given.clone(), 60, 1e-8), lowest(problem, given, 60, 1e-8)
        torch.testing.assert_close(nll(problem, ours[0]), nll(problem, theirs[0]), rtol=1e-9, atol=1e-6)
        assert torch.equal(ours[2], theirs[2])
        assert torch.equal(ours[3], theirs[3])


@pytest.mark.parametrize("kvp", [60, 120])
@pytest.mark.parametrize("detector", ["ideal", "silicon"])
def test_a4_defaults_work_for_spectra_and_detectors(kvp, detector):
    """Unfiltered: bins of 1.5 keV, whose transmission overflows a little below zero; boxes far too wide too."""
    thresholds = torch.linspace(15, kvp, 5).tolist()
    model = SpectralModel(
        Spectrum.tungsten(kvp), ("water", "calcium"), getattr(Detector, detector)(), thresholds, photons=1e6
    )
    paths = torch.tensor([[20.0, 1.5], [0, 0], [5.0, 0.2]]).double()
    for box, dtype in itertools.product((TWO[1], ((-1000, 1000),) * 2), DTYPES):
        found = decompose_mle(model, model(paths).to(dtype), box)
        assert (model(found.double()) / model(paths) - 1).abs().max() < 1e-3
        assert (found - paths).abs().max() < (1e-5 if dtype == torch.float64 else 0.1)


@pytest.mark.parametrize(
    ("materials", "thresholds", "name"),
    [
        (("water", "calcium"), (15, 120), "thresholds_kev"),
        (("water", "water"), (15, 33, 59, 120), "materials"),
        (("water", "calcium"), (15, 160, 170, 180), "thresholds_kev"),
    ],
)
def test_a4_what_no_counts_can_tell_is_refused(build, materials, thresholds, name):
    model = build(materials, thresholds)
    for dtype in DTYPES:
        with pytest.raises(ArgumentError, match=name):
            decompose_mle(model, torch.ones(3, len(thresholds) - 1, dtype=dtype))


def test_a4_pixels_whose_own_bins_tell_too_little_are_flagged(model):
    own = torch.stack([model.thresholds_kev, torch.tensor([15.0, 160, 170, 180, 190]).double()])
    y = model(torch.tensor([20.0, 1.5]).double())[None].expand(2, 4).clone().requires_grad_()
    found, info = decompose_mle(model, y, thresholds_kev=own, return_info=True)
    assert info.converged.tolist() == [True, False]
    assert info.condition[1].isinf()
    assert torch.autograd.grad(found.sum(), y)[0][1].tolist() == [0] * 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_a4_odd_readings_concern_their_pixels_alone(model, dtype):
    clean = model(torch.tensor([20.0, 1.5]).double()).to(dtype)
    y = clean.expand(5, 4).clone()
    y[1, 0], y[2, 1], y[3, 2], y[4] = -3, torch.nan, torch.inf, -1
    y.requires_grad_()
    found, info = decompose_mle(model, y, return_info=True)
    assert info.converged.tolist() == [True, True, False, False, True]
    assert info.clipped.tolist() == [False, True, False, False, True]
    assert found[2:4].isnan().all()
    zero = clean.clone()
    zero[0] = 0
    torch.testing.assert_close(found[:2], decompose_mle(model, torch.stack([clean, zero])))
    (grad,) = torch.autograd.grad(found.nansum(), y)
    assert grad[2:].abs().max() == 0
    assert grad[1, 0] == 0
    assert grad[1].abs().max() > 0
    assert grad.isfinite().all()
    with pytest.raises(ConvergenceError, match=r"2 of 5 pixels.*2 of them because a reading.*return_info"):
        decompose_mle(model, y)


def test_a3_what_is_written_into_a_model_counts_and_weights_have_gradients_twice(build):
    thresholds = torch.tensor([15.0, 33, 45, 59, 120]).double()
    model = build(thresholds=thresholds)
    y = model(torch.tensor([[20.0, 1.5]]).double())
    before = decompose_mle(model, y)
    thresholds += 1
    assert torch.equal(decompose_mle(model, y), decompose_mle(build(thresholds=thresholds.clone()), y))
    assert (decompose_mle(model, y) - before).abs().max() > 1e-3
    spectrum = Spectrum.tungsten(120, {"Al": 3.0}, bin_kev=10.0)
    weights = spectrum.weights.clone().requires_grad_()
    own = build().replace(spectrum=Spectrum(spectrum.edges_kev, weights))
    first, second = (torch.autograd.grad(decompose_mle(own, y).sum(), weights)[0] for _ in range(2))
    assert torch.equal(first, second)
    step = torch.zeros_like(weights)
    step[4] = 1e-6
    moved = [decompose_mle(own.replace(spectrum=Spectrum(spectrum.edges_kev, weights.detach() + s * step)), y).sum()
             for s in (1, -1)]  # fmt: skip
    assert float(first[4]) == pytest.approx(float(moved[0] - moved[1]) / 2e-6, rel=1e-4)


def test_a5_thresholds_of_each_pixel_take_bounded_memory():
    """8000 pixels with thresholds of their own: what the solver adds to their spectra, in a process of its own."""
    code = """
import resource, sys, torch
torch.set_num_threads(1)
from ctlib.decompose import decompose_mle
from ctlib.physics import Detector, SpectralModel, Spectrum
bins = 15, 33, 45, 59, 120
m = SpectralModel(Spectrum.tungsten(120, {"Al": 3.0}), ("water", "calcium"), Detector.ideal(), bins, 1e6)
num = 8000
t = m.thresholds_kev + 0.5 * torch.rand(num, 1, dtype=torch.float64)
y = m(torch.tensor([[20.0, 1.5]], dtype=torch.float64).expand(num, 2), t).float()
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
s = m.bin_spectra(t, y)
before = peak()
decompose_mle(m, y, thresholds_kev=t)
print(peak() - before, s.numel() * 4 / 2**20)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    added, spectra = map(float, out)
    assert added < 4 * spectra + 60, f"{added} MiB beside {spectra} MiB of spectra"


def test_unconverged_pixels_have_no_gradient(model, draw):
    _, counts = draw(model, 5)
    y = counts.requires_grad_()
    found, info = decompose_mle(model, y, max_iters=1, return_info=True)
    assert not info.converged.any()
    assert torch.autograd.grad(found.sum(), y)[0].abs().max() == 0


def test_minus_infinity_is_no_negative_reading(model):
    counts = model(torch.tensor([[5.0, 0.5], [8.0, 0.2]], dtype=torch.float64))
    counts[0, 1] = -torch.inf
    paths, info = decompose_mle(model, counts, return_info=True)
    assert paths[0].isnan().all()
    assert info.converged.tolist() == [False, True]
    assert info.converged.tolist() == [False, True]
