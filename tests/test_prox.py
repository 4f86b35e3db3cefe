import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage.restoration import denoise_tv_chambolle

from ctlib.errors import ArgumentError
from ctlib.prox import (
    GRADIENT_NORM_SQUARED,
    gradient,
    gradient_adjoint,
    project_ball,
    project_box,
    prox_tv,
    shrink,
    shrink_isotropic,
    total_variation,
    tv_dual,
)

seeds = st.integers(0, 2**31 - 1)
sizes = st.integers(1, 9)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=30)
@given(st.sampled_from([2, 3]), sizes, sizes, seeds)
def test_gradient_adjoint_is_the_exact_transpose(ndim, ny, nx, seed):
    shape = (4, ny, nx)[-ndim:]
    x, d = randn(3, *shape, seed=seed), randn(3, ndim, *shape, seed=seed + 1)
    left, right = (gradient(x, ndim) * d).sum(), (x * gradient_adjoint(d, ndim)).sum()
    assert abs(left - right) <= 1e-12 * (1 + gradient(x, ndim).norm() * d.norm())


@pytest.mark.parametrize(("shape", "low"), [((8, 8), 7.5), ((5, 5, 5), 10.5)])
def test_gradient_norm_stays_below_four_per_axis(shape, low):
    num, ndim = int(np.prod(shape)), len(shape)
    matrix = gradient(torch.eye(num, dtype=torch.float64).reshape(num, *shape), ndim).reshape(num, -1)
    assert low < torch.linalg.matrix_norm(matrix, 2) ** 2 < GRADIENT_NORM_SQUARED * ndim


@pytest.mark.parametrize("ndim", [2, 3])
def test_differences_are_differentiable_and_can_be_written_in_place(ndim):
    x = randn(2, 3, 4, 3, seed=1)
    d = gradient(x, ndim)
    assert torch.equal(d, torch.stack([_forward(x, k) for k in range(-ndim, 0)], -ndim - 1))
    assert gradient(x, ndim, out=(memory := torch.ones_like(d))) is memory
    assert torch.equal(memory, d)
    for call, t in ((lambda t: gradient(t, ndim), x), (lambda t: gradient_adjoint(t, ndim), d)):
        assert torch.autograd.gradcheck(call, t.clone().requires_grad_())
        assert torch.autograd.gradgradcheck(call, t.clone().requires_grad_())


def _forward(x, axis):
    """Differences along one axis by their definition: next minus this, 0 at the end."""
    return torch.diff(x, dim=axis, append=x.narrow(axis, -1, 1))


def test_total_variation_of_a_square_is_its_perimeter():
    x = torch.zeros(2, 20, 20)
    x[0, 5:12, 4:10] = 3.0
    x[1, :, :10] = 1.0
    corner = 3 * (2**0.5 - 2)  # the one corner pixel where both differences meet counts as a diagonal
    torch.testing.assert_close(total_variation(x), torch.tensor([3 * 2 * (7 + 6) + corner, 20.0]))


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 3), seeds)
@example(1.2393083068963233, 803)  # a vector longer than tau by little: its direction is known to few digits only
def test_shrinkages_are_stationary(tau, seed):
    """v - prox(v) is a subgradient of tau |.| at prox(v): no longer than tau, and where prox(v) is not 0, along it."""
    v = 2 * randn(2, 2, 5, 7, seed=seed)
    x = shrink(v, tau)
    inside = x == 0
    assert (v[inside].abs() <= tau).all()
    torch.testing.assert_close((x - v + tau * x.sign())[~inside], torch.zeros_like(v[~inside]))
    d = shrink_isotropic(v, tau)
    p = v - d
    assert p.norm(dim=-3).max() <= tau + 1e-12
    gap = tau * d.norm(dim=-3) - (p * d).sum(-3)  # 0 where p is tau d / |d|, and where d is 0
    assert gap.abs().max() < 1e-12
    assert (v.norm(dim=-3)[(d == 0).all(-3)] <= tau + 1e-12).all()


