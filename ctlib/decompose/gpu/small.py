"""Symmetric systems of two or three unknowns in Triton: `decompose.small` for a block of pixels, one per lane.

A matrix is a tuple of the vectors of its pairs, ordered 11, 12, ... 1M, 22, ...; M is a constant of the kernel.
"""

import triton
import triton.language as tl

from ctlib.decompose import small

DEFINITE = tl.constexpr(small.DEFINITE)


@triton.jit
def solve(m, b, M: tl.constexpr):
    """x (M) with B x = b, by the adjugate."""
    if M == 2:
        det = m[0] * m[2] - m[1] * m[1]
        return (m[2] * b[0] - m[1] * b[1]) / det, (m[0] * b[1] - m[1] * b[0]) / det
    else:
        c00, c01, c02 = m[3] * m[5] - m[4] * m[4], m[2] * m[4] - m[1] * m[5], m[1] * m[4] - m[2] * m[3]
        c11, c12, c22 = m[0] * m[5] - m[2] * m[2], m[1] * m[2] - m[0] * m[4], m[0] * m[3] - m[1] * m[1]
        det = m[0] * c00 + m[1] * c01 + m[2] * c02
        first, second = c00 * b[0] + c01 * b[1] + c02 * b[2], c01 * b[0] + c11 * b[1] + c12 * b[2]
        return first / det, second / det, (c02 * b[0] + c12 * b[1] + c22 * b[2]) / det


@triton.jit
def leading_minors(m, M: tl.constexpr):
    """Determinants of the upper left 1 x 1, ... M x M blocks."""
    if M == 2:
        return m[0], m[0] * m[2] - m[1] * m[1]
    else:
        whole = m[0] * (m[3] * m[5] - m[4] * m[4]) - m[1] * (m[1] * m[5] - m[2] * m[4])
        return m[0], m[0] * m[3] - m[1] * m[1], whole + m[2] * (m[1] * m[4] - m[2] * m[3])


@triton.jit
def inverse_diagonal(m, M: tl.constexpr):
    """Diagonal of the inverse (M)."""
    if M == 2:
        det = m[0] * m[2] - m[1] * m[1]
        return m[2] / det, m[0] / det
    else:
        det = leading_minors(m, M)[2]
        return (m[3] * m[5] - m[4] * m[4]) / det, (m[0] * m[5] - m[2] * m[2]) / det, (m[0] * m[3] - m[1] * m[1]) / det


@triton.jit
def positive_definite(m, reference, M: tl.constexpr):
    """Where every leading minor exceeds a thousandth of that of a positive definite reference."""
    ours, theirs = leading_minors(m, M), leading_minors(reference, M)
    sound = ours[0] > DEFINITE * tl.maximum(theirs[0], 0.0)
    for k in tl.static_range(1, M):
        sound = sound & (ours[k] > DEFINITE * tl.maximum(theirs[k], 0.0))
    return sound


@triton.jit
def pinned(m, free, M: tl.constexpr):
    """Rows and columns of the components that are not free replaced by those of the identity."""
    out = ()
    for k in tl.static_range(M):
        for l in tl.static_range(k, M):
            out = out + (tl.where(free[k] & free[l], m[len(out)], 1.0 if k == l else 0.0),)
    return out


@triton.jit
def with_ridge(m, reference, ridge, M: tl.constexpr):
    """m + ridge times the diagonal of a reference."""
    out = ()
    for k in tl.static_range(M):
        for l in tl.static_range(k, M):
            out = out + ((m[len(out)] + ridge * reference[len(out)]) if k == l else m[len(out)],)
    return out
