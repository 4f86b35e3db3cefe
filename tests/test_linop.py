"""The operator protocol, on matrices where everything is known."""

import pytest
import torch

from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.linop import FunctionOperator, conjugate_gradient, dot_test, from_matrix, power_norm, scaled


def matrix(m, n, seed=0):
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_adjoint_of_a_matrix_is_its_transpose():
    M = matrix(5, 3)
    A = from_matrix(M)
    x, y = matrix(4, 3, 1), matrix(4, 5, 2)
    torch.testing.assert_close(A(x), x @ M.T)
    torch.testing.assert_close(A.T(y), y @ M)
    assert A.T.T is A
    torch.testing.assert_close(A.T.T(x), A(x))
    assert (A.T.domain_shape, A.T.range_shape) == ((5,), (3,))


def test_the_dot_test_accepts_an_exact_pair_and_sees_a_wrong_one():
    M, generator = matrix(6, 4), torch.Generator().manual_seed(1)
    assert dot_test(from_matrix(M), generator, batch=(3,)) < 1e-15
    N = M.clone()
    N[0, 0] += 0.01
    wrong = FunctionOperator(lambda x: x @ M.T, lambda y: y @ N, (4,), (6,))
    assert dot_test(wrong, generator) > 1e-5


def test_the_power_method_finds_the_largest_singular_value():
    M = matrix(7, 5)
    assert power_norm(from_matrix(M), 500, 1e-14) == pytest.approx(float(torch.linalg.svdvals(M)[0]), rel=1e-6)
    assert from_matrix(torch.zeros(3, 2, dtype=torch.float64)).norm() == 0.0
    assert scaled(from_matrix(M), 2.5).norm() == pytest.approx(2.5 * from_matrix(M).norm(), rel=1e-9)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_a_norm_is_found_to_its_tolerance_in_any_unit(unit):
    M = unit * matrix(7, 5)
    assert power_norm(from_matrix(M), 500, 1e-12) == pytest.approx(float(torch.linalg.svdvals(M)[0]), rel=1e-6)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
def test_conjugate_gradients_stop_at_the_tolerance(tolerance):
    H, b, products = torch.logspace(0, 4, 60, dtype=torch.float64), 3 * matrix(1, 60)[0], []
    x = conjugate_gradient(lambda v: products.append(v) or H * v, b, 1000, tolerance)
    assert (H * x - b).norm() <= tolerance * b.norm()
    before = conjugate_gradient(lambda v: H * v, b, len(products) - 1, 0.0)
    assert (H * before - b).norm() > tolerance * b.norm()


def test_a_scaled_operator_keeps_an_exact_adjoint():
    assert dot_test(scaled(from_matrix(matrix(6, 4)), -3.0), torch.Generator().manual_seed(0)) < 1e-15


def test_conjugate_gradients_solve_in_as_many_steps_as_unknowns():
    M = matrix(6, 6)
    H, x = M.T @ M + torch.eye(6), matrix(1, 6, 3)[0]
    torch.testing.assert_close(conjugate_gradient(lambda v: H @ v, H @ x, 6, 0.0), x, rtol=1e-8, atol=1e-8)
    assert conjugate_gradient(lambda v: H @ v, torch.zeros(6, dtype=torch.float64)).abs().max() == 0


def test_conjugate_gradients_refuse_an_indefinite_matrix():
    with pytest.raises(ConvergenceError, match="positive definite"):
        conjugate_gradient(lambda v: -v, torch.ones(3, dtype=torch.float64))


def test_a_matrix_needs_two_axes():
    with pytest.raises(ArgumentError, match="matrix"):
        from_matrix(torch.zeros(3))


def test_a_matrix_follows_its_input_so_that_it_has_a_norm_in_any_dtype():
    M = matrix(5, 3)
    assert from_matrix(M)(torch.ones(3)).dtype == torch.float32
    assert from_matrix(M.float()).norm() == pytest.approx(float(torch.linalg.svdvals(M)[0]), rel=1e-6)


def test_a_norm_that_is_none_is_told():
    for wrong in (lambda y: -y, lambda y: y * torch.nan, lambda y: y * 1e300):
        with pytest.raises(ConvergenceError, match="power_norm"):
            FunctionOperator(lambda x: x * 1e10, wrong, (4,), (4,)).norm()


def test_values_of_another_shape_than_promised_are_refused():
    A = FunctionOperator(lambda x: x[..., :2], lambda y: y, (4,), (4,))
    with pytest.raises(ArgumentError, match=r"apply: .*shape \(3, 2\), needs the shape \(3, 4\)"):
        A(matrix(3, 4))