def test_shrinkage_takes_one_threshold_per_image():
    v, tau = randn(2, 4, 4, seed=1), torch.tensor([0.1, 1.0], dtype=torch.float64).view(2, 1, 1)
    torch.testing.assert_close(shrink(v, tau)[1], shrink(v[1], 1.0))


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 3), seeds)
def test_projections_are_nearest_feasible_points(radius, seed):
    v = 2 * randn(2, 5, 7, seed=seed)
    p = project_ball(v, radius)
    assert (p.norm(dim=-3) <= radius + 1e-12).all()
    w = project_ball(randn(2, 5, 7, seed=seed + 1), radius)  # any other feasible point: obtuse angle
    assert (((v - p) * (w - p)).sum(-3) <= 1e-10).all()
    b = project_box(v, -0.5, radius)
    assert b.min() >= -0.5
    assert b.max() <= radius
    free = (v > -0.5) & (v < radius)
    torch.testing.assert_close(b[free], v[free])


def test_box_with_open_sides_and_a_wrong_one():
    v = randn(4, 4)
    assert project_box(v) is v
    assert project_box(v, low=0).min() == 0
    with pytest.raises(ArgumentError, match="low"):
        project_box(v, 1.0, 0.0)


several_weights = st.lists(st.floats(0.01, 2), min_size=5, max_size=5)  # one an image: a batch costs as one image does


def of_each(weights):
    """Weights (N,) as a factor of images (N, Y, X)."""
    return torch.tensor(weights, dtype=torch.float64)[:, None, None]


@settings(deadline=None, max_examples=6)
@given(several_weights, st.booleans(), seeds)
def test_tv_prox_closes_its_duality_gap(weights, nonneg, seed):
    """gap = P(x) - D(p) >= 1/2 |x - x*|^2, so a small gap proves the minimizer."""
    v, weight = randn(5, 12, 10, seed=seed), of_each(weights)
    x = prox_tv(v, weight, 1500, nonneg)
    p = tv_dual(v, weight, 1500, nonneg)
    primal = ((x - v) ** 2).sum((-2, -1)) / 2 + weight[:, 0, 0] * total_variation(x)
    free = v - gradient_adjoint(p)
    best = free.clamp_min(0) if nonneg else free
    dual = (v**2).sum((-2, -1)) / 2 - (free**2).sum((-2, -1)) / 2 + ((best - free) ** 2).sum((-2, -1)) / 2
    gap = primal - dual
    assert (gap > -1e-10).all()
    assert (gap < 1e-3 * primal).all()


@settings(deadline=None, max_examples=2)
@given(several_weights, seeds)
def test_tv_prox_beats_every_nearby_image(weights, seed):
    v = randn(5, 8, 8, seed=seed)

    def objective(x):
        return ((x - v) ** 2).sum((-2, -1)) / 2 + torch.tensor(weights) * total_variation(x)

    x = prox_tv(v, of_each(weights), 3000)
    nearby = x + 0.05 * randn(200, 5, 8, 8, seed=seed + 1)
    assert (objective(nearby) > objective(x)).all()


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_a_dual_step_is_as_long_as_the_differences_allow(ndim):
    v = randn(2, 5, 4, 6)
    torch.testing.assert_close(tv_dual(v, 100.0, 1, ndim=ndim), gradient(v, ndim) / (4 * ndim))


def test_a_dual_solution_goes_on_from_its_start():
    v = randn(2, 9, 8)
    solved = tv_dual(v, 0.3, 3000)
    torch.testing.assert_close(tv_dual(v, 0.3, 0, start=solved), solved)
    image, again = (v - gradient_adjoint(p) for p in (solved, tv_dual(v, 0.3, 1, start=solved)))
    torch.testing.assert_close(again, image, atol=1e-4, rtol=0)
    outside = tv_dual(v, 0.3, 0, start=2 * solved)
    torch.testing.assert_close(outside.norm(dim=-3), (2 * solved.norm(dim=-3)).clamp_max(0.3))


