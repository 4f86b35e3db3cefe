"""Where to measure: bone and vessels of the mouse, walls of the rods, and what to measure there."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.specimens import ALUMINIUM


def _densities(t: Tensor) -> Tensor:
    """Densities (Z, 3, Y, X) without NaN, which would lie outside every region unseen."""
    if contract.tensor("densities", t, (3, "Y", "X")).ndim != 4 or not t.numel() or bool(t.isnan().any()):
        raise ArgumentError("densities", f"shape {tuple(t.shape)}", "numbers (Z, 3, Y, X)")
    return t


def bone_regions(densities: Tensor, least: float = 0.8) -> tuple[Tensor, Tensor]:
    """Bool masks (Z, 1, Y, X) of bone and of soft tissue next to it, from true densities (Z, 3, Y, X) [g/cm3].

    least  aluminium-equivalent density from which a voxel counts as bone
    """
    densities, least = _densities(densities), contract.number("least", least)
    bone = densities[:, :1] >= least
    near = torch.nn.functional.max_pool2d(bone.float(), 7, 1, 3) > 0
    soft = (densities[:, :1].abs() < 0.02) & (densities[:, 1:2] > 0.9)
    return bone, near & soft


def vessel_region(densities: Tensor, least: float = 0.004) -> Tensor:
    """Bool mask (Z, 1, Y, X) of the voxels with at least this much iodine [g/cm3]."""
    return _densities(densities)[:, 2:3] >= contract.number("least", least)


def slopes(x: Tensor) -> Tensor:
    """Central differences (2, ..., Y, X) per pixel along y and x; 0 across the border."""
    x = contract.tensor("x", x, ("Y", "X"))
    g = torch.zeros(2, *x.shape, dtype=x.dtype, device=x.device)
    g[0, ..., 1:-1, :] = (x[..., 2:, :] - x[..., :-2, :]) / 2
    g[1, ..., :, 1:-1] = (x[..., :, 2:] - x[..., :, :-2]) / 2
    return g


def edge_gradient(x: Tensor, truth: Tensor) -> float:
    """Slope of x across the edges of the truth, relative to the truth's: 1 for the truth, less where it is blurred.

        sum g_x . g_t / sum g_t . g_t    over pixels where |g_t| exceeds half its maximum

    Noise, which does not know where the edges are, averages out.
    """
    x, truth = contract.together(("Y", "X"), x=x, truth=truth)
    if x.shape != truth.shape or not x.numel() or bool(truth.isnan().any()):
        raise ArgumentError("x, truth", f"shapes {tuple(x.shape)}, {tuple(truth.shape)}", "equal ones, without NaN")
    g, g_true = slopes(x), slopes(truth)
    length = g_true.norm(dim=0)
    steep = length > 0.5 * length.amax()
    return float((g * g_true * steep).sum() / (g_true.square() * steep).sum())


def in_units(maps: Tensor) -> Tensor:
    """Densities (..., 3, Y, X) [g/cm3] as {cite:t}`guo2022` states them: aluminium as a share of the metal."""
    maps = contract.tensor("maps", maps, (3, "Y", "X"))
    return maps / torch.tensor([ALUMINIUM, 1.0, 1.0]).to(maps)[:, None, None]
