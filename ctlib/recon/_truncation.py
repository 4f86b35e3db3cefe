"""Rows of readings that stop inside the object: noticed, and continued as if it were round."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam
from ctlib.linop import linear_map

LEVEL = 0.02  # a column whose mean is less than this part of the largest one's is empty
SIGMAS = 6.0  # and one whose mean is less than so many of its standard errors
FITTED = 16  # columns at the end of a row from which its slope is taken


def plain(y: Tensor) -> Tensor:
    """The values of a tensor, within transforms of `torch.func` too: no graph, mapped axes first."""
    seen = []
    linear_map(y.detach(), lambda t: seen.append(t) or t, lambda t: t)
    return seen[0]


def filled(y: Tensor, columns: slice | list[int] = slice(None), blocks: tuple[int, int] = (1, 1)) -> Tensor:
    """Which columns hold more than noise, in some block of views and rows: (B, V, R, U) -> bool (columns,).

    The noise is that of the second differences along the row.
    """
    pooled = F.adaptive_avg_pool3d(y[..., columns], (*blocks, None))
    peak = y.mean((1, 2), keepdim=True).abs().amax(-1, keepdim=True)
    noise = y.diff(n=2).square().mean((1, 2), keepdim=True) / 6 if y.shape[-1] > 2 else 0 * y[:, :1, :1, :1]
    noise = torch.cat([noise[..., :1], noise, noise[..., -1:]], -1)[..., : y.shape[-1]][..., columns]
    error = noise * (blocks[0] * blocks[1] / (y.shape[1] * y.shape[2]))
    return ((pooled.abs() > LEVEL * peak) & (pooled.square() > SIGMAS**2 * error)).flatten(0, 2).any(0)


def truncated(y: Tensor) -> tuple[bool, bool]:
    """Whether the first and the last column see an object in some of the views and rows: (B, V, R, U)."""
    first, last = filled(y, [0, -1], (min(16, y.shape[1]), min(8, y.shape[2]))).tolist()
    return first, last


def continued(y: Tensor, geometry: ParallelBeam | FanBeam | ConeBeam, sides: tuple[bool, bool]):
    """Readings of a detector with U more columns on each of these sides, and its geometry.

        p(k)^2 = p(0)^2 - c k (k + U - 1)    k columns beyond the end, as long as it is positive

    The object goes on as a disc around the row's middle, c from the slope of p^2 at the end, {cite}`hsieh2004`.
    """
    before, after = (geometry.num_cols * on for on in sides)
    parts = [_beyond(y.flip(-1), before).flip(-1)] * (before > 0) + [y] + [_beyond(y, after)] * (after > 0)
    return torch.cat(parts, -1), geometry.wider(before, after)


def _beyond(y: Tensor, num: int) -> Tensor:
    """The next columns of rows (..., U): (..., num)."""
    width, size = y.shape[-1], min(FITTED, y.shape[-1])
    x = torch.arange(size, dtype=y.dtype, device=y.device) - (size - 1) / 2
    slope = (x * y[..., -size:].square()).sum(-1, keepdim=True) / x.square().sum().clamp_min(1)
    last, k = y[..., -1:], torch.arange(1, num + 1, dtype=y.dtype, device=y.device)
    square = last.square().clamp_min(torch.finfo(y.dtype).tiny)
    bend = torch.maximum(-slope / max(1, width - size), square / num**2)
    rest = 1 - bend / square * k * (k + width - 1)
    inside = rest > 0
    return last * torch.where(inside, torch.where(inside, rest, 1.0).sqrt(), 0.0)
