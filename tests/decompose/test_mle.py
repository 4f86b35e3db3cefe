import numpy as np
import pytest
import torch
from deep_silicon import BOX
from scipy.optimize import minimize

from ctlib.decompose import cramer_rao, decompose_mle, decompose_simplex
from ctlib.errors import ArgumentError, ConvergenceError

BOX3 = ((-5, 35), (-5, 10), (-1, 1))


def grid():
    """The paper's calibration slabs: water 0 to 30, calcium 0 to 2 g/cm2."""
    axes = torch.arange(0, 31, 2, dtype=torch.float64), torch.arange(0, 2.01, 0.2, dtype=torch.float64)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def independent_solution(model, counts, start):
    """Minimum of the likelihood by scipy's trust region on formulas of its own: numpy, float64, one pixel."""
    f, spectra = model.attenuation.numpy(), model.bin_spectra().numpy() * float(model.photons)
    y = counts.numpy()

    def at(a):
        return np.exp(-f @ a)[:, None] * spectra

    def value(a):
        expected = at(a).sum(0)
        return float((expected - y * np.log(expected)).sum())

    def gradient(a):
        expected, jacobian = at(a).sum(0), -f.T @ at(a)
        return jacobian @ (1 - y / expected)

    def hessian(a):
        expected, jacobian = at(a).sum(0), -f.T @ at(a)
        second = np.einsum("nk,nl,ni->kli", f, f, at(a))
        return (jacobian * (y / expected**2)) @ jacobian.T + second @ (1 - y / expected)

    found = minimize(value, start, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-9})
    a = found.x
    return a - np.linalg.solve(hessian(a), gradient(a))  # one step more: values alone cannot resolve 1e-8


def test_solutions_are_those_of_an_independent_optimizer(model, draw):
    paths, counts = draw(model, 40)
    found = decompose_mle(model, counts)
    other = np.stack([independent_solution(model, y, a.numpy()) for y, a in zip(counts, paths, strict=True)])
    assert np.abs(found.numpy() - other).max() < 1e-8


def test_the_simplex_method_ends_at_the_same_place(model, draw):
    _, counts = draw(model, 4)
    assert (decompose_simplex(model, counts) - decompose_mle(model, counts)).abs().max() < 2e-5


@pytest.mark.parametrize("start", [(5.0, 0.1), (0.0, 0.0), (30.0, 0.0), (35.0, 10.0)])
def test_the_whole_grid_converges_from_one_start(model, start):
    found, info = decompose_mle(model, model(grid()), start=torch.tensor(start), return_info=True)
    assert info.converged.all()
    assert (found - grid()).abs().max() < 1e-8


def test_the_polynomial_start_saves_iterations_not_answers(model, draw):
    _, counts = draw(model, 500)
    warm, info = decompose_mle(model, counts, return_info=True)
    cold, slow = decompose_mle(model, counts, start=torch.tensor([5.0, 0.1]), return_info=True)
    assert (warm - cold).abs().max() < 1e-8
    assert info.iterations.double().mean() < 5
    assert info.iterations.double().mean() + 2 < slow.iterations.double().mean()
    again, last = decompose_mle(model, counts, start=warm, return_info=True)
    assert last.iterations.max() == 1
    assert (again - warm).abs().max() < 1e-8


def test_three_materials_with_iodine(build, draw):
    model = build(("water", "calcium", "iodine"), photons=1e7)
    paths, counts = draw(model, 300, top=(25.0, 1.5, 0.05), noisy=False)
    assert (decompose_mle(model, counts, BOX3) - paths).abs().max() < 1e-7
    _, counts = draw(model, 300, top=(25.0, 1.5, 0.05))
    found, info = decompose_mle(model, counts, BOX3, return_info=True)
    assert info.converged.all()
    single = decompose_mle(model, counts.float(), BOX3)
    assert (single - found).abs().max() < 1e-3
    cold = decompose_mle(model, counts, BOX3, start=torch.tensor([5.0, 0.1, 0.0]), max_iters=60)
    assert (cold - found).abs().max() < 1e-7


@pytest.mark.parametrize("point", [(10.0, 0.3), (20.0, 1.0)])
def test_the_variance_is_the_cramer_rao_bound(model, point):
    """Within 5 %; 20,000 draws tell a variance to 1 %."""
    paths = torch.tensor(point, dtype=torch.float64)
    counts = torch.poisson(model(paths).expand(20_000, 4), generator=torch.Generator().manual_seed(0))
    found = decompose_mle(model, counts)
    ratio = found.var(0) / cramer_rao(model, paths).diagonal()
    assert ((ratio - 1).abs() < 0.05).all()


def test_single_precision_is_as_good_as_it_can_be(model, draw):
    _, counts = draw(model, 2000)
    exact, single = decompose_mle(model, counts), decompose_mle(model, counts.float())
    assert single.dtype == torch.float32
    assert (single - exact).abs().max() < 5e-5


def test_pixels_do_not_see_each_other(model, draw):
    """Alone, in a batch, in another shape: the same answer, to the last bit where compiled."""
    _, counts = draw(model, 60)
    for y, tolerance in ((counts, 1e-10), (counts.float(), 0.0)):
        whole = decompose_mle(model, y)
        assert torch.equal(whole.reshape(3, 4, 5, 2), decompose_mle(model, y.reshape(3, 4, 5, 4)))
        assert (whole[7] - decompose_mle(model, y[7])).abs().max() <= tolerance
        assert (whole[30:] - decompose_mle(model, y[30:])).abs().max() <= tolerance


