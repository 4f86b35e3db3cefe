"""Small operators with known answers, and random tensors."""

import pytest
import torch

from ctlib.linop import LinearOperator


class DenseImages(LinearOperator):
    """A dense matrix as an operator from images (Y, X) to data (V, U): small problems with known answers."""

    def __init__(self, matrix, domain_shape, range_shape):
        self.matrix, self.domain_shape, self.range_shape = matrix, domain_shape, range_shape

    def _apply(self, x):
        return (x.flatten(-2) @ self.matrix.T).unflatten(-1, self.range_shape)

    def _apply_adjoint(self, y):
        return (y.flatten(-2) @ self.matrix).unflatten(-1, self.domain_shape)


@pytest.fixture
def dense():
    """Overdetermined, non-negative, well conditioned: 20 x 12, images (3, 4), data (4, 5)."""

    def build(seed=0, rows=(4, 5), cols=(3, 4)):
        g = torch.Generator().manual_seed(seed)
        m, n = rows[0] * rows[1], cols[0] * cols[1]
        matrix = torch.rand(m, n, dtype=torch.float64, generator=g) + torch.eye(m, n, dtype=torch.float64) * n / 2
        return DenseImages(matrix, cols, rows)

    return build


@pytest.fixture
def randn():
    def draw(*shape, seed=0):
        return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))

    return draw
