import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_fixtures import DenseImages

from ctlib.geometry import FanBeam, Volume
from ctlib.projector import Projector
from ctlib.recon import cgls


def test_cgls_solves_least_squares_in_as_many_steps_as_unknowns(dense, randn):
    A, y = dense(), randn(4, 5)
    expected = torch.linalg.lstsq(A.matrix, y.reshape(-1, 1)).solution.reshape(3, 4)
    torch.testing.assert_close(cgls(A, y, 12), expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(cgls(A, y, 200), expected, atol=1e-9, rtol=0)  # and stays there


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([1e-6, 1.0, 1e6]))
def test_a_solved_problem_stays_where_it_is(seed, scale):
    """Whatever rounding a processor's sums have: beyond the solution steps are noise, which conjugation amplifies."""
    g = torch.Generator().manual_seed(seed)
    matrix = scale * torch.randn(20, 12, dtype=torch.float64, generator=g)
    A = DenseImages(matrix, (3, 4), (4, 5))
    y = torch.randn(4, 5, dtype=torch.float64, generator=g)
    expected = torch.linalg.lstsq(matrix, y.reshape(-1, 1)).solution.reshape(3, 4)
    found = [cgls(A, y, steps) for steps in (40, 300)]
    torch.testing.assert_close(found[1], found[0], atol=1e-9 / scale, rtol=0)
    torch.testing.assert_close(found[1], expected, atol=1e-6 / scale, rtol=0)


def test_cgls_from_zero_gives_the_solution_of_least_norm(dense, randn):
    A, y = dense(rows=(2, 3), cols=(3, 4)), randn(2, 3)
    expected = (torch.linalg.pinv(A.matrix) @ y.flatten()).reshape(3, 4)
    torch.testing.assert_close(cgls(A, y, 30), expected, atol=1e-9, rtol=0)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6))
def test_iterates_minimize_over_the_krylov_space(seed):
    g = torch.Generator().manual_seed(seed)
    A = Projector(FanBeam(Volume((7, 7)), 9, 12, 1.5, source_origin_mm=20.0, source_detector_mm=30.0), backend="sparse")
    y = torch.randn(9, 12, dtype=torch.float64, generator=g)
    basis = [A.T(y)]
    for _ in range(3):
        v = A.T(A(basis[-1]))
        basis.append(v / v.norm())
    K = torch.stack(basis).flatten(1).T
    AK = torch.stack([A(b).flatten() for b in basis], 1)
    best = (K @ torch.linalg.lstsq(AK, y.reshape(-1, 1)).solution).reshape(7, 7)
    torch.testing.assert_close(cgls(A, y, 4), best, atol=1e-7, rtol=1e-6)


def test_residual_never_rises_and_a_batch_is_independent(randn):
    A = Projector(
        FanBeam(Volume((16, 16)), 20, 30, 1.2, source_origin_mm=40.0, source_detector_mm=60.0), backend="sparse"
    )
    y = randn(3, 20, 30) * torch.tensor([1e-3, 1.0, 1e3], dtype=torch.float64).view(3, 1, 1)
    y[1] = 0
    residuals = []
    x = cgls(A, y, 25, callback=lambda k, x: residuals.append((A(x) - y).norm(dim=(-2, -1))))
    r = torch.stack(residuals)
    assert (r[1:] <= r[:-1] * (1 + 1e-12)).all()
    assert torch.equal(x[1], torch.zeros(16, 16, dtype=torch.float64))
    # few steps: once orthogonality is lost, another order of summation gives another, equally good, path
    torch.testing.assert_close(cgls(A, y, 6)[2], cgls(A, y[2], 6), rtol=1e-9, atol=1e-9)


def test_start_image_is_used(dense, randn):
    A, x = dense(), randn(3, 4)
    torch.testing.assert_close(cgls(A, A(x), 1, x0=x), x)


def test_cgls_is_differentiable(dense, randn):
    y = randn(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: cgls(dense(), t, 3), y)
