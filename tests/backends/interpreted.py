"""Scans that are small enough for Triton's interpreter, and data for them."""

import torch

from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
CONE = {"num_views": 2, "source_origin_mm": 9.0, "source_detector_mm": 14.0}
SCANS = {
    "parallel": ParallelBeam(Volume((12, 11)), 7, 19, 0.8, detector_offset_mm=0.3),
    "one view": ParallelBeam(Volume((5, 12), (0.7, 1.4)), 1, 33, 0.5, angles=[-2.2]),
    "one row": ParallelBeam(Volume((1, 7)), 3, 9, 0.9, angles=[0.1, 1.3, -2.0]),
    "coarse bins": ParallelBeam(Volume((12, 12)), 5, 20, 3.5),
    "fine bins": ParallelBeam(Volume((5, 6)), 3, 60, 0.15),
    "some rays miss": ParallelBeam(Volume((6, 5)), 3, 21, 1.0, detector_offset_mm=8.0),
    "fan": FanBeam(Volume((12, 9), (0.7, 1.0)), 7, 21, 1.3, source_origin_mm=9.0, source_detector_mm=21.0),
    "wide fan": FanBeam(Volume((9, 10)), 3, 40, 1.0, source_origin_mm=8.5, source_detector_mm=12.0),
    "cone": ConeBeam(Volume((5, 7, 6), (0.9, 0.7, 1.1)), 3, 9, 1.1, num_rows=4, source_origin_mm=9.0,
                     source_detector_mm=14.0, detector_offset_mm=0.4),
    "cone, many columns": ConeBeam(Volume((3, 5, 6)), num_cols=21, pitch_mm=0.5, num_rows=3, **CONE),
    "cone, fine rows": ConeBeam(Volume((3, 4, 4)), num_cols=5, pitch_mm=2.0, num_rows=10, row_pitch_mm=0.4, **CONE),
    "cone, coarse rows": ConeBeam(Volume((8, 4, 4), (0.5, 1.0, 1.0)), num_cols=5, pitch_mm=2.0, num_rows=3,
                                  row_pitch_mm=4.0, **CONE),
    "steep cone": ConeBeam(Volume((9, 4, 3), (0.3, 1.0, 1.0)), num_cols=5, pitch_mm=1.1, num_rows=6, row_pitch_mm=2.5,
                           **CONE),
}  # fmt: skip


def pair(scan, batch, dtype=torch.float64):
    """Positive, so that the largest value is a fair scale; whole numbers of 1/64, so that both precisions hold it."""
    generator = torch.Generator().manual_seed(batch)
    x = torch.randint(1, 65, (batch, *scan.volume.shape), generator=generator) / 64
    return x.to(dtype), (torch.randint(1, 65, (batch, *scan.sino_shape), generator=generator) / 64).to(dtype)
