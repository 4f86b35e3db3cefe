"""Few energies that stand for all: spectra with most entries 0 that give the counts of a region of path lengths.

Counts are sums over energies of smooth functions of the energy, and a quadrature of a few well-placed nodes gives such
sums as well as a hundred: for two materials, float32 cannot tell 50 energies from the 100 of a spectrum.
"""

import importlib.util
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.physics.moments import moment_tables, moments, transmission

NOTHING = 1e-12  # share of all counts below which a bin counts nothing
FAINT = 1e-30  # share of a bin's counts that a sample must leave to tell of the energies
ROUGH, FINE = 3e-5, 3e-8  # relative errors of counts: while steps are long, and less than float32 has
ERRORS = 3e-7, 3e-6, 3e-5  # of counts, first and second derivatives that `stand_in` may make, of their own


@dataclass(frozen=True, eq=False)
class StandIn:
    """spectra (N, E) of a few energies in place of all, for path lengths between low and high (M,)."""

    spectra: Tensor
    low: Tensor
    high: Tensor


def counting(spectra: Tensor) -> Tensor:
    """Whether a bin (..., E) counts anything of the spectrum that is worth the name."""
    open_beam = spectra.sum(-2)
    return open_beam > NOTHING * open_beam.sum(-1, keepdim=True)


def few_energies(spectra: Tensor, through: Tensor, counts: Tensor, error: float) -> Tensor | None:
    """Spectra (N, E) of a few energies that stand for all, 0 for the others: counts of the samples right to an error.

    through (P, N) transmissions, counts (P, E). Nonnegative least squares of the relative errors is content with few
    energies; components of the transmissions that are too small to matter are left out. None without SciPy, or an end.
    """
    if importlib.util.find_spec("scipy") is None:
        return None
    from scipy.optimize import nnls

    few = torch.zeros_like(spectra)
    for i in torch.nonzero(counting(spectra))[:, 0].tolist():
        counted = torch.nonzero(spectra[:, i] > NOTHING * spectra[:, i].sum())[:, 0]
        seen = counts[:, i] > FAINT * spectra[:, i].sum()
        shares = through[seen][:, counted] * spectra[counted, i] / counts[seen, i : i + 1]
        left, size, right = torch.linalg.svd(shares, full_matrices=False)
        keep = size > error * size[0]
        try:
            weights, _ = nnls((size[keep, None] * right[keep]).numpy(), (left[:, keep].T @ shares.sum(1)).numpy())
        except RuntimeError:  # did not come to an end
            return None
        few[counted, i] = torch.from_numpy(weights) * spectra[counted, i]
    return few


def stand_in(spectra: Tensor, attenuation: Tensor, low: Tensor, high: Tensor) -> StandIn | None:
    """Few energies for all path lengths between low and high (M,); None where they err by more than `ERRORS`."""
    paths = _grid(low, high, {1: 200, 2: 40, 3: 14}.get(len(low), 8))
    through = transmission(paths, attenuation)
    few = few_energies(spectra, through, through @ spectra, FINE)
    between = _grid(low, high, {1: 333, 2: 31, 3: 11}.get(len(low), 7))
    if few is None:
        return None
    both = (moments(between, attenuation, moment_tables(attenuation, s)) for s in (spectra, few))
    for right, found, error in zip(*both, ERRORS, strict=True):
        if bool(((found - right).abs() > error * right.abs()).any()):
            return None
    return StandIn(few, low, high)


def _grid(low: Tensor, high: Tensor, num: int) -> Tensor:
    """A grid (P, M) over a region, finer towards its faces."""
    t = torch.sin(torch.linspace(-torch.pi / 2, torch.pi / 2, num).to(low))
    axes = [(a + b) / 2 + (b - a) / 2 * t for a, b in zip(low, high, strict=True)]
    return torch.cartesian_prod(*axes).reshape(-1, len(low))
