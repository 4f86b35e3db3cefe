"""What calls the compiled loops: many pixels, unusual bins, photons of each pixel, and what is kept between calls."""

import pytest
import torch
from deep_silicon import BOX

from ctlib.decompose import decompose_mle, engine, few
from ctlib.decompose import start as fitted
from ctlib.decompose.mle import polynomial, posed

pytest.importorskip("numba")
loops = pytest.importorskip("ctlib.decompose.cpu.engine")
pytestmark = pytest.mark.usefixtures("one_thread")


def solved(model, counts, max_iters=12):
    """What the loops find, and torch from the same start in double precision."""
    problem = posed(model, counts.float(), BOX, max_iters, None)
    start = polynomial(model, problem)
    wide = problem.wide()
    return loops.solve(problem, start, max_iters, 2e-4), engine._solve_torch(wide, start.to(wide.counts), 40, 1e-9)


def test_pixels_that_wait_are_those_that_come_alone(model, draw):
    """More pixels than a thread takes at a time, dark ones among them, which are solved together afterwards."""
    _, counts = draw(model, 1300, top=(30.0, 1.5))
    counts = counts.float()
    whole = decompose_mle(model, counts, BOX, return_info=True)
    for p in (0, 31, 32, 511, 512, 700, 1299, int(whole[1].iterations.argmax())):
        alone = decompose_mle(model, counts[p : p + 1], BOX, return_info=True)
        assert torch.equal(alone[0][0], whole[0][p])
        assert alone[1].iterations[0] == whole[1].iterations[p]
    assert len(set(whole[1].iterations.tolist())) > 2


@pytest.mark.parametrize("photons", [1e5, torch.full((40,), 1e5, dtype=torch.float64)])
def test_photons_of_each_pixel_are_those_of_all(build, draw, photons):
    model = build(photons=photons)
    _, counts = draw(build(photons=1e5), 40)
    found, info = decompose_mle(model, counts.float(), BOX, return_info=True)
    right, flags = decompose_mle(build(photons=1e5), counts.float(), BOX, return_info=True)
    torch.testing.assert_close(found, right, rtol=0, atol=1e-6)
    assert torch.equal(info.converged, flags.converged)


@pytest.mark.parametrize("max_iters", [1, 2, 4, 5, 6, 7])
def test_no_more_steps_are_taken_than_asked_for(model, draw, max_iters):
    _, counts = draw(model, 200, top=(30.0, 1.5))
    (_, steps, done), _ = solved(model, counts, max_iters)
    assert int(steps.max()) <= max_iters
    assert (max_iters < 3) <= bool((~done).any())


@pytest.mark.parametrize("bins", [2, 16])
def test_two_bins_and_sixteen(build, draw, bins):
    model = build(thresholds=tuple(torch.linspace(20, 110, bins + 1).tolist()))
    _, counts = draw(model, 70, top=(15.0, 1.0))
    (paths, _, done), (right, _, sure) = solved(model, counts)
    both = done & sure
    assert both.sum() > 40
    assert (paths - right)[both].abs().max() < 2e-4


def test_a_bin_that_counts_nothing_is_left_out(build, draw):
    model = build(thresholds=(15, 33, 45, 59, 120, 140))
    _, counts = draw(model, 40)
    found = decompose_mle(model, counts.float(), BOX)
    assert (found - decompose_mle(model, counts, BOX)).abs().max() < 1e-4


@pytest.mark.parametrize("trouble", ["no SciPy", "no end"])
def test_without_few_energies_all_are_taken_from_the_beginning(model, draw, monkeypatch, trouble):
    _, counts = draw(model, 40)
    right = decompose_mle(model, counts.float(), BOX)
    fitted._fitted.cache_clear()
    fitted._fitted_as.cache_clear()
    if trouble == "no SciPy":
        monkeypatch.setattr(few.importlib.util, "find_spec", lambda name: None)
    else:
        import scipy.optimize

        def never(*args):
            raise RuntimeError("Maximum number of iterations reached.")

        monkeypatch.setattr(scipy.optimize, "nnls", never)
    problem = posed(model, counts.float(), BOX, 12, None)
    start = polynomial(model, problem)
    monkeypatch.undo()
    fitted._fitted.cache_clear()
    fitted._fitted_as.cache_clear()
    assert start.few is None
    paths, steps, done = loops.solve(problem, start, 12, 2e-4)
    assert done.all()
    assert steps.max() < 6
    torch.testing.assert_close(paths, right, rtol=0, atol=2e-5)


def test_what_is_kept_is_of_this_box_and_type(build, draw):
    model = build()
    paths, counts = draw(model, 30)
    for high in range(2, 22, 2):  # more boxes than are kept
        found = decompose_mle(model, counts.float(), ((0, high), (0, 1)), return_info=True)[0]
        assert found[:, 0].max() <= high
    assert (decompose_mle(model, counts, BOX) - paths).abs().max() < 0.5
    assert decompose_mle(model, counts.float(), BOX)[:, 0].max() > 20
    kept = [v for k, v in model._kept.items() if isinstance(k, tuple) and k[0] == "decompose"]
    assert sum(len(value[1][-1]) for value in kept) < 12


def test_a_transform_may_be_the_first_call(build, draw):
    """Nothing that a transform of torch.func made is kept beyond it."""
    _, counts = draw(build(), 5)
    for transform in (torch.func.vmap, torch.func.jacrev):
        model = build()
        fitted._fitted_as.cache_clear()
        inside = transform(lambda y, model=model: decompose_mle(model, y, BOX, return_info=True)[0])(counts)
        assert inside.isfinite().all()
        assert (decompose_mle(model, counts, BOX) - decompose_mle(build(), counts, BOX)).abs().max() < 1e-10
