"""Scans of bodies with flat panels: primary and scatter of every view, smooth, and how exact the simulation is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, Volume
from ctlib.papers.pcct.bodies import Body
from ctlib.phantoms.materials import MATERIALS
from ctlib.physics.scatter.beam import Beam, coarser
from ctlib.physics.scatter.cross_sections import CrossSections
from ctlib.physics.scatter.media import Media, VoxelPhantom
from ctlib.physics.scatter.primary import scan_paths
from ctlib.physics.scatter.transport import simulate_scatter

BODY_MM = 400.0  # height of the extruded slice: scatter from farther off the beam does not come back


@dataclass(frozen=True)
class PanelScan:
    """A cone beam of the paper's distances onto a flat panel, views every so many degrees.

    size, slices    of the images [pixels];  fov_mm, beam_mm  their width, and height of the beam at the axis
    cols, rows      of the panel
    step_deg        between two simulated views, a divisor of 360
    arc_deg         of the views that are trained on, from the first: the paper's 240
    finer           views between two simulated ones in the test, where scatter is interpolated over the circle
    """

    size: int
    slices: int
    cols: int
    rows: int
    step_deg: float = 5.0
    arc_deg: float = 240.0
    finer: int = 5
    fov_mm: float = 400.0
    beam_mm: float = 160.0
    source_mm: float = 625.0
    detector_mm: float = 1097.0
    width_mm: float = 736.0

    @property
    def field(self) -> Volume:
        """Grid of a slice."""
        return Volume((self.size, self.size), self.fov_mm / self.size)

    @property
    def num_simulated(self) -> int:
        """Views of the whole circle that are simulated."""
        return round(360 / self.step_deg)

    @property
    def num_trained(self) -> int:
        """Views of the arc."""
        return round(self.arc_deg / self.step_deg)

    def geometry(self, step_deg: float, num_views: int) -> ConeBeam:
        """Views from 0 by steps, with the volume that is reconstructed: half of the beam's height."""
        voxel = self.fov_mm / self.size
        volume = Volume((self.slices, self.size, self.size), (0.5 * self.beam_mm / self.slices, voxel, voxel))
        height = self.beam_mm * self.detector_mm / self.source_mm
        return ConeBeam(
            volume, num_views, num_cols=self.cols, num_rows=self.rows,
            angles=tuple(math.radians(step_deg * k) for k in range(num_views)),
            pitch_mm=self.width_mm / self.cols, row_pitch_mm=height / self.rows, source_origin_mm=self.source_mm,
            source_detector_mm=self.detector_mm,
        )  # fmt: skip

    @property
    def simulated(self) -> ConeBeam:
        """The whole circle, in the steps of the simulation."""
        return self.geometry(self.step_deg, self.num_simulated)

    @property
    def trained(self) -> ConeBeam:
        """The arc."""
        return self.geometry(self.step_deg, self.num_trained)

    @property
    def tested(self) -> ConeBeam:
        """The whole circle in fine steps."""
        return self.geometry(self.step_deg / self.finer, self.finer * self.num_simulated)


@dataclass(frozen=True)
class Simulation:
    """How scatter is simulated: photons a view, cells (rows, cols), and the cosines and harmonics that are kept."""

    photons: int
    cells: tuple[int, int] = (8, 16)
    modes: tuple[int, int] = (4, 10)
    harmonics: int = 10


def cosines(num_cells: int, num: int, num_modes: int) -> Tensor:
    """Matrix (num, num_cells) from cell averages to a series of cosines at num points, float64.

    S(u) = sum over k < K of a_k cos(pi k u),    a by least squares on the cells,    0 < u < 1
    """
    num_cells, num = contract.count("num_cells", num_cells, 1), contract.count("num", num, 1)
    k = torch.arange(contract.count("num_modes", num_modes, 1, num_cells), dtype=torch.float64)
    at = (torch.arange(num, dtype=torch.float64)[:, None] + 0.5) / num
    return torch.cos(math.pi * k * at) @ torch.linalg.pinv(_averages(num_cells, len(k)))


def _averages(num_cells: int, num_modes: int) -> Tensor:
    """Averages (num_cells, num_modes) of cosines over cells."""
    k = torch.arange(num_modes, dtype=torch.float64)
    at = (torch.arange(num_cells, dtype=torch.float64)[:, None] + 0.5) / num_cells
    return torch.cos(math.pi * k * at) * torch.sinc(k / (2 * num_cells))


def _modes(modes: object, tally: Tensor) -> tuple[int, int]:
    """Numbers of cosines along either axis, if there are cells for them."""
    modes, cells = contract.shape("modes", modes, 2), tally.shape[-2:]
    if 0 in cells or any(k > n for k, n in zip(modes, cells, strict=True)):
        raise ArgumentError("tally, modes", (tuple(tally.shape), modes), "cells, and at most as many cosines")
    return modes


