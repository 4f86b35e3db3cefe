"""First images, and data steps that are solved."""

import pytest
import torch

from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.spectral2spectral.splitting import coupling, data_solution, data_steps, split_reconstruct
from ctlib.papers.spectral2spectral.start import first_images
from ctlib.projector import Projector
from ctlib.recon import sirt

A = Projector(ParallelBeam(Volume((12, 12), 1.0), 14, 18, 1.0))


def some(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, Z = some(3, 12, 12), some(3, 12, 12, seed=1)
Y = A(some(3, 12, 12, seed=2))


def test_the_solution_is_where_the_data_steps_end():
    lam = coupling(A, 0.2, Y)
    found, count = data_solution(A, Y, X, Z, lam, 1e-9)
    torch.testing.assert_close(found, data_steps(A, Y, X, Z, lam, 400), rtol=0, atol=1e-7)
    assert 5 < count < 100
    again, count = data_solution(A, Y, found, Z, lam, 1e-6)
    assert count == 0
    assert torch.equal(again, found)


def test_every_image_is_solved_whatever_lies_beside_it():
    lam = coupling(A, 0.05, Y)
    alone = torch.cat([data_solution(A, Y[k : k + 1], X[k : k + 1], Z[k : k + 1], lam, 1e-10)[0] for k in range(3)])
    scaled = data_solution(A, Y * torch.tensor([1.0, 50.0, 0.02])[:, None, None], X, Z, lam, 1e-10)[0]
    torch.testing.assert_close(scaled[0], alone[0], rtol=0, atol=1e-7)


def test_a_solution_that_is_not_reached_is_told():
    with pytest.raises(ConvergenceError, match="after 2 iterations"):
        data_solution(A, Y, X, Z, coupling(A, 0.01, Y), 1e-8, max_iters=2)
    with pytest.raises(ArgumentError, match="lam"):
        data_solution(A, Y, X, Z, 0.0)


def test_first_images_are_linear_in_the_data():
    a, b = first_images(A, Y, tol=1e-10), first_images(A, 2 * Y.roll(1, 0), tol=1e-10)
    torch.testing.assert_close(first_images(A, Y + 2 * Y.roll(1, 0), tol=1e-10), a + b, rtol=0, atol=1e-6)
    assert torch.equal(first_images(A, Y, 7), sirt(A, Y, 7))


def test_a_split_that_solves_its_data_steps_does_not_depend_on_their_start():
    ends = [split_reconstruct(A, Y, lambda x, k: Z, x0, 1, rho=0.1, tol=1e-10).x for x0 in (X, 0 * X)]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-7)
