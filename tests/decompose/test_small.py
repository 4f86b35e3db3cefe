import pytest
import torch

from ctlib.decompose import small


def random_pairs(num, size=50):
    g = torch.Generator().manual_seed(num)
    root = torch.randn(size, num, num, dtype=torch.float64, generator=g)
    dense = root @ root.mT + 0.1 * torch.eye(num)
    rows, cols = torch.triu_indices(num, num)
    return dense, dense[:, rows, cols], torch.randn(size, num, dtype=torch.float64, generator=g)


@pytest.mark.parametrize("num", [1, 2, 3, 4])
def test_closed_forms_are_linear_algebra(num):
    dense, pairs, rhs = random_pairs(num)
    torch.testing.assert_close(small.full(pairs), dense)
    torch.testing.assert_close(small.solve(pairs, rhs), torch.linalg.solve(dense, rhs), rtol=1e-8, atol=1e-8)
    minors = torch.stack([torch.linalg.det(dense[:, :k, :k]) for k in range(1, num + 1)], -1)
    torch.testing.assert_close(small.leading_minors(pairs), minors)
    assert small.positive_definite(pairs, pairs).all()
    assert not small.positive_definite(-pairs, pairs).any()


@pytest.mark.parametrize("num", [2, 3])
def test_an_indefinite_matrix_is_seen(num):
    dense, pairs, _ = random_pairs(num)
    values, vectors = torch.linalg.eigh(dense)
    values[:, 0] = -0.1
    rows, cols = torch.triu_indices(num, num)
    bent = (vectors * values[:, None, :]) @ vectors.mT
    assert not small.positive_definite(bent[:, rows, cols], pairs).any()


def test_pinned_rows_leave_the_free_system():
    dense, pairs, rhs = random_pairs(3)
    free = torch.tensor([True, False, True]).expand(50, 3)
    x = small.solve(small.pinned(pairs, free), rhs * free)
    expected = torch.linalg.solve(dense[:, ::2, ::2], rhs[:, ::2])
    torch.testing.assert_close(x[:, ::2], expected)
    assert (x[:, 1] == 0).all()
    assert small.diagonal_pairs(pairs)[:, [1, 2, 4]].abs().max() == 0