def test_thresholds_of_each_pixel(model, draw):
    paths, _ = draw(model, 12)
    g = torch.Generator().manual_seed(5)
    t = model.thresholds_kev + 0.5 * torch.rand(4, 5, generator=g, dtype=torch.float64)
    paths = paths.reshape(3, 4, 2)
    found = decompose_mle(model, model(paths, t), thresholds_kev=t)
    assert (found - paths).abs().max() < 1e-8
    assert (decompose_mle(model, model(paths, t)) - paths).abs().max() > 1e-3
    single = decompose_mle(model, model(paths, t).float(), thresholds_kev=t)
    assert (single - paths).abs().max() < 1e-4


def test_photons_of_each_pixel(build, draw):
    photons = torch.tensor([1e5, 1e6, 1e7], dtype=torch.float64)
    model = build(photons=photons)
    paths, counts = draw(model, 3, noisy=False)
    assert (decompose_mle(model, counts) - paths).abs().max() < 1e-8


def test_pixels_without_light_end_on_the_box_and_say_so(model):
    counts = torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 1], [3, 0, 0, 0], [1e3, 1e3, 1e3, 1e3]], dtype=torch.float64)
    for y in (counts, counts.float()):
        found, info = decompose_mle(model, y, return_info=True, max_iters=100)
        assert found.isfinite().all()
        assert info.converged.all()
        assert info.active[0].all()
        assert found[0].tolist() == [35, 10]
        low, high = torch.tensor(BOX, dtype=y.dtype).unbind(1)
        assert ((found >= low) & (found <= high)).all()


def test_more_light_than_the_open_beam_ends_on_the_box_or_below_zero(model):
    found, info = decompose_mle(model, 1.02 * model(torch.zeros(2, dtype=torch.float64)), return_info=True)
    assert info.converged
    assert found[0] < 0


def test_the_fold_of_two_bins_is_flagged(build):
    """Thresholds 15 and 50: at the sign change of det J the condition number has no bound; two answers fit."""
    from ctlib.decompose import jacobian_determinant

    model = build(thresholds=(15, 50, 120))
    calcium = torch.linspace(0, 3, 3001, dtype=torch.float64)
    line = torch.stack([torch.full_like(calcium, 10.0), calcium], -1)
    det = jacobian_determinant(model, line)
    (k,) = torch.nonzero(det[1:] * det[:-1] < 0).flatten()
    near, far = line[k], line[0]
    _found, info = decompose_mle(
        model, model(torch.stack([near, far])), start=torch.stack([near, far]), return_info=True
    )
    assert info.condition[0] > 1e5 or info.condition[0].isinf()
    assert info.condition[1] < 1e3
    beyond = torch.tensor([20.0, 1.55], dtype=torch.float64)  # the paper's point, on the far side
    other = decompose_mle(model, model(beyond), start=torch.tensor([5.0, 0.1]))
    assert (other - beyond).abs().max() > 1
    torch.testing.assert_close(model(other), model(beyond), rtol=1e-8, atol=0)
    same = decompose_mle(model, model(beyond), start=beyond + 0.01)
    torch.testing.assert_close(same, beyond, rtol=1e-6, atol=0)
    safe = build(thresholds=(30, 60, 120))
    assert (jacobian_determinant(safe, line) > 0).all() or (jacobian_determinant(safe, line) < 0).all()


def test_unfinished_pixels_are_an_error_or_a_flag(model, draw):
    _, counts = draw(model, 20)
    with pytest.raises(ConvergenceError, match="20 of 20 pixels"):
        decompose_mle(model, counts, max_iters=1)
    _, info = decompose_mle(model, counts, max_iters=1, return_info=True)
    assert not info.converged.any()
    assert (info.iterations == 1).all()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"counts": torch.ones(3, 5)}, "counts"),
        ({"counts": torch.ones(3, 4, dtype=torch.int64)}, "counts"),
        ({"counts": [1.0, 2.0, 3.0, 4.0]}, "counts"),
        ({"box": ((0, 1),)}, "box"),
        ({"box": ((1, 0), (0, 1))}, "box"),
        ({"max_iters": 0}, "max_iters"),
        ({"start": torch.full((2,), float("nan"))}, "start"),
        ({"start": torch.zeros(5, 2)}, "start"),
        ({"thresholds_kev": (15, 33)}, "thresholds_kev"),
    ],
)
def test_wrong_arguments_are_named(model, change, name):
    with pytest.raises(ArgumentError, match=name):
        decompose_mle(model, **({"counts": torch.ones(3, 4)} | change))


def test_no_pixels_are_no_problem(model):
    assert decompose_mle(model, torch.zeros(0, 4)).shape == (0, 2)
    assert decompose_mle(model, torch.zeros(0, 4, dtype=torch.float64)).shape == (0, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_by_the_same_call(model, draw, dtype):
    _, counts = draw(model, 500)
    grads = []
    for y in (counts.clone().requires_grad_(), counts.to("cuda", dtype).requires_grad_()):
        t = model.thresholds_kev.clone().requires_grad_()
        found, info = decompose_mle(model, y, thresholds_kev=t, return_info=True)
        assert found.device == y.device
        assert info.converged.all()
        found.sum().backward()
        grads.append((found.detach().cpu().double(), y.grad.cpu().double(), t.grad))
    tolerance = 1e-8 if dtype == torch.float64 else 1e-4
    for expected, got in zip(*grads, strict=True):
        assert ((got - expected).abs().max() / expected.abs().max()) < tolerance
