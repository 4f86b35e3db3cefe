"""How many photons the paper's scan had, read off its own baseline: FBP's row of Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.evaluation import rod_errors
from ctlib.papers.spectral2spectral.scan import simulate
from ctlib.papers.spectral2spectral.scene import ScannedScene, calibrated
from ctlib.recon import fbp

PAPER = {  # Table 1 of {cite}`guo2022`: RMSE of aluminium [1], water and iodine [g/cm3] in their rods
    "FBP": (0.0967, 0.1392, 0.0056),
    "TV": (0.0832, 0.1201, 0.0057),
    "Noise2Sim": (0.0687, 0.1005, 0.0031),
    "Noise2Noise": (0.0747, 0.1233, 0.0018),
    "low-rank": (0.0525, 0.1126, 0.0015),
    "Spectral2Spectral": (0.0502, 0.0982, 0.0013),
}
COUNTS = tuple(float(f"{10 ** (k / 2):.2g}") for k in range(6, 13))  # 1e3 to 1e6


@dataclass(frozen=True, eq=False)
class DoseFit:
    """FBP's errors against photons, and where they pass those of a row.

    counts, errors  photons of an open-beam reading (N,), RMSE (N, 3) in the rods of aluminium, water and iodine
    target          the row (3,)
    each, joint     photons at which each material's error is the row's (NaN: outside the range), and those at which
                    the three together are nearest to it, in the mean square of their logarithms
    left            error at `joint` over the row's, (3,)
    """

    counts: np.ndarray
    errors: np.ndarray
    target: np.ndarray
    each: np.ndarray
    joint: float
    left: np.ndarray


def fit_dose(counts: Sequence[float], errors: np.ndarray, target: Sequence[float]) -> DoseFit:
    """Read a row of RMSE off curves of errors (N, 3) at rising numbers of photons (N,), linear in the logarithms.

    The joint number is rounded to two digits, so that it is the same on every machine.
    """
    at, errors, target = (np.asarray(v, dtype=float) for v in (counts, errors, target))
    shapes = (len(at), len(target)) if at.ndim == target.ndim == 1 else None
    if errors.shape != shapes or len(at) < 2 or not ((at > 0).all() and (np.diff(at) > 0).all()):
        raise ArgumentError("counts, errors", (at.shape, errors.shape), "(N,) rising above 0, (N, M), for M targets")
    if not ((errors > 0).all() and (target > 0).all()):
        raise ArgumentError("errors, target", "values <= 0 or NaN", "positive numbers")
    fine = np.linspace(np.log(at[0]), np.log(at[-1]), 2001)
    curves = np.stack([np.interp(fine, np.log(at), np.log(e)) for e in errors.T])  # (M, 2001)
    off = curves - np.log(target)[:, None]
    best = int((off**2).sum(0).argmin())
    each = [np.exp(fine[np.argmax(o <= 0)]) if o[0] > 0 >= o.min() else np.nan for o in off]
    joint = float(f"{np.exp(fine[best]):.2g}")
    return DoseFit(at, errors, target, np.array(each), joint, np.exp(off[:, best]))


def fbp_errors(
    n: int, views: int, num_slices: int, counts: Sequence[float], seed: int, window: str = "ram-lak",
    mode: str = "poisson",
) -> np.ndarray:  # fmt: skip
    """RMSE (N, 3) of FBP in the rods at numbers of photons (N,); mode as of `bin_counts`."""
    counts = contract.numbers("counts", counts, len(counts))
    scans = [simulate("rods", n, views, num_slices, c, seed, mode=mode) for c in counts]
    matrix = calibrated(scans[0])
    found = []
    for scan in scans:
        y = scan.line_integrals()
        x = fbp(scan.A, y, window=window)
        found.append(rod_errors(ScannedScene(scan.A, y, x, x[:, :1], seed, matrix, scan=scan), x))
    return np.stack(found)
