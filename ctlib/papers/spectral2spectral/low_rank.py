"""Non-local spectral low-rank prior: similar cubes of an image and its spectrum, thresholded as one tensor.

A stand-in for SISTER, of which neither text nor code is open: it keeps the published idea (non-local spectral-image
tensors of low rank) in the form of {cite}`wu2018`, with a hard threshold of the higher-order singular value
decomposition, {cite}`rajwade2013`, for the prior.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.noise_level import noise_level


def hosvd_threshold(groups: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """Groups (G, K, P, E) with the coefficients below tau of their higher-order singular vectors set to zero.

    Also the weight (G,) of each group, 1 / (number of coefficients kept): groups of simple structure count more.
    """
    tau, groups = contract.number("tau", tau, at_least=0), contract.tensor("groups", groups, ("G", "K", "P", "E"))
    if groups.ndim != 4 or not groups.numel() or not bool(groups.isfinite().all()):
        raise ArgumentError("groups", f"shape {tuple(groups.shape)}", "finite numbers (G, K, P, E)")
    first = _vectors(torch.einsum("gkpe,gape->gka", groups, groups))
    second = _vectors(torch.einsum("gkpe,gkae->gpa", groups, groups))
    third = _vectors(torch.einsum("gkpe,gkpa->gea", groups, groups))
    core = torch.einsum("gkpe,gka,gpb,gec->gabc", groups, first, second, third)
    kept = core.abs() > tau
    core = torch.where(kept, core, 0.0)
    return torch.einsum("gabc,gka,gpb,gec->gkpe", core, first, second, third), 1 / kept.sum((1, 2, 3)).clamp_min(1).to(
        core
    )


def _vectors(gram: Tensor) -> Tensor:
    return torch.linalg.eigh(gram).eigenvectors


def _starts(size: int, patch: int, stride: int) -> Tensor:
    last = size - patch
    return torch.tensor(sorted({*range(0, last + 1, stride), last}))


def nearest_patches(patches: Tensor, rows: Tensor, cols: Tensor, grid: tuple[int, int], reach: int, num: int) -> Tensor:
    """Numbers (R, num) of the patches nearest to each reference in one row of references, within a square window.

    patches  (P, D) of all places of the grid, row by row;  rows  (1,), cols (R,) places of the references
    """
    top, bottom = max(0, int(rows) - reach), min(grid[0], int(rows) + reach + 1)
    candidates = torch.arange(top * grid[1], bottom * grid[1], device=patches.device)
    references = int(rows) * grid[1] + cols
    distance = torch.cdist(patches[references], patches[candidates])
    far = ((candidates % grid[1])[None, :] - cols[:, None]).abs() > reach
    return candidates[distance.masked_fill(far, torch.inf).topk(num, largest=False).indices]


def nonlocal_lowrank(
    x: Tensor, strength: float = 2.7, patch: int = 6, stride: int = 3, search: int = 21, num_similar: int = 30
) -> Tensor:
    """Denoise spectral images (Z, E, Y, X), slice by slice: group similar cubes, threshold, average back.

    strength  threshold in units of the noise, which is estimated in every bin;  search  window of the grouping, odd
    """
    strength = contract.number("strength", strength, at_least=0)
    counts = {"patch": patch, "stride": stride, "search": search, "num_similar": num_similar}
    patch, stride, search, num_similar = (contract.count(n, v, 1) for n, v in counts.items())
    x = contract.tensor("x", x, ("Z", "E", "Y", "X"))
    if not x.numel() or not bool(x.isfinite().all()):
        raise ArgumentError("x", f"shape {tuple(x.shape)} with values that are none", "finite images (Z, E, Y, X)")
    if x.ndim != 4 or min(x.shape[-2:]) < patch + 1 or search % 2 == 0 or stride > patch:
        given = tuple(x.shape), patch, search, stride
        raise ArgumentError("x, patch, search, stride", given, "(Z, E, Y, X) above patch, odd search, stride <= patch")
    sigma = noise_level(x).clamp_min(torch.finfo(x.dtype).eps)
    return torch.stack([_slice(s, strength, patch, stride, search // 2, num_similar) for s in x / sigma]) * sigma


def _slice(x: Tensor, tau: float, patch: int, stride: int, reach: int, num_similar: int) -> Tensor:
    bins, height, width = x.shape
    grid = (height - patch + 1, width - patch + 1)
    cubes = F.unfold(x[None], patch)[0].T.contiguous()  # (P, E patch^2)
    num = min(num_similar, (reach + 1) * (reach + 1), grid[0] * grid[1])
    total, weight = torch.zeros_like(cubes), cubes.new_zeros(len(cubes))
    cols = _starts(width, patch, stride).to(x.device)
    for row in _starts(height, patch, stride):
        members = nearest_patches(cubes, row, cols, grid, reach, num)
        groups = cubes[members].unflatten(-1, (bins, patch * patch)).transpose(-1, -2)  # (R, K, P, E)
        cleaned, trust = hosvd_threshold(groups, tau)
        cleaned = cleaned.transpose(-1, -2).flatten(-2) * trust[:, None, None]
        total.index_add_(0, members.flatten(), cleaned.flatten(0, 1))
        weight.index_add_(0, members.flatten(), trust[:, None].expand_as(members).flatten())
    image = F.fold(total.T[None], (height, width), patch)[0]
    share = F.fold((weight[:, None].expand(-1, patch * patch)).T[None].contiguous(), (height, width), patch)[0]
    return image / share.clamp_min(torch.finfo(x.dtype).tiny)