def smooth_panels(tally: Tensor, shape: tuple[int, int], modes: tuple[int, int]) -> Tensor:
    """Panels (..., r, c) of coarse cells as panels (..., R, U) of a series of cosines along either axis."""
    tally = contract.tensor("tally", tally, (None, None), promote=True)
    shape, modes = contract.shape("shape", shape, 2), _modes(modes, tally)
    rows, cols = (cosines(n, m, k) for n, m, k in zip(tally.shape[-2:], shape, modes, strict=True))
    return (rows.to(tally.device) @ tally.double() @ cols.to(tally.device).mT).to(tally.dtype)


def smooth_cells(tally: Tensor, modes: tuple[int, int]) -> Tensor:
    """Panels (..., r, c) of coarse cells without what no series of cosines has: averages over the same cells."""
    tally = contract.tensor("tally", tally, (None, None), promote=True)
    modes = _modes(modes, tally)
    bases = [_averages(n, k) for n, k in zip(tally.shape[-2:], modes, strict=True)]
    rows, cols = ((b @ torch.linalg.pinv(b)).to(tally.device) for b in bases)
    return (rows @ tally.double() @ cols.mT).to(tally.dtype)


def smooth_circle(tally: Tensor, harmonics: int, finer: int = 1) -> Tensor:
    """Signals (V, ...) of views all around the circle without their higher harmonics, at finer times the views.

    The first of them are those of the given views; a band-limited signal is interpolated exactly.
    """
    harmonics, finer = contract.count("harmonics", harmonics), contract.count("finer", finer, 1)
    tally = contract.tensor("tally", tally, (None,), promote=True)
    if not tally.numel():
        raise ArgumentError("tally", f"shape {tuple(tally.shape)}", "views along the first axis")
    spectrum = torch.fft.rfft(tally.double(), dim=0)
    spectrum[harmonics + 1 :] = 0
    return (finer * torch.fft.irfft(_padded(spectrum, finer * len(tally)), n=finer * len(tally), dim=0)).to(tally.dtype)


def _padded(spectrum: Tensor, num: int) -> Tensor:
    missing = num // 2 + 1 - len(spectrum)
    return torch.cat([spectrum, spectrum.new_zeros(missing, *spectrum.shape[1:])])


@lru_cache(maxsize=4)
def sections_to(highest_kev: float) -> CrossSections:
    """Interaction tables of water and calcium up to an energy, made once for all bodies."""
    return CrossSections.of(MATERIALS, highest_kev)


def simulated_scatter(
    body: Body, scan: PanelScan, how: Simulation, spectrum, response: Callable, seed: int
) -> dict[str, Tensor]:
    """Smooth scatter of the whole circle in coarse cells, counts per photon of the open beam.

    {"scatter": (V, E, r, c) in cells, "error": its standard error there, "missed": (E,) rms of what series and
     harmonics leave out}. Both come from two independent halves: their noise has no part in the product of what either
    leaves out.
    """
    phantom = VoxelPhantom.extruded(scan.field, MATERIALS, body.densities, BODY_MM)
    sections = sections_to(float(spectrum.edges_kev[-1]))
    rows, cols = how.cells
    halves, left = [], []
    for part in range(2):
        tally = simulate_scatter(
            phantom, coarser(scan.simulated, cols, rows), spectrum, response, how.photons // 2, seed=2 * seed + part,
            sections=sections,
        )  # fmt: skip
        views = tally.mean().movedim(1, 0)  # (V, E, r, c)
        halves.append(smooth_cells(smooth_circle(views, how.harmonics), how.modes).float())
        left.append(views - halves[-1])
    missed = (left[0] * left[1]).mean((0, 2, 3)).clamp_min(0).sqrt()
    return {"scatter": 0.5 * (halves[0] + halves[1]), "error": 0.5 * (halves[0] - halves[1]).abs(), "missed": missed}


def panel_paths(body: Body, scan: PanelScan, geometry: ConeBeam) -> Tensor:
    """Mass per area (M, V, R, U) [g/cm2] along the central ray of every cell of the panel."""
    phantom = VoxelPhantom.extruded(scan.field, MATERIALS, body.densities, BODY_MM)
    media = Media.of(phantom, sections_to(130.0))
    return 0.1 * scan_paths(media, Beam.of(geometry, body.densities))[0]


def panel_scatter(cells: Tensor, scan: PanelScan, how: Simulation, finer: int) -> Tensor:
    """Scatter (E, V, R, U) at the panel's resolution of simulated cells (V, E, r, c), not negative."""
    fine = smooth_circle(cells, how.harmonics, finer)
    return smooth_panels(fine, (scan.rows, scan.cols), how.modes).clamp_min(0).movedim(1, 0)
