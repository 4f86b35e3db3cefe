"""What is measured: the two standard scans, and small ones for a smoke run."""

from dataclasses import dataclass

import torch

from ctlib.geometry import FanBeam, ParallelBeam, Volume
from ctlib.phantoms import Ellipsoids, shepp_logan


@dataclass(frozen=True, eq=False)
class Setup:
    """A scan, its object with exact line integrals, and the batch sizes to time."""

    name: str
    geometry: ParallelBeam | FanBeam
    phantom: Ellipsoids
    batches: tuple[int, ...]
    sirt_iters: int  # 0: SIRT is not timed on this scan, where ASTRA takes half a minute a call

    def image(self, batch: int) -> torch.Tensor:
        """(B, Y, X) float32: the phantom averaged over pixels, repeated."""
        x = self.phantom.raster(self.geometry.volume, supersample=8)
        return x.expand(batch, *x.shape).contiguous()

    def sinogram(self, batch: int) -> torch.Tensor:
        """(B, V, U) float32: exact line integrals, averaged over 8 rays a bin, repeated."""
        y = self.phantom.line_integrals(self.geometry, rays_per_bin=8).float()
        return y.expand(batch, *y.shape).contiguous()


def parallel(size: int, views: int, cols: int, voxel_mm: float = 1.0) -> ParallelBeam:
    """Bins as wide as pixels."""
    return ParallelBeam(Volume((size, size), voxel_mm), views, cols, voxel_mm)


def fan(size: int, views: int, cols: int, voxel_mm: float) -> FanBeam:
    """Source at 210 mm, detector at 350 mm; a bin is a pixel wide in the axis."""
    distances = {"source_origin_mm": 210.0, "source_detector_mm": 350.0}
    return FanBeam(Volume((size, size), voxel_mm), views, cols, voxel_mm * 5 / 3, **distances)


def standard() -> list[Setup]:
    """Parallel 256 x 256, 180 x 363; fan 512 x 512 of 0.09 mm, 250 x 512 of 0.15 mm. Ten ellipses in each."""
    batches = (1, 5, 16, 32)
    return [
        Setup("parallel 256", parallel(256, 180, 363), shepp_logan(256.0), batches, 50),
        Setup("fan 512", fan(512, 250, 512, 0.09), shepp_logan(512 * 0.09), batches, 0),
    ]


def small() -> list[Setup]:
    """The same shapes in miniature, for a run of seconds."""
    return [
        Setup("parallel 32", parallel(32, 20, 46), shepp_logan(32.0), (1, 2), 5),
        Setup("fan 32", fan(32, 24, 32, 1.44), shepp_logan(32 * 1.44), (1, 2), 5),
    ]
