"""What a scan cannot show, told before it is reconstructed: missing lines and truncated rows."""

import warnings

import numpy as np
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, IncompleteScanWarning, TruncationWarning
from ctlib.geometry import ParallelBeam
from ctlib.recon._truncation import filled, plain, truncated
from ctlib.recon.redundancy import ScanWeights, scan_weights

TOLERATED = 1 / 12  # part of a column's lines that may be missing with a warning
BY_OFFSET = 1 / 36  # part of all lines, where a displaced detector leaves out half of those of some columns
NOTICED = 0.004  # part that is told
COARSE = np.pi / 3  # a view that stands for this much of a turn is told [rad]


def tell(geometry, y: Tensor, truncation: str, incomplete: str) -> tuple[bool, bool]:
    """Warn of what is missing in y (..., V, [R,] U), or refuse it; returns the ends where rows may be continued."""
    contract.choice("truncation", truncation, ("warn", "extrapolate", "ignore"))
    contract.choice("incomplete", incomplete, ("refuse", "warn"))
    weights = scan_weights(geometry)
    y = plain(y).reshape(-1, geometry.num_views, *geometry.sino_shape[1:-1] or (1,), geometry.num_cols)
    if y.numel() and weights.missing.max() > NOTICED:
        needed = filled(y).cpu().numpy()
        _tell_missing(geometry, weights, needed if needed.any() else ~needed, incomplete)
    _tell_coarse(geometry, weights)
    ends = weights.open_ends
    if y.numel() and truncation == "warn":
        cut = [name for name, end, on in zip(("first", "last"), ends, truncated(y), strict=True) if end and on]
        if cut:
            warnings.warn(
                f"y: the object reaches beyond the {' and '.join(cut)} column, truncated rows give wrong values near "
                "and within: truncation='extrapolate' continues them, 'ignore' is silent",
                TruncationWarning,
                stacklevel=3,
            )
    return ends


def _tell_coarse(geometry, weights: ScanWeights) -> None:
    share = float(weights.views.max() / weights.views.sum()) * (np.pi if type(geometry) is ParallelBeam else 2 * np.pi)
    if share >= COARSE * (1 - 1e-9):
        given = f"a view that stands for {np.degrees(share):.3g} degrees"
        warnings.warn(f"angles: got {given}, an image needs views from many sides", IncompleteScanWarning, stacklevel=4)


def _tell_missing(geometry, weights: ScanWeights, columns: np.ndarray, incomplete: str) -> None:
    missing, by_angles = weights.missing[columns], weights.by_angles[columns]
    by_offset = bool((missing > by_angles + TOLERATED).any())
    part = float(missing.mean() if by_offset else missing.max())
    if part <= NOTICED:
        return
    largest = sorted(np.degrees(weights.gaps).tolist(), key=lambda gap: -gap[1])[:3]
    places = ", ".join(f"{size:.3g} degrees after the view at {place % 360:.4g}" for place, size in largest)
    given = f"views that miss {100 * part:.2g} % of the lines" + f" (gaps: {places})" * bool(places)
    name, needed = "angles", "views of every line: half a turn, for a fan with the fan's angle on top"
    if by_offset:
        name, given = "detector_offset_mm", f"{geometry.detector_offset_mm:g} and {given}"
        needed = "a whole turn, or a detector that covers both sides of the object"
    if part > (BY_OFFSET if by_offset else TOLERATED) and incomplete == "refuse":
        raise ArgumentError(name, given, f"{needed}; or incomplete='warn'")
    warnings.warn(f"{name}: got {given}, a whole image needs {needed}", IncompleteScanWarning, stacklevel=4)
