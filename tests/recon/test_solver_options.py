"""Every option of the solvers has an effect, and it is the formula's: one to three steps, written out with a matrix."""

import math

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.linop import FunctionOperator, from_matrix
from ctlib.prox import gradient_adjoint, total_variation, tv_dual
from ctlib.recon import cgls, sirt, tv_reconstruct
from ctlib.recon.sirt import sirt_scaling
from ctlib.recon.tv import tv_objective


def sirt_steps(A, y, num, x, relaxation, nonneg):
    """x + relaxation C A^T R (y - A x), with the matrix itself."""
    M = A.matrix
    R, C = 1 / M.sum(1), 1 / M.sum(0)
    x, y = x.flatten(), y.flatten()
    for _ in range(num):
        x = x + relaxation * C * (M.T @ (R * (y - M @ x)))
        x = x.clamp_min(0) if nonneg else x
    return x.reshape(A.domain_shape)


@pytest.mark.parametrize("num_iters", [1, 3])
@pytest.mark.parametrize("relaxation", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("nonneg", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_sirt_is_its_formula_with_every_option(dense, randn, num_iters, relaxation, nonneg, started):
    A, y = dense(), randn(4, 5)
    x0 = randn(3, 4, seed=1) if started else torch.zeros(3, 4, dtype=torch.float64)
    options = {"relaxation": relaxation, "nonneg": nonneg} | ({"x0": x0} if started else {})
    torch.testing.assert_close(sirt(A, y, num_iters, **options), sirt_steps(A, y, num_iters, x0, relaxation, nonneg))


def test_sirt_s_default_is_50_steps_of_relaxation_1(dense, randn):
    A, y = dense(), randn(4, 5)
    torch.testing.assert_close(sirt(A, y), sirt_steps(A, y, 50, torch.zeros(3, 4).double(), 1.0, False))


def test_rows_and_columns_that_are_empty_weigh_nothing():
    M = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    R, C = sirt_scaling(from_matrix(M), torch.zeros(2, dtype=torch.float64))
    assert R.tolist() == [1 / 3, 0]
    assert C.tolist() == [1, 0.5, 0]


def krylov(A, y, num, x0):
    """The least-squares solution in x0 + span of the first num Krylov vectors."""
    M, r = A.matrix, y.flatten() - A.matrix @ x0.flatten()
    vectors = [M.T @ r]
    for _ in range(num - 1):
        vectors.append(M.T @ (M @ vectors[-1]))
    K = torch.linalg.qr(torch.stack(vectors, 1)).Q
    return (x0.flatten() + K @ torch.linalg.lstsq(M @ K, r[:, None]).solution[:, 0]).reshape(A.domain_shape)


@pytest.mark.parametrize("num_iters", [1, 2, 3])
@pytest.mark.parametrize("started", [False, True])
def test_cgls_minimizes_over_its_krylov_space_with_every_option(dense, randn, num_iters, started):
    A, y = dense(), randn(4, 5)
    x0 = randn(3, 4, seed=1)
    found = cgls(A, y, num_iters, x0=x0) if started else cgls(A, y, num_iters)
    torch.testing.assert_close(found, krylov(A, y, num_iters, x0 if started else 0 * x0))


def test_cgls_s_default_is_20_steps(randn):
    A, y = from_matrix(randn(40, 30)), randn(40, seed=1)
    assert torch.equal(cgls(A, y), cgls(A, y, 20))
    assert not torch.equal(cgls(A, y, 20), cgls(A, y, 21))


def tv_steps(A, y, num, x, weight, nonneg, norm, prox_iters):
    """Monotone FISTA in its two-point form, with products taken anew and an objective of its own."""

    def value(x):
        return float((A(x) - y).square().sum() / 2 + weight * total_variation(x))

    L, t, dual = 1.01 * norm**2, 1.0, None
    x = x.clamp_min(0) if nonneg else x
    z = x
    for _ in range(num):
        step = z - A.T(A(z) - y) / L
        dual = tv_dual(step, weight / L, prox_iters, nonneg, dual)
        v = step - gradient_adjoint(dual)
        v = v.clamp_min(0) if nonneg else v
        new = v if value(v) <= value(x) else x
        later = (1 + math.sqrt(1 + 4 * t * t)) / 2
        z = new + t / later * (v - new) + (t - 1) / later * (new - x)
        x, t = new, later
    return x


TV = {"weight": 0.8, "nonneg": False, "norm": 9.0, "prox_iters": 10}


@pytest.mark.parametrize("num_iters", [1, 4])
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize(
    "change", [{}, {"weight": 0.1}, {"nonneg": True}, {"norm": 20.0}, {"prox_iters": 1}, {"prox_iters": 3}], ids=str
)
def test_tv_is_its_formula_with_every_option(dense, randn, num_iters, started, change):
    A, y = dense(), randn(4, 5)
    x0, options = (2 * randn(3, 4, seed=1) if started else torch.zeros(3, 4).double()), TV | change
    found = tv_reconstruct(A, y, num_iters=num_iters, **options, **({"x0": x0} if started else {}))
    torch.testing.assert_close(found, tv_steps(A, y, num_iters, x0, **options))
    if change:
        assert not torch.allclose(found, tv_reconstruct(A, y, num_iters=num_iters, **TV, x0=x0), atol=1e-6)


def test_tv_s_defaults(dense, randn):
    """The norm is the operator's, 100 steps, ten dual steps each."""
    A, y = dense(), randn(4, 5)
    norm = float(torch.linalg.svdvals(A.matrix)[0])
    expected = tv_steps(A, y, 100, torch.zeros(3, 4).double(), 0.8, False, norm, 10)
    torch.testing.assert_close(tv_reconstruct(A, y, 0.8), expected, rtol=1e-6, atol=1e-8)
    assert torch.equal(tv_reconstruct(A, y, 0.8), tv_reconstruct(A, y, 0.8, 100, prox_iters=10))
    assert torch.equal(tv_reconstruct(A, y, 0.8, 5, norm=A.norm()), tv_reconstruct(A, y, 0.8, 5))


def test_the_objective_is_its_formula(dense, randn):
    A, x, y = dense(), randn(2, 3, 4), randn(4, 5, seed=1)
    for weight in (0.0, 0.7, torch.tensor([[[0.2]], [[0.9]]], dtype=torch.float64)):
        flat_weight = torch.as_tensor(weight, dtype=torch.float64).flatten()
        expected = (A(x) - y).square().sum((1, 2)) / 2 + flat_weight * total_variation(x)
        torch.testing.assert_close(tv_objective(A, x, y, weight).flatten(), expected)
    several = randn(5, 4, 5, seed=2)  # one image against several data
    torch.testing.assert_close(tv_objective(A, x[0], several, 0.7)[3], tv_objective(A, x[0], several[3], 0.7))


SOLVERS = {
    "sirt": lambda A, y, **k: sirt(A, y, **k),
    "cgls": lambda A, y, **k: cgls(A, y, **k),
    "tv": lambda A, y, **k: tv_reconstruct(A, y, 0.3, **k),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_callbacks_see_every_iterate_and_only_those(dense, randn, name):
    solve, A, y, seen = SOLVERS[name], dense(), randn(4, 5), []
    solve(A, y, num_iters=3, callback=lambda k, x: seen.append((k, x)))
    assert [k for k, _ in seen] == [1, 2, 3]
    for k, x in seen:
        torch.testing.assert_close(x, solve(A, y, num_iters=k))


@pytest.mark.parametrize("name", SOLVERS)
def test_numbers_of_numpy_and_torch_are_numbers(dense, randn, name):
    solve, A, y = SOLVERS[name], dense(), randn(4, 5)
    for count in (np.int64(5), np.array(5), torch.tensor(5)):
        assert torch.equal(solve(A, y, num_iters=count), solve(A, y, num_iters=5))
    for relaxation in (np.float64(0.5), np.array(0.5), torch.tensor(0.5)):
        assert torch.equal(sirt(A, y, 2, relaxation=relaxation), sirt(A, y, 2, relaxation=0.5))


@pytest.mark.parametrize("name", SOLVERS)
def test_what_is_no_data_or_no_start_is_refused_by_name(dense, randn, name):
    solve, A, y = SOLVERS[name], dense(), randn(4, 5)
    for wrong in (y.numpy(), y.tolist(), y.half(), y.to(torch.int32), y.to(torch.complex64), y.T, None):
        with pytest.raises(ArgumentError, match="y: got"):
            solve(A, wrong)
    for wrong in (randn(3, 3), randn(3, 4).numpy(), torch.ones(3, 4, dtype=torch.int64), randn(2, 3, 4)):
        with pytest.raises(ArgumentError, match="x0: got"):
            solve(A, y, x0=wrong)
    for wrong in (2.5, "3", True, math.nan, -1, None):
        with pytest.raises(ArgumentError, match="num_iters: got"):
            solve(A, y, num_iters=wrong)
    for wrong in (A.matrix, None, lambda x: x):
        with pytest.raises(ArgumentError, match="A: got"):
            solve(wrong, y)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("weight", -1.0), ("weight", math.nan), ("weight", "0.1"), ("weight", torch.ones(3, 1, 1).double()),
        ("weight", torch.ones(4, 5).double()), ("weight", -torch.ones(2, 1, 1).double()),
        ("norm", 0.0), ("norm", math.nan), ("norm", -3.0), ("norm", "9"), ("prox_iters", 0), ("prox_iters", 1.5),
    ],
)  # fmt: skip
def test_tv_refuses_options_that_mean_nothing(dense, randn, name, wrong):
    with pytest.raises(ArgumentError, match=f"{name}: got"):
        tv_reconstruct(dense(), randn(2, 4, 5), **{"weight": 0.3, name: wrong})


@pytest.mark.parametrize("relaxation", [math.nan, "1", None, torch.ones(2), True, 0.0, 2.0])
def test_sirt_refuses_a_relaxation_that_is_none(dense, randn, relaxation):
    with pytest.raises(ArgumentError, match="relaxation"):
        sirt(dense(), randn(4, 5), relaxation=relaxation)


@pytest.mark.parametrize("name", SOLVERS)
def test_nan_in_the_data_is_nan_in_the_image_and_in_no_other_one(dense, randn, name):
    y = randn(2, 4, 5)
    y[0, 1, 2] = math.nan
    x = SOLVERS[name](dense(), y, num_iters=3)
    assert bool(x[0].isnan().any())
    torch.testing.assert_close(x[1], SOLVERS[name](dense(), y[1], num_iters=3))


@pytest.mark.parametrize("name", SOLVERS)
def test_an_empty_batch_and_an_operator_that_sees_nothing(randn, name):
    solve = SOLVERS[name]
    blind = FunctionOperator(lambda x: x.new_zeros(*x.shape[:-2], 4, 5), lambda y: y.new_zeros(*y.shape[:-2], 3, 4),
                             (3, 4), (4, 5))  # fmt: skip
    assert torch.equal(solve(blind, randn(4, 5), num_iters=3), torch.zeros(3, 4).double())
    assert solve(blind, randn(0, 4, 5), num_iters=3).shape == (0, 3, 4)
