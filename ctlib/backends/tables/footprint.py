"""Where voxels project to: places on the detector, and the distance weight of filtered back-projection."""

import math

import torch
from torch import Tensor

from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam


def footprint(geometry: ParallelBeam | FanBeam | ConeBeam, view: int, like: Tensor) -> tuple[Tensor, Tensor | float]:
    """Fractional column under every pixel (Y, X), column 0 at its center, and SO / L (1 for parallel rays)."""
    y, x = (torch.as_tensor(geometry.volume.axis(i), dtype=like.dtype, device=like.device) for i in (-2, -1))
    angle = float(geometry.angles[view])
    cos, sin = math.cos(angle), math.sin(angle)
    lateral, near = x * cos + y[:, None] * sin, 1.0
    if not isinstance(geometry, ParallelBeam):
        near = geometry.source_origin_mm / (geometry.source_origin_mm - x * sin + y[:, None] * cos)  # SO / L
        lateral = lateral * near * (geometry.source_detector_mm / geometry.source_origin_mm)
    return (lateral - geometry.detector_offset_mm) / geometry.pitch_mm + (geometry.num_cols - 1) / 2, near


def row_footprint(geometry: ConeBeam, near: Tensor) -> Tensor:
    """Fractional detector row under every voxel (Z, Y, X) of a cone beam; near = SO / L, (Y, X)."""
    z = torch.as_tensor(geometry.volume.axis(0), dtype=near.dtype, device=near.device)
    height = z[:, None, None] * near * (geometry.source_detector_mm / geometry.source_origin_mm)
    return height / geometry.row_pitch_mm + (geometry.num_rows - 1) / 2
