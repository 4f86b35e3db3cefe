"""A measured scan that ships with the library: the counts of one detector row, before any correction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.geometry import ParallelBeam, Volume
from ctlib.physics.counts import line_integrals_from_counts

TOOTH = Path(__file__).parent / "sample" / "tooth.npz"
AXIS_COLUMN = 296.0  # stated with the data


@dataclass(frozen=True)
class MeasuredScan:
    """Counts of a parallel-beam scan and what is needed to make an image of them.

    counts       (V, U) float32
    flat, dark   (N, U) counts with the beam on and no object, and with the beam off
    angles       (V,) view angles [rad]
    axis_column  where the rotation axis meets the detector [columns, from 0]
    """

    counts: Tensor
    flat: Tensor
    dark: Tensor
    angles: tuple[float, ...]
    axis_column: float

    def line_integrals(self) -> Tensor:
        """Flat-field correction: log((mean flat - mean dark) / (counts - mean dark)), (V, U) float32 [1]."""
        dark = self.dark.mean(0)
        return line_integrals_from_counts(self.counts - dark, self.flat.mean(0) - dark)

    def geometry(self, volume: Volume, axis_column: float | None = None) -> ParallelBeam:
        """The beam over a grid, lengths in detector cells (their width is not known), with this axis or another."""
        num_views, num_cols = self.counts.shape
        axis = self.axis_column if axis_column is None else contract.number("axis_column", axis_column)
        return ParallelBeam(
            volume, num_views, num_cols, 1.0, angles=self.angles, detector_offset_mm=(num_cols - 1) / 2 - axis
        )


def tooth_scan() -> MeasuredScan:
    """The tooth of TomoPy, {cite}`gursoy2014`: 181 views over half a turn, 640 cells, from a synchrotron."""
    with np.load(TOOTH) as stored:
        counts, flat, dark = (_counts(stored, name) for name in ("counts", "flat", "dark"))
        angles = tuple(math.radians(a) for a in stored["angles_deg"].tolist())
    return MeasuredScan(counts, flat, dark, angles, AXIS_COLUMN)


def _counts(stored, name: str) -> Tensor:
    """Kept as four times the count, lower 16 bits and the rest apart, which compresses best."""
    quarters = stored[f"{name}_low"] + 65536.0 * stored[f"{name}_high"]
    return torch.from_numpy((quarters / 4).astype(np.float32))
