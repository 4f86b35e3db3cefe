import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib import metrics
from ctlib.errors import ArgumentError
from ctlib.geometry import FanBeam, ParallelBeam, Volume
from ctlib.phantoms import Ellipsoids, shepp_logan
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.recon.fbp import WINDOWS, filter_sinogram, ramp_kernel, view_weights, window_response


def radius(volume):
    y, x = (torch.as_tensor(volume.axis(i).copy()) for i in (0, 1))
    return torch.hypot(y[:, None], x[None, :])


def fan_beam(volume, num_views, num_cols, pitch_mm, **options):
    size = volume.extent_mm[0]
    return FanBeam(
        volume, num_views, num_cols, pitch_mm, source_origin_mm=1.5 * size, source_detector_mm=2.5 * size, **options
    )


def test_shepp_logan_from_exact_data():
    """180 views, 256^2; exact averages over 1 mm cells. Data range: the phantom's own, 0 to 0.02/mm."""
    volume, phantom = Volume((256, 256)), shepp_logan(256.0, mu_per_mm=0.02)
    A = Projector(ParallelBeam(volume, 180, 363, 1.0))
    x = fbp(A, phantom.line_integrals(A.geometry, rays_per_bin=8))
    truth = phantom.raster(volume, supersample=8, dtype=torch.float64)
    assert metrics.psnr(x, truth, data_range=0.02, mask=radius(volume) < 0.95 * 128) >= 33.0


@settings(deadline=None, max_examples=20)
@given(
    st.sampled_from(["parallel", "fan"]),
    st.floats(0.05, 5),
    st.floats(0.25, 2),
    st.floats(-3.3, 3.3),
    st.sampled_from(WINDOWS),
)
def test_a_unit_disc_reconstructs_to_one(kind, voxel_mm, relative_pitch, offset, window):
    """Every pixel of the interior, from exact data, over pixel sizes, pitches, windows and detector shifts."""
    n = 64
    volume = Volume((n, n), voxel_mm)
    disc = Ellipsoids(np.ones(1), np.zeros((1, 2)), np.full((1, 2), 0.25 * n * voxel_mm), np.zeros(1))
    if kind == "parallel":
        pitch = relative_pitch * voxel_mm
        geometry = ParallelBeam(volume, 120, int(1.2 * n / relative_pitch), pitch, detector_offset_mm=offset * voxel_mm)
    else:
        pitch = relative_pitch * voxel_mm * 5 / 3
        cols = int(1.3 * n / relative_pitch)
        geometry = fan_beam(volume, 240, cols, pitch, detector_offset_mm=offset * voxel_mm)
    x = fbp(Projector(geometry), disc.line_integrals(geometry, rays_per_bin=4), window=window)
    inside = radius(volume) < (0.25 * n - 5) * voxel_mm
    assert (x[inside] - 1).abs().max() < 0.02
    assert abs(x[inside].mean() - 1) < 0.003


@pytest.mark.parametrize("voxel_mm", [0.5, 1.0, 3.7])
@pytest.mark.parametrize("relative_pitch", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["parallel", "fan"])
def test_a_unit_box_reconstructs_to_one_percent(kind, relative_pitch, voxel_mm):
    volume = Volume((64, 64), voxel_mm)
    cols = int(1.9 * 64 / relative_pitch)
    if kind == "parallel":
        geometry = ParallelBeam(volume, 100, cols, relative_pitch * voxel_mm)
    else:
        geometry = fan_beam(volume, 200, cols, relative_pitch * voxel_mm * 5 / 3)
    A, box = Projector(geometry), torch.zeros(64, 64, dtype=torch.float64)
    box[16:48, 16:48] = 1
    x = fbp(A, A(box))
    assert abs(x[20:44, 20:44].mean() - 1) < 0.01
    assert (x[24:40, 24:40] - 1).abs().max() < 0.03


def test_anisotropic_pixels_and_shifted_discs_land_in_place():
    """A small disc off the axis, top right: the orientation of rows, columns and angles is the phantom's."""
    volume = Volume((48, 96), (2.0, 1.0))
    disc = Ellipsoids(np.ones(1), np.array([[20.0, 25.0]]), np.full((1, 2), 12.0), np.zeros(1))
    truth = disc.raster(volume, supersample=8, dtype=torch.float64)
    for geometry in (ParallelBeam(volume, 150, 140, 1.0), fan_beam(volume, 300, 190, 1.3)):
        x = fbp(Projector(geometry), disc.line_integrals(geometry, rays_per_bin=4))
        assert metrics.rmse(x, truth) < 0.05


@settings(deadline=None, max_examples=10)
@given(st.floats(0, 3), st.integers(2, 3), st.booleans(), st.integers(0, 1000))
def test_any_start_angle_several_turns_and_any_order_give_the_same_image(start, turns, fan, seed):
    volume = Volume((24, 24))
    disc = Ellipsoids(np.ones(1), np.array([[3.0, -4.0]]), np.array([[5.0, 3.0]]), np.zeros(1))
    span = 2 * math.pi if fan else math.pi
    once = np.arange(60) * span / 60
    order = np.random.default_rng(seed).permutation(60 * turns)
    many = start + np.concatenate([once + k * span for k in range(turns)])[order]
    images = []
    for angles in (once, once + start, many):
        options = {"num_views": len(angles), "num_cols": 50, "angles": angles}
        geometry = fan_beam(volume, pitch_mm=1.3, **options) if fan else ParallelBeam(volume, pitch_mm=1.0, **options)
        images.append(fbp(Projector(geometry), disc.line_integrals(geometry, rays_per_bin=2)))
    torch.testing.assert_close(images[1], images[2], atol=1e-10, rtol=0)
    assert (images[0] - images[2]).norm() < 0.3 * images[0].norm()  # other streaks, same disc: 24 pixels are coarse


