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


def filled(y: Tensor) -> Tensor:
    """Which columns hold more than noise on average: (B, V, R, U) -> bool (U,)."""
    means, noise = y.mean((1, 2)), _noise(y) if y.shape[-1] > 2 else 0 * y[:, 0, 0, :1]
    noise = torch.cat([noise[:, :1], noise, noise[:, -1:]], 1)[:, : y.shape[-1]]
    error, peak = noise / (y.shape[1] * y.shape[2]), means.abs().amax(1, keepdim=True)
    return _exceeds(means, error, peak).any(0)


def truncated(y: Tensor) -> tuple[bool, bool]:
    """Whether the first and the last column see an object in some block of views and rows: (B, V, R, U)."""
    blocks = min(16, y.shape[1]), min(8, y.shape[2])
    peak = y.mean((1, 2)).abs().amax(1)[:, None, None]
    found = []
    for end in (y[..., :3], y[..., -3:].flip(-1)):
        noise = _noise(end)[:, None] if end.shape[-1] > 2 else 0 * peak
        error = noise * (blocks[0] * blocks[1] / (y.shape[1] * y.shape[2]))
        found.append(bool(_exceeds(F.adaptive_avg_pool2d(end[..., 0], blocks), error, peak).any()))
    return found[0], found[1]


def _noise(y: Tensor) -> Tensor:
    """Variance of the noise, from second differences along the row: (B, V, R, U) -> (B, U - 2)."""
    return y.diff(n=2).square().mean((1, 2)) / 6


def _exceeds(means: Tensor, error: Tensor, peak: Tensor) -> Tensor:
    return (means.abs() > LEVEL * peak) & (means.square() > SIGMAS**2 * error)


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
