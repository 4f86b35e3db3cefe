"""Symmetric systems of two or three unknowns in closed form, one per pixel.

A matrix is stored by its pairs (..., K (K + 1) / 2), ordered 11, 12, ... 1K, 22, ...
"""

import torch
from torch import Tensor

DEFINITE = 1e-3  # a Hessian counts as positive definite from this share of the Fisher information's minors on


def num_unknowns(pairs: Tensor) -> int:
    """K of a matrix stored by its K (K + 1) / 2 pairs."""
    return int((8 * pairs.shape[-1] + 1) ** 0.5 - 1) // 2


def leading_minors(pairs: Tensor) -> Tensor:
    """Determinants (..., K) of the upper left 1 x 1, ... K x K blocks."""
    m = pairs.unbind(-1)
    if len(m) == 1:
        return pairs
    if len(m) == 3:
        return torch.stack([m[0], m[0] * m[2] - m[1] ** 2], -1)
    if len(m) == 6:
        first = m[0] * m[3] - m[1] ** 2
        whole = m[5] * first - m[0] * m[4] ** 2 + m[2] * (2 * m[1] * m[4] - m[2] * m[3])
        return torch.stack([m[0], first, whole], -1)
    dense = full(pairs)
    return torch.stack([torch.linalg.det(dense[..., :k, :k]) for k in range(1, dense.shape[-1] + 1)], -1)


def solve(pairs: Tensor, rhs: Tensor) -> Tensor:
    """x (..., K) with B x = rhs, by the adjugate: two or three unknowns in closed form."""
    m, b = pairs.unbind(-1), rhs.unbind(-1)
    if len(m) == 1:
        return rhs / pairs
    if len(m) == 3:
        det = m[0] * m[2] - m[1] ** 2
        return torch.stack([m[2] * b[0] - m[1] * b[1], m[0] * b[1] - m[1] * b[0]], -1) / det[..., None]
    if len(m) == 6:
        c00, c01, c02 = m[3] * m[5] - m[4] ** 2, m[2] * m[4] - m[1] * m[5], m[1] * m[4] - m[2] * m[3]
        c11, c12, c22 = m[0] * m[5] - m[2] ** 2, m[1] * m[2] - m[0] * m[4], m[0] * m[3] - m[1] ** 2
        det = m[0] * c00 + m[1] * c01 + m[2] * c02
        rows = ((c00, c01, c02), (c01, c11, c12), (c02, c12, c22))
        return torch.stack([sum(c * t for c, t in zip(row, b, strict=True)) for row in rows], -1) / det[..., None]
    return torch.linalg.solve(full(pairs), rhs)


def full(pairs: Tensor) -> Tensor:
    """Dense symmetric (..., K, K)."""
    num = num_unknowns(pairs)
    rows, cols = torch.triu_indices(num, num)
    index = torch.empty(num, num, dtype=torch.long)
    index[rows, cols] = index[cols, rows] = torch.arange(len(rows))
    return pairs[..., index.to(pairs.device)]


def pinned(pairs: Tensor, free: Tensor) -> Tensor:
    """Rows and columns of the components that are not free (..., K) replaced by those of the identity."""
    rows, cols = torch.triu_indices(free.shape[-1], free.shape[-1])
    kept = free[..., rows] & free[..., cols]
    return torch.where(kept, pairs, (rows == cols).to(pairs))


def diagonal_pairs(pairs: Tensor) -> Tensor:
    """The diagonal alone, as pairs."""
    rows, cols = torch.triu_indices(num_unknowns(pairs), num_unknowns(pairs))
    return torch.where((rows == cols).to(pairs.device), pairs, 0.0)


def positive_definite(pairs: Tensor, reference: Tensor) -> Tensor:
    """Where every leading minor exceeds a thousandth of that of a positive definite reference."""
    return (leading_minors(pairs) > DEFINITE * leading_minors(reference).clamp_min(0)).all(-1)
