"""Source and detector of a cone-beam scan: where photons start, where they land, what they are counted as."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, Volume
from ctlib.physics.arrays import numbers
from ctlib.physics.attenuation import TABLES_KEV

TABLE_KEV = 0.1  # step of the table of counts per photon; bin edges are rounded to it
LEAST_KEV = 9.0  # no photon is followed below 10 keV, so none arrives with less than 9.6


def with_height(fan: FanBeam, height_mm: float, num_rows: int = 1) -> ConeBeam:
    """A fan beam as the cone beam it is in three dimensions: the same views and columns, a detector of this height."""
    if not isinstance(fan, FanBeam):
        raise ArgumentError("fan", type(fan).__name__, "a FanBeam")
    height_mm, num_rows = contract.number("height_mm", height_mm, above=0), contract.count("num_rows", num_rows, 1)
    ny, nx = fan.volume.shape
    volume = Volume((1, ny, nx), (height_mm, *fan.volume.voxel_mm))
    same = {f.name: getattr(fan, f.name) for f in fields(fan)}
    return ConeBeam(**same | {"volume": volume, "num_rows": num_rows, "row_pitch_mm": height_mm / num_rows})


def coarser(scan: ConeBeam, num_cols: int, num_rows: int | None = None) -> ConeBeam:
    """The same detector area in fewer or more cells: scatter is smooth, and fewer cells count more photons each."""
    require_cone(scan)
    num_rows = scan.num_rows if num_rows is None else contract.count("num_rows", num_rows, 1)
    num_cols = contract.count("num_cols", num_cols, 1)
    pitch_mm, row_pitch_mm = scan.pitch_mm * scan.num_cols / num_cols, scan.row_pitch_mm * scan.num_rows / num_rows
    return replace(scan, num_cols=num_cols, pitch_mm=pitch_mm, num_rows=num_rows, row_pitch_mm=row_pitch_mm)


@dataclass(frozen=True, eq=False)
class Beam:
    """The scan as tensors. The beam fills the detector and, without object, is uniform over it.

    source, center, along, normal  (V, 3) source, middle of the detector, unit vectors along its columns and away from
                                   the source, in (x, y, z) [mm]
    width, height                  size of the detector [mm];  cols, rows  numbers of cells
    """

    source: Tensor
    center: Tensor
    along: Tensor
    normal: Tensor
    width: float
    height: float
    cols: int
    rows: int

    @classmethod
    def of(cls, scan: ConeBeam, like: Tensor) -> Beam:
        """Vectors of a scan with a tensor's dtype and device."""
        require_cone(scan)
        t = np.asarray(scan.angles)
        along, normal = ((np.stack([c, s, 0 * t], -1)) for c, s in ((np.cos(t), np.sin(t)), (-np.sin(t), np.cos(t))))
        source = -scan.source_origin_mm * normal
        center = source + scan.source_detector_mm * normal + scan.detector_offset_mm * along
        size = scan.num_cols * scan.pitch_mm, scan.num_rows * scan.row_pitch_mm
        vectors = (torch.from_numpy(v).to(like) for v in (source, center, along, normal))
        return cls(*vectors, *size, scan.num_cols, scan.num_rows)

    def point(self, view: Tensor, u: Tensor, w: Tensor) -> Tensor:
        """Detector points (n, 3) of views (n,) at fractions u, w in (0, 1) of its width and height."""
        point = self.center[view] + (self.width * (u - 0.5))[:, None] * self.along[view]
        point[:, 2] += self.height * (w - 0.5)
        return point

    def cell(self, view: Tensor, start: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
        """Flat detector cell (row * cols + column) that lines (n, 3) lead to, and whether they do.

        The start may lie beyond the detector, where a photon is after its last flight.
        """
        toward = (direction * self.normal[view]).sum(1)
        distance = ((self.center[view] - start) * self.normal[view]).sum(1) / toward.clamp_min(1e-6)
        offset = start + distance[:, None] * direction - self.center[view]
        u = ((offset * self.along[view]).sum(1) / self.width + 0.5) * self.cols
        w = (offset[:, 2] / self.height + 0.5) * self.rows
        hit = (toward > 1e-6) & (u >= 0) & (u < self.cols) & (w >= 0) & (w < self.rows)
        return w.long().clamp(0, self.rows - 1) * self.cols + u.long().clamp(0, self.cols - 1), hit


def require_cone(scan: ConeBeam) -> None:
    """Raise unless the scan is a cone beam's."""
    if not isinstance(scan, ConeBeam):
        raise ArgumentError("geometry", type(scan).__name__, "a ConeBeam; see `with_height` for fan beams")


def response_table(response, highest_kev: float) -> Tensor:
    """Counts per photon in each energy bin (E, K), at the energies (k + 1/2) 0.1 keV, float64.

    response  ascending bin edges [keV], E + 1 of them: each photon counts once, at its own energy; or a function of
              energies (K,) [keV], 9 and more, that returns (E, K)
    """
    highest_kev = contract.number("highest_kev", highest_kev, above=0, at_most=TABLES_KEV[1])
    energies = TABLE_KEV * (torch.arange(int(np.ceil(highest_kev / TABLE_KEV)) + 1, dtype=torch.float64) + 0.5)
    if callable(response):
        table = numbers("response", response(energies.clamp_min(LEAST_KEV))).double()
        if table.ndim != 2 or table.shape[1] != len(energies):
            raise ArgumentError("response", f"shape {tuple(table.shape)}", f"(E, {len(energies)}) for so many energies")
        return table
    edges = numbers("response", response, at_least=0, finite=False).double()
    if edges.ndim != 1 or len(edges) < 2 or not bool((edges.diff() > 0).all()):
        raise ArgumentError("response", tuple(edges.shape), "ascending bin edges [keV], or a function of energies")
    return ((energies >= edges[:-1, None]) & (energies < edges[1:, None])).double()
