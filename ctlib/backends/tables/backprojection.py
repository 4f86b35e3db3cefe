"""The places of `footprint` and `row_footprint` as coefficients: what the compiled back-projections evaluate.

A view's place and weight are ratios of functions that are linear in the indices of a voxel:

    column = v0 + (v1 + v2 i + v3 j) / l,    weight = v7 / l^2,    l = v4 + v5 i + v6 j,    row = h0 + (h1 + h2 k) / l

at pixel i of row j of slice k. Cells are counted from the first one of the detector.
"""

import numpy as np

from ctlib.geometry import ConeBeam, ParallelBeam


def view_table(geometry, view_weights: np.ndarray) -> np.ndarray:
    """v of every view, (V, 8) float64."""
    volume, t = geometry.volume, np.asarray(geometry.angles)
    x, dx, y, dy = volume.axis(-1)[0], volume.voxel_mm[-1], volume.axis(-2)[0], -volume.voxel_mm[-2]
    bend, rate = 0.0, 1 / geometry.pitch_mm
    if not isinstance(geometry, ParallelBeam):
        bend, rate = 1 / geometry.source_origin_mm, rate * geometry.source_detector_mm / geometry.source_origin_mm
    cos, sin = np.cos(t), np.sin(t)
    start = (geometry.num_cols - 1) / 2 - geometry.detector_offset_mm / geometry.pitch_mm
    lateral = rate * (x * cos + y * sin), rate * dx * cos, rate * dy * sin
    depth = 1 - bend * (x * sin - y * cos), -bend * dx * sin, bend * dy * cos
    return np.stack([np.full_like(t, start), *lateral, *depth, view_weights], -1)


def height_table(cone: ConeBeam) -> np.ndarray:
    """h of a cone beam, (3,) float64."""
    rate = cone.source_detector_mm / cone.source_origin_mm / cone.row_pitch_mm
    return np.array([(cone.num_rows - 1) / 2, rate * cone.volume.axis(0)[0], rate * cone.volume.voxel_mm[0]])
