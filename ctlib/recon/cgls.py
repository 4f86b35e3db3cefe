"""CGLS: conjugate gradients on the normal equations."""

from collections.abc import Callable

import torch
from torch import Tensor

from ctlib.recon._common import inner, problem


def cgls(
    A, y: Tensor, num_iters: int = 20, x0: Tensor | None = None, callback: Callable[[int, Tensor], None] | None = None
) -> Tensor:
    """Least squares min |A x - y|^2 by conjugate gradients, {cite}`hestenes1952`: early iterates are smooth ones.

        r = y - A x,  s = A^T r,  p = s;    repeat:  q = A p,  a = |s|^2 / |q|^2,  x += a p,  r -= a q,
                                                     s' = A^T r,  p = s' + (|s'|^2 / |s|^2) p

    y   data (..., V, U); every leading index is a problem of its own with its own step lengths
    x0  start, zero by default (then the iterates tend to the least-squares solution of least norm)
    callback  called with (iteration, x) after every step

    A problem is solved, and stays where it is, when |A^T r| is the rounding of its own sum, 2 eps |A| |r|. Needs A.T to
    be the exact adjoint.
    """
    x, num_iters = problem(A, y, x0, num_iters)
    r = y - A(x) if x0 is not None else y
    s = p = A.T(r)
    image, data = len(A.domain_shape), len(A.range_shape)
    gamma, norm2 = inner(s, s, image), 0.0  # |A|^2 as far as the directions tell
    for k in range(num_iters):
        q = A(p)
        stretched = inner(q, q, data)
        norm2 = _ratio(stretched, inner(p, p, image)).detach().clamp_min(norm2)
        step = _ratio(gamma, stretched)
        x, r = x + step * p, r - step * q
        s = A.T(r)
        gamma, previous = inner(s, s, image), gamma
        rounding = (2 * torch.finfo(r.dtype).eps) ** 2 * norm2 * inner(r, r, data)
        gamma = gamma * (gamma > rounding)
        p = s + _ratio(gamma, previous) * p
        if callback is not None:
            callback(k + 1, x)
    return x


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0 (a problem already solved); the double `where` keeps gradients finite."""
    unsolved = b != 0  # NaN too
    return torch.where(unsolved, a / torch.where(unsolved, b, torch.ones_like(b)), torch.zeros_like(a))
