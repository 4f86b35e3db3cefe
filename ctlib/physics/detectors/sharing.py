"""Charge sharing between pixels and electronic noise: from deposited to registered energy."""

import math

import torch
from torch import Tensor

LEAST_SHARE = 0.5 * math.erfc(4 / math.sqrt(2))  # a cloud further than 4 standard deviations away leaves nothing


def above_noise(thresholds_kev: Tensor, energies_kev: Tensor, noise_kev: Tensor) -> Tensor:
    """Probability (..., D, C) that an energy (C,) with Gaussian noise is registered above a threshold (..., D)."""
    distance = (thresholds_kev[..., None] - energies_kev) / noise_kev
    return 0.5 * torch.erfc(distance / math.sqrt(2))


def counts_above(share: Tensor, cloud_mm: Tensor, pitch_mm: Tensor) -> Tensor:
    """Extra counts per event above a share u = D / E of the deposit, without noise.

        2 sigma / w z,    z = Phi^-1(1 - u)

    sigma  standard deviation of the charge cloud, w pitch of the strips; negative for u > 1/2, counts that are lost
    """
    u = share.clamp(LEAST_SHARE, 1 - LEAST_SHARE)
    return -2 * cloud_mm / pitch_mm * torch.special.ndtri(u)


def whole_share(cloud_mm: Tensor, pitch_mm: Tensor) -> Tensor:
    """Share of the events whose whole charge goes to one pixel: those further than 4 sigma from both edges."""
    return 1 - 8 * cloud_mm / pitch_mm


def shared_counts(deposits_kev: Tensor, grid_kev: Tensor, cloud_mm: Tensor, pitch_mm: Tensor) -> Tensor:
    """Counts (J, C) per deposit (J,) whose collected energy lies in the cell around each grid node (C,).

    Events near an edge only, in this pixel and its two neighbors; those of `whole_share` are not in it. Rows sum to
    16 sigma / w, one count on either side of each edge. grid_kev is uniform and starts at 0.
    """
    step = grid_kev[1] - grid_kev[0]
    edges = torch.cat([grid_kev[:1], grid_kev + step / 2])
    above = counts_above(edges / deposits_kev[:, None].clamp_min(1e-9), cloud_mm, pitch_mm)
    return above[:, :-1] - above[:, 1:]
