import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, ParallelBeam, Volume
from ctlib.linop import FunctionOperator
from ctlib.projector import Projector
from ctlib.prox import prox_tv, total_variation
from ctlib.recon import tv_reconstruct
from ctlib.recon.tv import tv_objective


def identity(*shape):
    return FunctionOperator(lambda x: x, lambda y: y, shape, shape)


def identity_plus_shift(*shape):
    return FunctionOperator(lambda x: x + 0.4 * x.roll(1, -1), lambda y: y + 0.4 * y.roll(-1, -1), shape, shape)


def test_weight_zero_is_least_squares(dense, randn):
    A, y = dense(), randn(4, 5)
    expected = torch.linalg.lstsq(A.matrix, y.reshape(-1, 1)).solution.reshape(3, 4)
    torch.testing.assert_close(tv_reconstruct(A, y, 0.0, 2000), expected, atol=1e-6, rtol=0)


def test_the_identity_operator_gives_the_tv_prox(randn):
    y = randn(2, 10, 12)
    expected = prox_tv(y, 0.4, 3000)
    torch.testing.assert_close(tv_reconstruct(identity(10, 12), y, 0.4, 100), expected, atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=6)
@given(st.floats(0.05, 2), st.booleans(), st.integers(0, 10**6))
def test_no_nearby_image_has_a_lower_objective(weight, nonneg, seed):
    A = identity_plus_shift(5, 6)
    y = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = tv_reconstruct(A, y, weight, 400, nonneg=nonneg)
    nearby = x + 0.02 * torch.randn(300, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
    nearby = nearby.clamp_min(0) if nonneg else nearby
    assert (tv_objective(A, nearby, y, weight) > tv_objective(A, x, y, weight) - 1e-9).all()


def test_optimality_on_a_smooth_stretch(dense, randn):
    """Where no difference vanishes TV is smooth, so the gradient of the whole objective must vanish."""
    A, x_true = dense(), torch.arange(12, dtype=torch.float64).reshape(3, 4) ** 1.3
    y = A(x_true)
    x = tv_reconstruct(A, y, 1e-2, 1500, prox_iters=10).requires_grad_()
    (slope,) = torch.autograd.grad(tv_objective(A, x, y, 1e-2).sum(), x)
    assert slope[:-1, :-1].abs().max() < 1e-4


def test_the_objective_never_rises_and_batches_are_independent(randn):
    A = Projector(ParallelBeam(Volume((16, 16)), 8, 24, 1.0), backend="sparse")
    truth = torch.zeros(2, 16, 16, dtype=torch.float64)
    truth[0, 4:12, 5:10], truth[1, 2:6] = 1.0, 3.0
    y = A(truth) + 0.3 * randn(2, 8, 24)
    weight = torch.tensor([0.1, 1.0], dtype=torch.float64).view(2, 1, 1)
    values = []
    x = tv_reconstruct(
        A, y, weight, 60, nonneg=True, callback=lambda k, x: values.append(tv_objective(A, x, y, weight))
    )
    history = torch.stack(values).flatten(1)
    assert (history[1:] <= history[:-1] * (1 + 1e-12)).all()
    assert x.min() >= 0
    assert (total_variation(x) < 0.8 * total_variation(tv_reconstruct(A, y, 0.0, 60))).all()
    single = tv_reconstruct(A, y[1], 1.0, 60, nonneg=True)
    torch.testing.assert_close(x[1], single, atol=1e-8, rtol=0)


def test_a_volume_from_a_cone_beam_with_a_weight_per_volume(randn):
    A = Projector(
        ConeBeam(Volume((6, 8, 8)), 6, 14, 1.5, num_rows=10, source_origin_mm=30.0, source_detector_mm=45.0),
        backend="sparse",
    )
    truth = torch.zeros(6, 8, 8, dtype=torch.float64)
    truth[2:4, 2:6, 3:6] = 1.0
    y, values = (A(truth) + 0.3 * randn(*A.range_shape)).expand(2, -1, -1, -1), []
    weight = torch.tensor([0.05, 1.0], dtype=torch.float64).view(2, 1, 1, 1)
    x = tv_reconstruct(A, y, weight, 40, callback=lambda k, x: values.append(tv_objective(A, x, y, weight)))
    history = torch.stack(values)
    assert history.shape == (40, 2, 1, 1, 1)
    assert (history[1:] <= history[:-1] * (1 + 1e-12)).all()
    assert total_variation(x[1], 3) < total_variation(x[0], 3)
    torch.testing.assert_close(x[1], tv_reconstruct(A, y[1], 1.0, 40), atol=1e-8, rtol=0)


def test_large_weights_flatten_and_negative_ones_are_refused(dense, randn):
    A, y = dense(), randn(4, 5)
    x = tv_reconstruct(A, y, 1e3, 500)
    assert total_variation(x) < 1e-6
    with pytest.raises(ArgumentError, match="weight"):
        tv_reconstruct(A, y, -1.0)


def test_tv_reconstruction_is_differentiable(dense, randn):
    y = randn(4, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: tv_reconstruct(dense(), t, 0.2, 4, norm=9.0), y)
