import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.errors import ArgumentError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.projector import Projector
from ctlib.recon import sirt
from ctlib.recon.sirt import sirt_scaling


@pytest.mark.parametrize("relaxation", [0.5, 1.0, 1.9])
def test_sirt_recovers_a_known_image(dense, randn, relaxation):
    A, x = dense(), randn(2, 3, 4)
    torch.testing.assert_close(sirt(A, A(x), 3000, relaxation=relaxation), x, atol=1e-6, rtol=0)


def test_sirt_tends_to_the_weighted_least_squares_solution(dense, randn):
    """Fixed points solve A^T R (y - A x) = 0, also when no image fits the data."""
    A, y = dense(), randn(4, 5)
    R = sirt_scaling(A, y)[0].flatten()
    root = R.sqrt()[:, None]
    expected = torch.linalg.lstsq(root * A.matrix, root * y.reshape(-1, 1)).solution.reshape(3, 4)
    torch.testing.assert_close(sirt(A, y, 4000), expected, atol=1e-6, rtol=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 12), st.integers(2, 9), st.floats(0.4, 3), st.integers(0, 10**6))
def test_the_iteration_matrix_has_its_eigenvalues_in_0_1(views, side, pitch, seed):
    """The reason why every relaxation in (0, 2) is stable."""
    A = Projector(ParallelBeam(Volume((side, side)), views, side + 3, pitch), backend="sparse")
    pixels = torch.eye(side * side, dtype=torch.float64).reshape(-1, side, side)
    R, C = sirt_scaling(A, pixels)
    root = C.sqrt()
    symmetric = (root * A.T(R * A(root * pixels))).flatten(1)
    torch.testing.assert_close(symmetric, symmetric.T)
    values = torch.linalg.eigvalsh(symmetric)
    assert values.min() > -1e-9
    assert values.max() < 1 + 1e-9


@pytest.mark.parametrize("relaxation", [0.0, -1.0, 2.0, 5.0])
def test_steps_outside_the_bound_are_refused(dense, randn, relaxation):
    with pytest.raises(ArgumentError, match="relaxation"):
        sirt(dense(), randn(4, 5), relaxation=relaxation)


def test_the_bound_is_sharp(dense, randn):
    """The loop itself at relaxation 2.1 grows: the largest eigenvalue is 1, so the error gains 1.1 a step."""
    A, y = dense(), randn(4, 5)
    R, C = sirt_scaling(A, y)
    x = y.new_zeros(3, 4)
    for _ in range(300):
        x = x + 2.1 * C * A.T(R * (y - A(x)))
    assert x.norm() > 1e6


def test_nonneg_start_callback_and_no_iterations(dense, randn):
    A, y, x0 = dense(), randn(4, 5), randn(3, 4)
    assert (sirt(A, y, 20, nonneg=True) >= 0).all()
    assert torch.equal(sirt(A, y, 0, x0=x0), x0)
    seen = []
    sirt(A, y, 3, callback=lambda k, x: seen.append((k, x)))
    assert [k for k, _ in seen] == [1, 2, 3]
    torch.testing.assert_close(sirt(A, y, 2, x0=seen[0][1]), seen[2][1])


def test_batches_equal_single_images_and_pixels_without_rays_stay(randn):
    A = Projector(ParallelBeam(Volume((8, 8)), 2, 3, 1.0), backend="sparse")
    y = randn(2, 3, 2, 3)
    together = sirt(A, y, 10)
    torch.testing.assert_close(together[1, 2], sirt(A, y[1, 2], 10))
    x0 = torch.ones(8, 8, dtype=torch.float64)
    unseen = A.T(torch.ones(2, 3, dtype=torch.float64)) == 0
    assert unseen.any()
    assert (sirt(A, y[0, 0], 10, x0=x0)[unseen] == 1).all()


def test_wrong_shapes_and_counts_are_named(dense, randn):
    with pytest.raises(ArgumentError, match="y: got"):
        sirt(dense(), randn(5, 4))
    with pytest.raises(ArgumentError, match="x0: got"):
        sirt(dense(), randn(4, 5), x0=randn(4, 3))
    with pytest.raises(ArgumentError, match="num_iters"):
        sirt(dense(), randn(4, 5), num_iters=-1)


def test_sirt_is_differentiable(dense, randn):
    y = randn(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: sirt(dense(), t, 4, nonneg=True), y)
