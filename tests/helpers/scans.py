"""Scans of every kind that the tables of rays must cope with."""

from ctlib.geometry import FanBeam, ParallelBeam, Volume

SCANS = {
    "parallel": ParallelBeam(Volume((48, 40)), 37, 71, 0.8, detector_offset_mm=1.3),
    "coarse bins": ParallelBeam(Volume((48, 40)), 12, 17, 3.5),
    "fine bins": ParallelBeam(Volume((24, 30)), 12, 200, 0.2),
    "wide fan": FanBeam(Volume((60, 33), (0.7, 1.0)), 29, 97, 2.0, source_origin_mm=31.0, source_detector_mm=70.0),
    "narrow detector": FanBeam(Volume((20, 20)), 5, 3, 1.0, source_origin_mm=50.0, source_detector_mm=70.0),
}
