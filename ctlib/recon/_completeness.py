"""What a scan cannot show, told before it is reconstructed: missing lines and truncated rows."""

import warnings

import numpy as np
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError, IncompleteScanWarning, TruncationWarning
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam
from ctlib.recon._truncation import filled, plain, truncated
from ctlib.recon.redundancy import ScanWeights, scan_weights

TOLERATED = 1 / 12  # part of a column's lines that may be missing with a warning
BY_OFFSET = 1 / 36  # part of all lines, where a displaced detector leaves out half of those of some columns
NOTICED = 0.004  # part that is told


def scan_of(A) -> ParallelBeam | FanBeam | ConeBeam:
    """The geometry of an operator, if it has one."""
    geometry = getattr(A, "geometry", A)
    if type(geometry) not in (ParallelBeam, FanBeam, ConeBeam):
        raise ArgumentError("A", type(geometry).__name__, "a ParallelBeam, FanBeam or ConeBeam geometry")
    return geometry


def tell(geometry, y: Tensor, truncation: str, incomplete: str) -> tuple[bool, bool]:
    """Warn of what is missing in y (..., V, [R,] U), or refuse it; returns the ends where rows may be continued."""
    contract.choice("truncation", truncation, ("warn", "extrapolate", "ignore"))
    contract.choice("incomplete", incomplete, ("refuse", "warn"))
    weights = scan_weights(geometry)
    y = plain(y).reshape(-1, geometry.num_views, *geometry.sino_shape[1:-1] or (1,), geometry.num_cols)
    if y.numel() and weights.missing.max() > NOTICED:
        needed = filled(y).cpu().numpy()
        missing = weights.missing[needed] if needed.any() else weights.missing
        _tell_missing(geometry, weights, float(missing.mean() if weights.by_offset else missing.max()), incomplete)
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


def _tell_missing(geometry, weights: ScanWeights, missing: float, incomplete: str) -> None:
    if missing <= NOTICED:
        return
    degrees = np.degrees(np.reshape(weights.gaps, (-1, 2)))
    largest = sorted(degrees.tolist(), key=lambda gap: -gap[1])[:3]
    places = ", ".join(f"{size:.3g} degrees after the view at {place:.4g}" for place, size in largest)
    given = f"views that miss {100 * missing:.2g} % of the lines (gaps: {places or 'none'})"
    name, needed = "angles", "views of every line: half a turn, for a fan with the fan's angle on top"
    if weights.by_offset:
        name = "detector_offset_mm"
        given = f"{geometry.detector_offset_mm:g} and {given}"
        needed = "a whole turn, or a detector that covers both sides of the object"
    if missing > (BY_OFFSET if weights.by_offset else TOLERATED) and incomplete == "refuse":
        raise ArgumentError(name, given, f"{needed}; or incomplete='warn'")
    warnings.warn(f"{name}: got {given}, a whole image needs {needed}", IncompleteScanWarning, stacklevel=4)
