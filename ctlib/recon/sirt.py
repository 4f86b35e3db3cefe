"""SIRT: simultaneous iterative reconstruction."""

from collections.abc import Callable

import torch
from torch import Tensor

from ctlib import contract
from ctlib.recon._common import problem


def sirt(
    A,
    y: Tensor,
    num_iters: int = 50,
    x0: Tensor | None = None,
    relaxation: float = 1.0,
    nonneg: bool = False,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Simultaneous iterative reconstruction, {cite}`gilbert1972` in the form of {cite}`gregor2008`.

        x <- x + relaxation C A^T R (y - A x),    R = 1 / (A 1),    C = 1 / (A^T 1)    (0 where the sum is 0)

    A           operator with non-negative entries; A(x), A.T(y), domain_shape, range_shape
    y           data (..., V, U); leading axes are reconstructed in one go
    x0          start, zero by default; without data (num_iters=0) it is returned
    relaxation  in (0, 2): the iteration matrix C A^T R A has its eigenvalues in [0, 1]
    nonneg      project onto x >= 0 after every step
    callback    called with (iteration, x) after every step
    """
    x, num_iters = problem(A, y, x0, num_iters)
    relaxation = contract.number("relaxation", relaxation, above=0, below=2)  # larger steps diverge
    R, C = sirt_scaling(A, y)
    for k in range(num_iters):
        x = x + relaxation * C * A.T(R * (y - A(x)))
        x = x.clamp_min(0) if nonneg else x
        if callback is not None:
            callback(k + 1, x)
    return x


def sirt_scaling(A, like: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column weights of SIRT, R = 1 / (A 1) and C = 1 / (A^T 1), 0 where a sum is 0; typed like `like`."""
    like = contract.tensor("like", like)
    rows = A(like.new_ones(tuple(A.domain_shape)))
    cols = A.T(like.new_ones(tuple(A.range_shape)))
    return tuple(torch.where(s > 0, 1 / s, s.new_zeros(())) for s in (rows, cols))
