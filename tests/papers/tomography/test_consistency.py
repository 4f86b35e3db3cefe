"""Misfit of projections."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.tomography.consistency import data_misfit
from ctlib.papers.tomography.losses import data_term
from ctlib.projector import Projector

A = Projector(ParallelBeam(Volume((12, 12), 2.0), 9, 14, 2.0))
G = torch.Generator().manual_seed(0)
X = torch.rand(3, 12, 12, generator=G, dtype=torch.float64)


def test_zero_for_the_image_itself_and_linear_in_the_error():
    y = A(X)
    assert float(data_misfit(A, X, y).max()) < 1e-12
    torch.testing.assert_close(data_misfit(A, X + 2.0, y), 2 * data_misfit(A, X + 1.0, y))
    assert float(data_misfit(A, X, y + 0.3)[1]) == pytest.approx(0.3)


def test_the_truth_has_one_in_units_of_the_noise():
    sigma = 0.05 + torch.rand(3, 9, 14, generator=G, dtype=torch.float64)
    y = A(X) + sigma * torch.randn(3, 9, 14, generator=G, dtype=torch.float64)
    found = data_misfit(A, X, y, sigma)
    assert float((found - 1).abs().max()) < 0.2
    torch.testing.assert_close(found.square().mean(), data_term(A(X), y, sigma))


def test_bad_input():
    with pytest.raises(ArgumentError, match="sigma"):
        data_misfit(A, X, A(X), torch.ones(3, 9, 13))
    with pytest.raises(ArgumentError, match="x, y"):
        data_misfit(A, X[:2], A(X))
