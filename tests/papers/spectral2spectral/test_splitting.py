"""The splitting loop: SIRT's majoriser, fixed points with and without the Bregman variable."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.geometry import FanBeam, Volume
from ctlib.papers.spectral2spectral.splitting import coupling, data_objective, data_steps, split_reconstruct
from ctlib.projector import Projector
from ctlib.recon import sirt
from ctlib.recon.sirt import sirt_scaling


def fan(side=12, views=7, cols=11):
    return Projector(FanBeam(Volume((side, side)), views, cols, 2.0, 30.0, 60.0), backend="sparse")


@settings(deadline=None, max_examples=25)
@given(side=st.integers(2, 12), views=st.integers(1, 9), cols=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_the_adjoint_is_exact(side, views, cols, seed):
    A, g = fan(side, views, cols), torch.Generator().manual_seed(seed)
    x = torch.randn(side, side, dtype=torch.float64, generator=g)
    y = torch.randn(views, cols, dtype=torch.float64, generator=g)
    left, right = (A(x) * y).sum(), (x * A.T(y)).sum()
    assert abs(left - right) <= 1e-12 * (A(x).norm() * y.norm() + 1)


@settings(deadline=None, max_examples=25)
@given(side=st.integers(2, 10), views=st.integers(1, 9), rho=st.floats(0, 2), seed=st.integers(0, 10**6))
def test_the_objective_never_rises(side, views, rho, seed):
    A, g = fan(side, views, side + 1), torch.Generator().manual_seed(seed)
    y = torch.randn(2, *A.range_shape, dtype=torch.float64, generator=g)
    x, z = (torch.randn(2, side, side, dtype=torch.float64, generator=g) for _ in range(2))
    lam, values = coupling(A, rho, y), [data_objective(A, y, x, z, coupling(A, rho, y))]
    data_steps(A, y, x, z, lam, 12, lambda t: values.append(data_objective(A, y, t, z, lam)))
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(values))


def test_the_diagonal_majorises_the_hessian():
    A = fan()
    pixels = torch.eye(144, dtype=torch.float64).reshape(-1, 12, 12)
    R, _ = sirt_scaling(A, pixels)
    hessian = A.T(R * A(pixels)).flatten(1)
    diagonal = torch.diag(A.T(torch.ones(A.range_shape, dtype=torch.float64)).flatten())
    assert float(torch.linalg.eigvalsh(diagonal - hessian).min()) > -1e-10


def test_without_coupling_a_step_is_sirt(dense, randn):
    A, y = dense(), randn(4, 5)
    x0, z = randn(3, 4, seed=1), randn(3, 4, seed=2)
    torch.testing.assert_close(data_steps(A, y, x0, z, 0.0, 7), sirt(A, y, 7, x0=x0))


def test_steps_tend_to_the_minimizer(dense, randn):
    A, y, z, lam = dense(), randn(4, 5), randn(3, 4, seed=1), 0.7
    R = sirt_scaling(A, y)[0].flatten()
    hessian = A.matrix.T @ (R[:, None] * A.matrix) + lam * torch.eye(12, dtype=torch.float64)
    expected = torch.linalg.solve(hessian, A.matrix.T @ (R * y.flatten()) + lam * z.flatten()).reshape(3, 4)
    torch.testing.assert_close(data_steps(A, y, torch.zeros_like(z), z, lam, 3000), expected, atol=1e-9, rtol=0)


def test_equation_11_is_an_identity(dense, randn):
    """(A^T A + lam) x_k + A^T (y - A x_k) + lam (z - x_k) does not depend on x_k."""
    A, y, z, lam = dense(), randn(4, 5), randn(3, 4, seed=1), 0.3
    for seed in range(3):
        x = randn(3, 4, seed=10 + seed)
        left = A.T(A(x)) + lam * x + A.T(y - A(x)) + lam * (z - x)
        torch.testing.assert_close(left, A.T(y) + lam * z)


def ridge(weight, lam):
    """The proximal map of weight/2 |z|^2 at coupling lam: what the prior does in the quadratic test problem."""
    return lambda v, k: v * (lam / (lam + weight))


def solution(A, y, weight):
    R = sirt_scaling(A, y)[0].flatten()
    n = A.matrix.shape[1]
    hessian = A.matrix.T @ (R[:, None] * A.matrix) + weight * torch.eye(n, dtype=torch.float64)
    return torch.linalg.solve(hessian, A.matrix.T @ (R * y.flatten())).reshape(A.domain_shape)


def test_split_bregman_solves_the_problem_and_half_quadratic_splitting_its_envelope(dense, randn):
    """With Phi = |z|^2/2 both limits are known: weight w, and w' = w lam / (lam + w) for the Moreau envelope."""
    A, y, weight, rho = dense(), randn(4, 5), 0.8, 0.1
    lam = coupling(A, rho, y)
    runs = [split_reconstruct(A, y, ridge(weight, lam), torch.zeros(3, 4, dtype=torch.float64), 400, 25, rho, b)
            for b in (False, True)]  # fmt: skip
    torch.testing.assert_close(runs[1].x, solution(A, y, weight), atol=1e-7, rtol=0)
    torch.testing.assert_close(runs[0].x, solution(A, y, weight * lam / (lam + weight)), atol=1e-7, rtol=0)
    assert runs[1].gaps[-1] < 1e-7
    assert runs[0].gaps[-1] > 0.1


def test_the_record_of_a_run(dense, randn):
    A, y, seen = dense(), randn(2, 4, 5), []
    out = split_reconstruct(A, y, lambda v, k: 0.9 * v, randn(2, 3, 4), 4, 2, callback=lambda k, x, z: seen.append(k))
    assert seen == [0, 1, 2, 3]
    assert len(out.gaps) == len(out.residuals) == 4
    assert out.gaps[-1] == pytest.approx(float((out.x - out.z).norm() / out.x.norm()))
    assert out.residuals[-1] == pytest.approx(float((y - A(out.x)).norm() / y.norm()))


def test_pixels_no_ray_meets_go_to_the_prior_and_stay_finite():
    A = Projector(FanBeam(Volume((9, 9)), 1, 1, 0.5, 30.0, 60.0), backend="sparse")
    y, x = torch.ones(1, 1, dtype=torch.float64), torch.zeros(9, 9, dtype=torch.float64)
    z = torch.full_like(x, 2.0)
    unseen = A.T(torch.ones_like(y)) == 0
    assert bool(unseen.any())
    assert torch.equal(data_steps(A, y, x, z, 0.5, 3)[unseen], z[unseen])
    assert torch.equal(data_steps(A, y, x, z, 0.0, 3)[unseen], x[unseen])


def test_bad_input(dense, randn):
    A, y, x = dense(), randn(4, 5), randn(3, 4)
    with pytest.raises(ArgumentError, match="rho"):
        split_reconstruct(A, y, lambda v, k: v, x, rho=-1.0)
    with pytest.raises(ArgumentError, match="y:"):
        split_reconstruct(A, y[:3], lambda v, k: v, x)
    with pytest.raises(ConvergenceError, match="outer step 0"):
        split_reconstruct(A, y, lambda v, k: v * torch.nan, x)
