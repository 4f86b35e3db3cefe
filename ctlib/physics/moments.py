"""Counts, their Jacobian and their second derivatives in the path lengths, from one matrix product."""

import torch
from torch import Tensor

from ctlib.errors import ArgumentError


def moment_tables(attenuation: Tensor, spectra: Tensor) -> Tensor:
    """Weights (..., N, C E) of the transmission in counts, Jacobian and second derivatives of every bin.

        [1, -f_1, ... -f_M, f_1 f_1, f_1 f_2, ... f_M f_M]  x  S_i,    C = 1 + M + M (M + 1) / 2

    attenuation f  (N, M) [cm2/g];  spectra S  (..., N, E) photons that each bin counts without an object
    """
    f, (rows, cols) = attenuation, torch.triu_indices(attenuation.shape[1], attenuation.shape[1])
    basis = torch.cat([torch.ones_like(f[:, :1]), -f, f[:, rows] * f[:, cols]], 1)  # (N, C)
    return (basis[:, :, None] * spectra[..., None, :]).flatten(-2)


def transmission(paths: Tensor, attenuation: Tensor) -> Tensor:
    """exp(-f A): share of the photons of each energy (..., N) that passes path lengths A (..., M) [g/cm2]."""
    return torch.exp(-paths @ attenuation.T)


def product(left: Tensor, tables: Tensor) -> Tensor:
    """Tensor (..., N) times tables (N, C) or (..., N, C), one matrix product for each different table.

    Leading axes of the tables line up with the last leading axes of `left`; axes of length one share their table.
    """
    if tables.ndim == 2:
        return left @ tables
    lead = left.shape[:-1]
    own = (1,) * (len(lead) + 2 - tables.ndim) + tables.shape[:-2]
    if len(own) != len(lead) or any(n not in (1, size) for n, size in zip(own, lead, strict=True)):
        raise ArgumentError(
            "thresholds_kev", f"leading axes {tuple(tables.shape[:-2])}", f"ones that fit {tuple(lead)}"
        )
    order = [i for i, n in enumerate(own) if n > 1] + [i for i, n in enumerate(own) if n == 1]
    moved = left.permute(*order, len(lead))  # axes with their own table first
    out = moved.reshape(tables.shape[:-2].numel(), -1, left.shape[-1]) @ tables.reshape(-1, *tables.shape[-2:])
    back = sorted(range(len(order)), key=order.__getitem__)
    return out.reshape(*moved.shape[:-1], -1).permute(*back, len(lead))


def moments(paths: Tensor, attenuation: Tensor, tables: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Counts (..., E), Jacobian (..., M, E) and second derivatives (..., M (M + 1) / 2, E) at path lengths (..., M).

    tables  of `moment_tables`; the pairs of materials are ordered 11, 12, ... 1M, 22, ...
    """
    num = attenuation.shape[1]
    parts = 1 + num + num * (num + 1) // 2
    out = product(transmission(paths, attenuation), tables).unflatten(-1, (parts, -1))
    return out[..., 0, :], out[..., 1 : 1 + num, :], out[..., 1 + num :, :]


def unpack_pairs(packed: Tensor, num: int) -> Tensor:
    """Symmetric (..., M, M, E) from its pairs (..., M (M + 1) / 2, E)."""
    rows, cols = torch.triu_indices(num, num)
    index = torch.empty(num, num, dtype=torch.long)
    index[rows, cols] = index[cols, rows] = torch.arange(len(rows))
    return packed[..., index.to(packed.device), :]
