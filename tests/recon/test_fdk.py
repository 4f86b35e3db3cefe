"""FDK, the filtered back-projection of a cone beam, on objects with exact line integrals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.geometry import ConeBeam, FanBeam, Volume
from ctlib.phantoms import Ellipsoids
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.recon.fbp import WINDOWS, fan_cosine


def cone_beam(volume, num_views=120, margin=1.4, **options):
    """A scan that covers the volume: magnification 5/3, cells the size of a voxel in the axis."""
    size, pitch = max(volume.extent_mm), min(volume.voxel_mm) * 5 / 3
    cells = int(margin * size / min(volume.voxel_mm)) // 2 * 2 + 1
    options = {"num_rows": cells, "source_origin_mm": 3 * size, "source_detector_mm": 5 * size} | options
    return ConeBeam(volume, num_views, cells, pitch, **options)


def ball(radius_mm, center_mm=(0.0, 0.0, 0.0)):
    return Ellipsoids(np.ones(1), np.array([center_mm]), np.full((1, 3), radius_mm), np.zeros(1))


def distance(volume, center_mm=(0.0, 0.0, 0.0)):
    z, y, x = (torch.as_tensor(volume.axis(i).copy()) for i in range(3))
    x0, y0, z0 = center_mm
    return ((z - z0)[:, None, None] ** 2 + (y - y0)[:, None] ** 2 + (x - x0) ** 2).sqrt()


@pytest.mark.parametrize(("voxel_mm", "offset"), [(0.2, 0.0), (1.0, 2.3), (4.0, -1.1)])
def test_a_unit_ball_reconstructs_to_one(voxel_mm, offset):
    """Every voxel of the interior within 2 %, their mean within 0.5 %: a cone of 8 degrees; exact data."""
    volume = Volume((33, 32, 32), voxel_mm)
    scan = cone_beam(volume, detector_offset_mm=offset * voxel_mm)
    x = fbp(Projector(scan), ball(10 * voxel_mm).line_integrals(scan, rays_per_bin=2))
    inside = distance(volume) < 6 * voxel_mm
    assert (x[inside] - 1).abs().max() < 0.02
    assert abs(x[inside].mean() - 1) < 0.005


def test_ellipsoids_land_in_place_with_anisotropic_voxels():
    """Off the axis and off the plane of the orbit, high z, top right; voxels of 2 x 1.5 x 1 mm."""
    volume = Volume((24, 28, 40), (2.0, 1.5, 1.0))
    phantom = Ellipsoids(
        np.array([1.0, 0.5]),
        np.array([[6.0, 7.0, 9.0], [-8.0, -3.0, -10.0]]),
        np.array([[7.0, 9.0, 8.0], [6.0, 8.0, 7.0]]),
        np.array([0.4, -0.9]),
    )
    scan = cone_beam(volume, num_views=180)
    x = fbp(Projector(scan), phantom.line_integrals(scan, rays_per_bin=2))
    truth = phantom.raster(volume, supersample=6, dtype=torch.float64)
    assert (x - truth).square().mean().sqrt() < 0.05
    for axis in (0, 1, 2):
        assert (x.flip(axis) - truth).square().mean().sqrt() > 0.15


@settings(deadline=None, max_examples=10, derandomize=True)
@given(st.sampled_from(WINDOWS), st.floats(-4, 4), st.floats(0.5, 2), st.integers(0, 99))
def test_the_plane_of_the_orbit_is_the_fan_beams_image(window, offset, row_pitch, seed):
    """Odd numbers of slices and rows: slice and row in the middle lie in that plane; any data, to rounding."""
    options = {"num_views": 20, "num_cols": 41, "pitch_mm": 1.3, "detector_offset_mm": offset}
    options |= {"source_origin_mm": 60.0, "source_detector_mm": 90.0}
    cone = ConeBeam(Volume((5, 22, 17), (1.7, 0.9, 1.2)), num_rows=7, row_pitch_mm=row_pitch, **options)
    fan = FanBeam(Volume((22, 17), (0.9, 1.2)), **options)
    y = torch.randn(2, 20, 7, 41, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    volume, plane = fbp(Projector(cone), y, window), fbp(Projector(fan), y[:, :, 3], window)
    torch.testing.assert_close(volume[:, 2], plane, rtol=1e-11, atol=1e-12)


def test_a_long_object_loses_brightness_away_from_the_orbit_only():
    """What a circular orbit cannot measure: a stack of discs (Defrise) fades with the distance from the mid-plane."""
    volume = Volume((41, 24, 24))
    heights = np.arange(-16, 17, 8.0)
    discs = Ellipsoids(
        np.ones(5), np.stack([0 * heights, 0 * heights, heights], 1), np.tile([9.0, 9.0, 2.0], (5, 1)), np.zeros(5)
    )
    scan = cone_beam(volume, num_views=90, source_origin_mm=60.0, source_detector_mm=100.0)
    x = fbp(Projector(scan), discs.line_integrals(scan, rays_per_bin=2))
    peaks = x[[4, 12, 20, 28, 36], 10:14, 10:14].mean((1, 2))
    assert abs(peaks[2] - 1) < 0.03
    assert peaks[0] < peaks[1] < peaks[2] > peaks[3] > peaks[4]
    torch.testing.assert_close(peaks, peaks.flip(0), rtol=0, atol=1e-9)


def test_batches_dtypes_and_gradients():
    scan = cone_beam(Volume((3, 4, 5), (1.0, 1.5, 1.2)), num_views=6, margin=1.2)
    A, g = Projector(scan), torch.Generator().manual_seed(0)
    y = torch.randn(2, 2, *scan.sino_shape, dtype=torch.float64, generator=g)
    x = fbp(A, y, window="hann")
    assert x.shape == (2, 2, 3, 4, 5)
    torch.testing.assert_close(x[1, 0], fbp(A, y[1, 0], window="hann"))
    torch.testing.assert_close(fbp(A, y.float(), window="hann").double(), x, atol=1e-5, rtol=1e-4)
    v = y[0, 0].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: fbp(A, t), v)
    assert torch.autograd.gradgradcheck(lambda t: fbp(A, t), v)


STEEP = ConeBeam(  # cone angle of 48 degrees, nothing symmetric: angles, detector, voxels
    Volume((9, 8, 7), (2.1, 0.9, 1.2)), 6, 11, 1.7, num_rows=14, row_pitch_mm=3.3, source_origin_mm=9.0,
    source_detector_mm=21.0, detector_offset_mm=1.1, angles=[0.2, 1.7, 2.4, 3.3, 4.9, 5.5],
)  # fmt: skip


def test_the_cosine_is_that_of_the_ray_to_the_central_ray():
    """From the rays themselves, up to 48 degrees off in the corners of the detector."""
    _, direction = STEEP.rays()  # (V, R, U, 3)
    for v, t in enumerate(STEEP.angles):
        cosine = direction[v] @ np.array([-np.sin(t), np.cos(t), 0.0])
        np.testing.assert_allclose(fan_cosine(STEEP, torch.zeros(1, dtype=torch.float64)), cosine, rtol=1e-12)
    assert cosine.min() < 0.67


def fdk_at(scan, y, voxel):
    """Feldkamp's formula at one voxel, written out with loops: (V, R, U) data, ramp filter."""
    z, j, i = (scan.volume.axis(k)[n] for k, n in enumerate(voxel))
    scale = scan.source_origin_mm / scan.source_detector_mm
    pitch, u, v = scan.pitch_mm * scale, scan.columns() * scale, scan.rows() * scale  # detector moved into the axis
    gaps = np.diff(scan.angles, append=scan.angles[0] + 2 * np.pi)  # the angles rise
    total = 0.0
    for n, t in enumerate(scan.angles):
        share = (gaps[n] + gaps[n - 1]) / 2
        depth = (scan.source_origin_mm - i * np.sin(t) + j * np.cos(t)) / scan.source_origin_mm  # L / SO
        places = (i * np.cos(t) + j * np.sin(t)) / depth, z / depth
        column, row = (places[0] - u[0]) / pitch, (places[1] - v[0]) / (v[1] - v[0])
        for r in range(scan.num_rows):
            for c in range(scan.num_cols):
                weight = max(0, 1 - abs(row - r)) * max(0, 1 - abs(column - c))
                if weight > 0:
                    cosine = scan.source_origin_mm / np.sqrt(scan.source_origin_mm**2 + u**2 + v[r] ** 2)
                    odd = np.abs(np.arange(scan.num_cols) - c)
                    ramp = np.where(odd % 2 == 1, -1 / (np.pi * np.maximum(odd, 1) * pitch) ** 2, 0.0)
                    ramp[c] = 1 / (4 * pitch**2)
                    total += share / 2 * weight / depth**2 * pitch * (ramp * cosine * y[n, r]).sum()
    return total


def test_a_wide_cone_with_unequal_views_is_the_formula_written_out():
    y = torch.rand(STEEP.sino_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = fbp(Projector(STEEP), y)
    for voxel in ((0, 0, 0), (8, 3, 2), (4, 4, 3), (2, 7, 6), (6, 1, 5)):
        assert float(x[voxel]) == pytest.approx(fdk_at(STEEP, y.numpy(), voxel), rel=1e-10, abs=1e-12)
