"""What is measured: two standard scans, one of a cone beam, and small ones for a smoke run."""

from dataclasses import dataclass

import torch

from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.phantoms import Ellipsoids, shepp_logan


@dataclass(frozen=True, eq=False)
class Setup:
    """A scan, its object with exact line integrals, and the batch sizes to time."""

    name: str
    geometry: ParallelBeam | FanBeam | ConeBeam
    phantom: Ellipsoids
    batches: tuple[int, ...]
    sirt_iters: int  # 0: SIRT is not timed on this scan, where ASTRA takes half a minute a call

    @property
    def fine(self) -> int:
        """Points a voxel and rays a bin in each direction that averages are taken over; a volume has too many."""
        return 8 if self.phantom.ndim == 2 else 1

    def image(self, batch: int) -> torch.Tensor:
        """(B, [Z,] Y, X) float32: the phantom averaged over voxels, repeated."""
        x = self.phantom.raster(self.geometry.volume, self.fine)
        return x.expand(batch, *x.shape).contiguous()

    def sinogram(self, batch: int) -> torch.Tensor:
        """(B, V, [R,] U) float32: exact line integrals, averaged over the rays of a bin, repeated."""
        y = self.phantom.line_integrals(self.geometry, rays_per_bin=self.fine).float()
        return y.expand(batch, *y.shape).contiguous()


def parallel(size: int, views: int, cols: int, voxel_mm: float = 1.0) -> ParallelBeam:
    """Bins as wide as pixels."""
    return ParallelBeam(Volume((size, size), voxel_mm), views, cols, voxel_mm)


def fan(size: int, views: int, cols: int, voxel_mm: float) -> FanBeam:
    """Source at 210 mm, detector at 350 mm; a bin is a pixel wide in the axis."""
    distances = {"source_origin_mm": 210.0, "source_detector_mm": 350.0}
    return FanBeam(Volume((size, size), voxel_mm), views, cols, voxel_mm * 5 / 3, **distances)


def cone(size: int, views: int, voxel_mm: float) -> ConeBeam:
    """Source at 210 mm, detector at 350 mm of half as many rows and columns again; bins a voxel wide."""
    distances = {"source_origin_mm": 210.0, "source_detector_mm": 350.0}
    shape, cells = (size,) * 3, size * 3 // 2
    return ConeBeam(Volume(shape, voxel_mm), views, cells, voxel_mm * 5 / 3, num_rows=cells, **distances)


def standard() -> list[Setup]:
    """Parallel 256 x 256, 180 x 363; fan 512 x 512 of 0.09 mm, 250 x 512 of 0.15 mm; cone 128^3, 128 views."""
    batches = (1, 5, 16, 32)
    return [
        Setup("parallel 256", parallel(256, 180, 363), shepp_logan(256.0), batches, 50),
        Setup("fan 512", fan(512, 250, 512, 0.09), shepp_logan(512 * 0.09), batches, 0),
        Setup("cone 128", cone(128, 128, 0.36), shepp_logan(128 * 0.36, ndim=3), (1,), 0),
    ]


def small() -> list[Setup]:
    """The same shapes in miniature, for a run of seconds."""
    return [
        Setup("parallel 32", parallel(32, 20, 46), shepp_logan(32.0), (1, 2), 5),
        Setup("fan 32", fan(32, 24, 32, 1.44), shepp_logan(32 * 1.44), (1, 2), 5),
        Setup("cone 16", cone(16, 12, 2.88), shepp_logan(16 * 2.88, ndim=3), (1,), 0),
    ]