def test_golden_angle_views_are_weighted_by_their_share():
    volume = Volume((32, 32))
    disc = Ellipsoids(np.ones(1), np.zeros((1, 2)), np.full((1, 2), 10.0), np.zeros(1))
    angles = (np.arange(100) * math.pi * (math.sqrt(5) - 1) / 2) % math.pi
    geometry = ParallelBeam(volume, 100, 48, 1.0, angles=angles)
    x = fbp(Projector(geometry), disc.line_integrals(geometry, rays_per_bin=4))
    assert (x[radius(volume) < 6] - 1).abs().max() < 0.03


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 50), st.floats(-10, 10), st.integers(0, 1000))
def test_view_weights_sum_to_the_period_and_follow_their_views(num, start, seed):
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    angles = (start + torch.arange(num, dtype=torch.float64) * math.pi / num)[order]
    weights = view_weights(angles, math.pi)
    torch.testing.assert_close(weights, torch.full((num,), math.pi / num, dtype=torch.float64))


@pytest.mark.parametrize("period", [math.pi, 2 * math.pi])
def test_a_view_of_unequal_ones_stands_for_all_angles_it_is_nearest_to(period):
    """Counted on a fine circle; views in any order, some of them turns away."""
    angles = torch.tensor([2.9, 0.1, 0.8, 1.0, 1.7, 2.3], dtype=torch.float64) * period / math.pi
    angles = angles + torch.tensor([0, 3, -1, 0, 2, 0]) * period
    circle = (torch.arange(60_000, dtype=torch.float64) + 0.5) * period / 60_000
    apart = (circle[:, None] - angles + period / 2) % period - period / 2
    shares = torch.bincount(apart.abs().argmin(1), minlength=6).double() * period / 60_000
    torch.testing.assert_close(view_weights(angles, period), shares, rtol=0, atol=2 * period / 60_000)


def test_the_kernel_is_the_ramp_below_nyquist():
    """The transform of the sampled kernel times the pitch is |f| up to truncation, and its sum vanishes."""
    num, pitch = 512, 0.7
    response = torch.fft.rfft(ramp_kernel(num, pitch)).real * pitch
    f = torch.arange(num + 1, dtype=torch.float64) / (2 * num * pitch)
    torch.testing.assert_close(response, f, atol=2e-4 / pitch, rtol=0)
    assert 0 < response[0] < 1 / (num * pitch)


def test_filtering_equals_direct_convolution_without_wrap_around():
    y = torch.rand(3, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    n = torch.arange(37)
    kernel = ramp_kernel(64, 0.5)[(n[:, None] - n[None, :]).abs()]
    torch.testing.assert_close(filter_sinogram(y, 0.5), 0.5 * y @ kernel)


def test_windows_are_one_at_zero_and_ordered_at_nyquist():
    f = torch.tensor([0.0, 1.0], dtype=torch.float64)
    values = torch.stack([window_response(name, f) for name in WINDOWS])
    torch.testing.assert_close(values[:, 0], torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(values[:, 1], torch.tensor([1, 2 / math.pi, 0, 0.08, 0], dtype=torch.float64))


def test_windows_trade_noise_for_resolution():
    A = Projector(ParallelBeam(Volume((64, 64)), 90, 92, 1.0))
    noise = torch.randn(4, 90, 92, generator=torch.Generator().manual_seed(0))
    spread = [fbp(A, noise, window=name)[:, 16:48, 16:48].std().item() for name in WINDOWS]
    assert spread == sorted(spread, reverse=True)


@pytest.mark.parametrize("fan", [False, True])
def test_batches_dtypes_and_gradients(fan):
    volume = Volume((9, 8), (1.0, 1.5))
    geometry = fan_beam(volume, 12, 14, 1.7) if fan else ParallelBeam(volume, 7, 14, 1.1)
    A, g = Projector(geometry), torch.Generator().manual_seed(0)
    y = torch.randn(2, 3, *geometry.sino_shape, dtype=torch.float64, generator=g)
    x = fbp(A, y, window="hann")
    assert x.shape == (2, 3, 9, 8)
    torch.testing.assert_close(x[1, 2], fbp(A, y[1, 2], window="hann"))
    single = fbp(A, y.float(), window="hann")
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), x, atol=1e-5, rtol=1e-4)
    v = y[0, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: fbp(A, t), v)
    assert torch.autograd.gradgradcheck(lambda t: fbp(A, t), v)


def test_what_fbp_cannot_do_is_refused_by_name():
    volume = Volume((16, 16))
    y = torch.zeros(20, 24)
    half = np.arange(20) * math.pi / 40
    with pytest.raises(ArgumentError, match="angles"):
        fbp(Projector(ParallelBeam(volume, 20, 24, 1.0, angles=half)), y)
    with pytest.raises(ArgumentError, match="angles"):
        fbp(Projector(fan_beam(volume, 20, 24, 1.0, angles=2 * half)), y)
    A = Projector(ParallelBeam(volume, 20, 24, 1.0))
    with pytest.raises(ArgumentError, match="window"):
        fbp(A, y, window="gauss")
    with pytest.raises(ArgumentError, match="y: got"):
        fbp(A, y.T)
    with pytest.raises(ArgumentError, match="A: got str"):
        fbp(SimpleNamespace(geometry="a helix"), y)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_image():
    A = Projector(ParallelBeam(Volume((32, 32)), 30, 46, 1.0))
    y = torch.randn(2, 30, 46, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fbp(A, y.cuda()).cpu(), fbp(A, y), atol=1e-4, rtol=1e-4)
