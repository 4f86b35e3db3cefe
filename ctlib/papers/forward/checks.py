"""Against exact objects: the error of the discretization, the constants of filtered back-projection, its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ctlib import contract, metrics
from ctlib.data.tooth import MeasuredScan
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.papers.forward.bodies import clinical_fan, disc
from ctlib.phantoms import Ellipsoids, shepp_logan
from ctlib.physics.counts import line_integral_variance, line_integrals_from_counts, transmission_counts
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.recon.backproject import backproject
from ctlib.recon.fbp import ramp_kernel, view_weights
from ctlib.units import MU_WATER

HEAD_MM = 256.0
HEAD_RANGE = 0.02  # of the phantom [1/mm], for its PSNR


def parallel_over(volume: Volume, num_views: int) -> ParallelBeam:
    """Cells as wide as a pixel, the diagonal covered."""
    return ParallelBeam(volume, num_views, math.ceil(1.42 * volume.shape[1]), volume.voxel_mm[1])


def radius_mm(volume: Volume) -> Tensor:
    """Distance of every pixel from the axis, (Y, X) float64 [mm]."""
    y, x = (torch.as_tensor(volume.axis(i).copy()) for i in (-2, -1))
    return torch.hypot(y[:, None], x)


def axis_with_least_below_zero(scan: MeasuredScan, columns: Sequence[float]) -> float:
    """Which of these detector columns is the axis: its image has the least energy below zero, as matter has none."""
    y, found = scan.line_integrals().double(), {}
    for axis in columns:
        x = fbp(Projector(scan.geometry(Volume((160, 160), 3.0), axis)), y, "hann")
        found[axis] = float(x.clamp_max(0).square().sum())
    return min(found, key=found.get)


def attenuation_slope(seed: int, photons: float = 2e4, readings: int = 20_000) -> float:
    """Fitted slope of the logarithm of the mean count over slabs of water up to 200 mm, over the attenuation [1]."""
    thickness_mm = torch.arange(0, 201, 25, dtype=torch.float64)
    slabs = (MU_WATER * thickness_mm)[:, None].expand(-1, readings)
    means = transmission_counts(slabs, photons, torch.Generator().manual_seed(seed)).mean(1)
    return float(np.polyfit(thickness_mm.numpy(), -means.log().numpy(), 1)[0]) / MU_WATER


def projection_error(n: int, kind: str, rays_per_bin: int) -> float:
    """|Ax - p| / |p| of the projected Shepp-Logan phantom of n x n pixels, 180 views, against exact line integrals."""
    grid, head = Volume((contract.count("n", n, 2),) * 2, HEAD_MM / n), shepp_logan(HEAD_MM)
    contract.choice("kind", kind, ("parallel", "fan"))
    geometry = parallel_over(grid, 180) if kind == "parallel" else clinical_fan(grid, 180)
    exact = head.line_integrals(geometry, rays_per_bin)
    y = Projector(geometry)(head.raster(grid, supersample=8, dtype=torch.float64))
    return float((y - exact).norm() / exact.norm())


def head_psnr(size: int, num_views: int, kind: str = "parallel") -> float:
    """PSNR [dB] of FBP of the exact Shepp-Logan phantom inside 95 % of the field, data range 0.02/mm."""
    volume, head = Volume((contract.count("size", size, 2),) * 2, HEAD_MM / size), shepp_logan(HEAD_MM)
    contract.choice("kind", kind, ("parallel", "fan"))
    geometry = parallel_over(volume, num_views) if kind == "parallel" else clinical_fan(volume, num_views)
    x = fbp(Projector(geometry), head.line_integrals(geometry, rays_per_bin=8), incomplete="warn")
    truth = head.raster(volume, supersample=8, dtype=torch.float64)
    within = radius_mm(volume) < 0.95 * HEAD_MM / 2
    return float(metrics.psnr(x, truth, data_range=HEAD_RANGE, mask=within))


def psnr_by_views(size: int, shares: Sequence[float]) -> dict[tuple[str, float], float]:
    """{(beam, share): PSNR [dB]} at shares of pi/2 views a column over half a turn, of twice as many for a fan."""
    enough = math.pi / 2 * contract.count("size", size, 2)
    turns = {"parallel": 1, "fan": 2}
    return {(k, s): head_psnr(size, round(t * s * enough), k) for k, t in turns.items() for s in shares}


def unit_disc_deviation() -> float:
    """Largest deviation from 1 of any interior pixel of a unit disc [%], over pixel sizes, pitches and beams."""
    worst = 0.0
    for pixel_mm in (0.5, 1.0, 4.0):
        volume, far = Volume((64, 64), pixel_mm), 100 * pixel_mm
        for relative in (0.5, 1.0, 2.0):
            pitch_mm, cols = relative * pixel_mm, int(96 / relative)
            fan = FanBeam(volume, 240, cols, 1.5 * pitch_mm, source_origin_mm=far, source_detector_mm=1.5 * far)
            for geometry in (ParallelBeam(volume, 120, cols, pitch_mm), fan):
                x = fbp(Projector(geometry), disc(16 * pixel_mm).line_integrals(geometry, rays_per_bin=4))
                inside = radius_mm(volume) < 12 * pixel_mm
                worst = max(worst, float((x[inside] - 1).abs().max() * 100))
    return worst


def transform(phantom: Ellipsoids, f: Tensor, angle: float) -> Tensor:
    """Two-dimensional Fourier transform of ellipses at f (cos angle, sin angle), f > 0 [1/mm]: Bessel functions."""
    total, e = 0, [math.cos(angle), math.sin(angle)]
    axes = zip(phantom.axes_mm, angle - phantom.angles_rad, strict=True)
    for value, center, ((a, b), t) in zip(phantom.values, phantom.centers_mm, axes, strict=True):
        rho = 2 * math.pi * f * math.hypot(a * math.cos(t), b * math.sin(t))
        phase = torch.exp(-2j * math.pi * f * float(center @ e))
        total = total + value * math.pi * a * b * 2 * torch.special.bessel_j1(rho) / rho * phase
    return total


def sides_of_the_slice_theorem(num_views: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """(f, transforms of projections, slices of the transform), each side (V, F) on its own way."""
    head = shepp_logan(HEAD_MM)
    dense = ParallelBeam(Volume((8, 8), 50.0), num_views, 4096, 0.1)
    p, u = head.line_integrals(dense), torch.as_tensor(dense.columns())
    f = torch.linspace(0.001, 0.2, 100, dtype=torch.float64)
    waves = torch.exp(-2j * math.pi * f[:, None] * u)
    left = (p[:, None, :] * waves).sum(-1) * dense.pitch_mm
    return f, left, torch.stack([transform(head, f, angle) for angle in dense.angles])


def careless_filter(y: Tensor, pitch_mm: float) -> Tensor:
    """The ramp sampled in frequency, the row taken as periodic: what `ramp_kernel` avoids. (..., U) to itself."""
    y = contract.tensor("y", y, ("U",))
    f = torch.fft.rfftfreq(y.shape[-1], contract.number("pitch_mm", pitch_mm, above=0), dtype=y.dtype)
    return torch.fft.irfft(torch.fft.rfft(y) * f, n=y.shape[-1])


def ramp_offsets(volume: Volume, num_views: int = 180) -> tuple[float, float]:
    """(sampled ramp, band-limited kernel): by how much the mean inside a unit disc of 120 mm is off [1]."""
    beam = ParallelBeam(volume, num_views, volume.shape[1], volume.voxel_mm[1])
    y, inside = disc(120.0).line_integrals(beam, rays_per_bin=4), radius_mm(volume) < 100.0
    weights = view_weights(torch.tensor(beam.angles, dtype=torch.float64), math.pi)
    careless = backproject(careless_filter(y, beam.pitch_mm), beam, weights)
    return tuple(float(x[inside].mean() - 1) for x in (careless, fbp(Projector(beam), y)))


def center_noise(seed: int, scans: int = 1500, photons: float = 1e5) -> float:
    """Measured over predicted variance of the pixel on the axis of a water cylinder, {eq}`fm-fbpvar`."""
    geometry = ParallelBeam(Volume((1, 1), 2.0), 60, 127, 2.0)
    exact = disc(100.0, value=MU_WATER).line_integrals(geometry)
    kernel = ramp_kernel(128, 2.0)[(torch.arange(127) - 63).abs()]
    formula = (math.pi * 2.0 / 60) ** 2 * (kernel**2 * line_integral_variance(exact, photons)).sum()
    counts = transmission_counts(exact.expand(scans, -1, -1), photons, torch.Generator().manual_seed(seed))
    return float(fbp(Projector(geometry), line_integrals_from_counts(counts, photons)).var() / formula)


def noise_by_views(seed: int, views: Sequence[int] = (90, 180, 360, 720), total: float = 4e6) -> Tensor:
    """(len(views),) deviation in the center of a water cylinder over ten scans, `total` photons a cell in all views."""
    stream, found = torch.Generator().manual_seed(seed), []
    for num_views in views:
        geometry = ParallelBeam(Volume((32, 32), 2.0), num_views, 127, 2.0)
        exact = disc(100.0, value=MU_WATER).line_integrals(geometry).expand(10, -1, -1)
        y = line_integrals_from_counts(transmission_counts(exact, total / num_views, stream), total / num_views)
        found.append(fbp(Projector(geometry), y).std(0).mean())
    return torch.stack(found)


def cosine_error(radius: float, source_origin_mm: float, num_views: int = 360) -> float:
    """What leaving out the cosine of the fan changes on the axis of a unit disc [1]: -R^2 / (4 SO^2) in first order."""
    radius = contract.number("radius", radius, above=0)
    volume, far = Volume((3, 3), 0.25), contract.number("source_origin_mm", source_origin_mm, above=radius)
    cols = 2 * math.ceil(1.2 * radius) + 1
    geometry = FanBeam(volume, num_views, cols, 1.0, source_origin_mm=far, source_detector_mm=far)
    u = torch.as_tensor(geometry.columns())
    y, A = disc(radius).line_integrals(geometry, rays_per_bin=4), Projector(geometry)
    cosine = far / torch.sqrt(far**2 + u**2)
    with_it, without = (fbp(A, data, truncation="ignore")[1, 1] for data in (y, y / cosine))
    return float(without - with_it)


def stack_of_discs(size_mm: float) -> Ellipsoids:
    """Seven flat discs above each other, the object that a circular orbit sees worst."""
    size_mm = contract.number("size_mm", size_mm, above=0)
    z = [(k - 3) * size_mm / 9 for k in range(7)]
    return Ellipsoids(
        [MU_WATER] * 7, [(0.0, 0.0, h) for h in z], [(0.35 * size_mm, 0.35 * size_mm, size_mm / 40)] * 7, [0.0] * 7
    )


def peak_returned(x: Tensor, truth: Tensor, volume: Volume, size_mm: float) -> tuple[float, float]:
    """(middle, outermost): peak along the axis of those of `stack_of_discs` in x over that in truth, (Z, Y, X) both."""
    core, far = radius_mm(volume) < 0.2 * size_mm, torch.as_tensor(abs(volume.axis(0)))
    profiles = [v[:, core].mean(1) for v in (x, truth)]
    layers = (far < size_mm / 18, (far - size_mm / 3).abs() < size_mm / 18)
    return tuple(float(profiles[0][m].max() / profiles[1][m].max()) for m in layers)


def cone_over(size: int, size_mm: float, num_views: int, source_origin_mm: float) -> ConeBeam:
    """A circular cone-beam scan of a cube, cells as large as its voxels at the axis."""
    volume, far = Volume((contract.count("size", size, 2),) * 3, size_mm / size), source_origin_mm
    cells = math.ceil(1.7 * size)
    return ConeBeam(volume, num_views, cells, 1.5 * size_mm / size, num_rows=cells, source_origin_mm=far,
                    source_detector_mm=1.5 * far)  # fmt: skip


def cylinder_deviation(size: int, num_views: int) -> float:
    """Largest deviation from 1 [%] inside a long unit cylinder by FDK, at every height: it is exact there."""
    geometry = cone_over(size, 200.0, num_views, 400.0)
    cylinder = Ellipsoids([1.0], [(0.0, 0.0, 0.0)], [(60.0, 60.0, 1e5)], [0.0])
    x = fbp(Projector(geometry), cylinder.line_integrals(geometry, rays_per_bin=2))
    return float((x[:, radius_mm(geometry.volume) < 45.0] - 1).abs().max() * 100)
