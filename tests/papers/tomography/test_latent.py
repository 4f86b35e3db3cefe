"""Steps on the latent sphere: the norm, the law of the samples, problems whose minimum is known."""

import math

import pytest
import torch

from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.papers.tomography.latent import projected_gradient, random_sphere, sphere_step, to_sphere


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("radius", [None, 1.0, 3.5])
def test_the_norm_is_the_radius_and_stays_it(radius):
    want = math.sqrt(24) if radius is None else radius
    z = to_sphere(rand(3, 2, 3, 4), radius)
    moved, _ = projected_gradient(lambda v: v.flatten(1).pow(4).sum(1), z, 5, 0.01, radius)
    for point in (z, moved, sphere_step(z, rand(3, 2, 3, 4, seed=1), 0.3, radius)):
        assert point.flatten(1).norm(dim=1).tolist() == pytest.approx([want] * 3, rel=1e-12)
    assert torch.allclose(z / want, to_sphere(7 * z, 1.0))


def test_samples_cover_the_sphere_evenly():
    """Uniform over the sphere: mean 0, covariance I at radius sqrt(m), fourth moment 3 m / (m + 2)."""
    z = random_sphere((200_000, 4), torch.Generator().manual_seed(0), dtype=torch.float64)
    assert z.norm(dim=1).std() < 1e-12
    assert z.mean(0).abs().max() < 0.012
    assert (z.T @ z / len(z) - torch.eye(4)).abs().max() < 0.012
    assert float(z.pow(4).mean()) == pytest.approx(3 * 4 / 6, rel=0.01)
    again = random_sphere((200_000, 4), torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(z, again)


def test_a_quadratic_form_ends_at_its_lowest_eigenvector():
    matrix = rand(6, 6)
    matrix = matrix @ matrix.T
    values, vectors = torch.linalg.eigh(matrix)
    z, history = projected_gradient(lambda v: (v @ matrix * v).sum(1), rand(2, 6, seed=1), 4000, 0.02, 1.0)
    assert history[-1].tolist() == pytest.approx([float(values[0])] * 2, rel=1e-6, abs=1e-8)
    assert (z @ vectors[:, 0]).abs().tolist() == pytest.approx([1, 1], abs=1e-4)
    assert history.shape == (4001, 2)
    assert bool((history.diff(dim=0) <= 1e-12).all())


def test_a_step_is_the_riemannian_one_to_first_order():
    z, gradient = to_sphere(rand(1, 8), 1.0), rand(1, 8, seed=1)
    tangent = gradient - (gradient * z).sum() * z
    errors = [float((sphere_step(z, gradient, lr, 1.0) - z + lr * tangent).norm()) for lr in (1e-3, 1e-4)]
    assert errors[0] / errors[1] == pytest.approx(100, rel=0.02)


def test_the_step_length_grows_with_the_radius_squared():
    def objective(v):
        return (v / v.flatten(1).norm(dim=1)[:, None] - 1).pow(2).sum(1) + v[:, 0] / v.norm(dim=1)

    start = rand(2, 5)
    (a, ha), (b, hb) = (projected_gradient(objective, start, 20, 0.05 * r * r, r) for r in (1.0, 4.0))
    assert torch.allclose(4 * a, b, rtol=1e-9)
    assert torch.allclose(ha, hb, rtol=1e-9)


def test_samples_do_not_influence_each_other_and_callbacks_see_every_iterate():
    def objective(v):
        return v.pow(3).sum(1)

    z, seen = rand(3, 4), []
    together, history = projected_gradient(objective, z, 7, 0.01, callback=lambda k, v: seen.append((k, v.clone())))
    alone, _ = projected_gradient(objective, z[1:2], 7, 0.01)
    assert torch.allclose(together[1:2], alone)
    assert [k for k, _ in seen] == list(range(8))
    assert torch.equal(seen[-1][1], together)
    assert torch.allclose(objective(seen[3][1]), history[3])


def test_wrong_arguments_are_named():
    with pytest.raises(ArgumentError):
        to_sphere(torch.ones(3))
    with pytest.raises(ArgumentError):
        to_sphere(torch.ones(1, 3), 0.0)
    with pytest.raises(ArgumentError):
        projected_gradient(lambda v: v.sum(), torch.ones(2, 3), 1, 0.1)
    with pytest.raises(ConvergenceError):
        projected_gradient(lambda v: v.sum(1) * float("nan"), torch.ones(2, 3), 1, 0.1)