def test_tv_prox_limits():
    v = randn(2, 9, 11, seed=3)
    torch.testing.assert_close(prox_tv(v, 0.0), v)
    flat = v.mean((-2, -1), keepdim=True).expand_as(v)
    torch.testing.assert_close(prox_tv(v, 1e3, 3000), flat, atol=1e-3, rtol=0)
    with pytest.raises(ArgumentError, match="weight"):
        prox_tv(v, -1.0)


def test_tv_prox_is_batched_with_a_weight_per_image():
    v = randn(3, 10, 10, seed=4)
    weight = torch.tensor([0.0, 0.1, 0.7], dtype=torch.float64)
    together = prox_tv(v, weight.view(3, 1, 1), 50)
    for x, image, w in zip(together, v, weight, strict=True):
        torch.testing.assert_close(x, prox_tv(image, float(w), 50))


def test_tv_prox_agrees_with_scikit_image():
    """Their Chambolle iteration minimizes the same objective: TV weight in their API is our weight."""
    truth = np.zeros((32, 32))
    truth[8:24, 10:20] = 1
    noisy = truth + 0.1 * np.random.default_rng(0).standard_normal(truth.shape)
    theirs = denoise_tv_chambolle(noisy, weight=0.15, eps=1e-12, max_num_iter=20000)
    ours = prox_tv(torch.from_numpy(noisy), 0.15, 3000).numpy()
    assert np.abs(ours - theirs).max() < 2e-3


def test_tv_prox_is_differentiable():
    v = randn(4, 4, seed=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: prox_tv(t, 0.3, 30), v)


def test_tv_prox_of_a_volume_agrees_with_scikit_image():
    truth = np.zeros((8, 9, 10))
    truth[2:6, 3:7, 2:8] = 1
    noisy = truth + 0.1 * np.random.default_rng(0).standard_normal(truth.shape)
    theirs = denoise_tv_chambolle(noisy, weight=0.1, eps=1e-12, max_num_iter=20000)
    ours = prox_tv(torch.from_numpy(noisy), 0.1, 3000, ndim=3).numpy()
    assert np.abs(ours - theirs).max() < 2e-3


def test_a_stack_of_equal_slices_is_denoised_like_one_slice():
    v = randn(7, 8, seed=2)
    stack = prox_tv(v.expand(5, 7, 8), 0.4, 2000, ndim=3)
    torch.testing.assert_close(stack[2], prox_tv(v, 0.4, 2000), atol=1e-3, rtol=0)


@pytest.mark.parametrize("nonneg", [False, True])
@pytest.mark.parametrize("ndim", [2, 3])
def test_reused_memory_changes_nothing(nonneg, ndim):
    """With and without a recorded gradient: the same numbers; the start and the image are left alone."""
    v, start = randn(2, 4, 5, 6, seed=3), None
    for _ in range(2):
        kept = v.clone(), None if start is None else start.clone()
        p = tv_dual(v, 0.2, 7, nonneg, start, ndim)
        recorded = tv_dual(v.clone().requires_grad_(), 0.2, 7, nonneg, start, ndim)
        torch.testing.assert_close(p, recorded.detach(), rtol=1e-13, atol=1e-13)
        assert torch.equal(v, kept[0])
        assert start is None or torch.equal(start, kept[1])
        start = p


@pytest.mark.parametrize("bad", [-0.1, torch.tensor(-0.1, dtype=torch.float64), float("nan"), True, "1"])
@pytest.mark.parametrize("name", ["tau", "radius", "weight"])
def test_a_threshold_is_a_number_from_0(name, bad):
    v = torch.ones(2, 3, 4, dtype=torch.float64)
    calls = {"tau": [shrink, shrink_isotropic], "radius": [project_ball], "weight": [prox_tv]}
    for call in calls[name]:
        with pytest.raises(ArgumentError, match=f"^{name}"):
            call(v, bad)
