"""A set of synthetic abdomens with their primary and scatter sinograms, for learning and judging scatter correction."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import FanBeam
from ctlib.phantoms.materials import MATERIALS, abdomen_densities
from ctlib.physics.scatter.beam import Beam, coarser, with_height
from ctlib.physics.scatter.cross_sections import CrossSections
from ctlib.physics.scatter.media import Media, VoxelPhantom
from ctlib.physics.scatter.primary import primary_signal, scan_paths
from ctlib.physics.scatter.transport import simulate_scatter

BODY_MM = 300.0  # height of the extruded slice: scatter from farther off the beam does not come back


@dataclass(frozen=True, eq=False)
class ScatterSet:
    """N scans of different bodies; signals are counts per photon of the open beam.

    densities  (N, M, Y, X) of water and calcium [g/cm3]
    paths      (N, M, V, U) mass per area along the central rays [g/cm2]
    primary    (N, E, V, U) without scatter;  scatter (N, E, V, U) all orders, smooth
    tally_error  (N, E, V, C) standard error of the scatter in the C cells it was simulated in
    """

    densities: Tensor
    paths: Tensor
    primary: Tensor
    scatter: Tensor
    tally_error: Tensor


def smooth_columns(tally: Tensor, num_cols: int, num_modes: int) -> Tensor:
    """Cell averages (..., C) as a series of cosines over the detector, at num_cols columns (..., U).

        S(u) = sum over k < K of a_k cos(pi k u),    a by least squares on the cells,    0 < u < 1

    K = num_modes <= C; noise falls by (K / C)^(1/2), detail finer than 1 / K of the detector is lost.
    """
    cells = contract.tensor("tally", tally, (None,)).shape[-1]
    num_cols, num_modes = contract.count("num_cols", num_cols, 1), contract.count("num_modes", num_modes, 1, cells)
    k = torch.arange(num_modes, device=tally.device, dtype=torch.float64)
    at = lambda n: (torch.arange(n, device=k.device, dtype=k.dtype)[:, None] + 0.5) / n  # noqa: E731
    basis = torch.cos(math.pi * k * at(cells)) * torch.sinc(k / (2 * cells))  # averages over a cell
    series = torch.cos(math.pi * k * at(num_cols)) @ torch.linalg.pinv(basis)
    return (tally.double() @ series.T).to(tally.dtype)


def smooth_views(tally: Tensor, num_harmonics: int) -> Tensor:
    """Signals (..., V, C) of views equally spaced over the circle, without their higher harmonics in the view angle."""
    num_harmonics = contract.count("num_harmonics", num_harmonics)
    if not contract.tensor("tally", tally, (None, None)).numel():
        return tally.clone()
    spectrum = torch.fft.rfft(tally.double(), dim=-2)
    spectrum[..., num_harmonics + 1 :, :] = 0
    return torch.fft.irfft(spectrum, n=tally.shape[-2], dim=-2).to(tally.dtype)


def scatter_set(
    geometry: FanBeam, num: int, spectrum, response, *, first_seed: int = 0, beam_height_mm: float = 40.0,
    photons_per_view: int = 8192, num_cells: int = 16, num_modes: int = 12, num_harmonics: int = 6,
    engine: str = "auto", device: str = "cpu", dtype: torch.dtype = torch.float32,
) -> ScatterSet:  # fmt: skip
    """Abdomens of seeds first_seed, ... and their scans in a fan beam of some height; the same for the same arguments.

    spectrum, response        as `simulate_scatter`
    num_cells                 columns in which scatter is simulated
    num_modes, num_harmonics  cosines over the columns and harmonics over the views that its smooth signal is made of
    """
    _check_circle(geometry)
    scan, body = with_height(geometry, beam_height_mm), geometry.volume
    sections = CrossSections.of(MATERIALS, float(spectrum.edges_kev[-1]))
    results = []
    for seed in range(first_seed, first_seed + num):
        densities = abdomen_densities(body, seed, dtype).to(device)
        phantom = VoxelPhantom.extruded(body, MATERIALS, densities, BODY_MM)
        paths = 0.1 * scan_paths(Media.of(phantom, sections), Beam.of(scan, densities))[0, :, :, 0]
        primary = primary_signal(phantom, scan, spectrum, response, rays_per_cell=1, sections=sections)[:, :, 0]
        tally = simulate_scatter(
            phantom, coarser(scan, num_cells), spectrum, response, photons_per_view, seed=seed, engine=engine,
            sections=sections,
        )  # fmt: skip
        smooth = smooth_columns(smooth_views(tally.mean()[:, :, 0], num_harmonics), geometry.num_cols, num_modes)
        signals = primary, smooth.clamp_min(0), tally.error()[:, :, 0]
        results.append((densities, paths, *(s.to(dtype) for s in signals)))
    return ScatterSet(*(torch.stack(column) for column in zip(*results, strict=True)))


def _check_circle(geometry: FanBeam) -> None:
    """Raise unless the views are equally spaced over the whole circle, as harmonics assume."""
    turns = np.asarray(geometry.angles) / (2 * math.pi) - np.arange(geometry.num_views) / geometry.num_views
    if np.ptp(turns) > 1e-6:
        raise ArgumentError("geometry", f"views at {geometry.angles[:3]}...", "views equally spaced over 2 pi")
