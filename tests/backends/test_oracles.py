"""The projector against independent implementations: weights worked out here, and PyLops' dot test."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.phantoms import shepp_logan
from ctlib.projector import Projector


def ray_of(scan, view, column):
    """A point on the ray and its direction, (x, y) [mm], from the definition of the scan."""
    t, u = scan.angles[view], (column - (scan.num_cols - 1) / 2) * scan.pitch_mm + scan.detector_offset_mm
    along, to_source = np.array([math.cos(t), math.sin(t)]), np.array([math.sin(t), -math.cos(t)])
    if isinstance(scan, ParallelBeam):
        return u * along, to_source
    source = scan.source_origin_mm * to_source
    return source, u * along - (scan.source_detector_mm - scan.source_origin_mm) * to_source - source


def joseph(image, volume, point, direction):
    """Line integral by linear interpolation on every row, or every column, that the ray crosses."""
    (rows, cols), (height, width) = volume.shape, volume.voxel_mm
    if abs(direction[0]) / width > abs(direction[1]) / height:  # steps along x: the same with the axes exchanged
        turned = Volume((cols, rows), (width, height))
        return joseph(image.T[::-1, ::-1], turned, point[::-1], direction[::-1])
    centers = (np.arange(cols) - (cols - 1) / 2) * width
    knots = np.concatenate([[centers[0] - width], centers, [centers[-1] + width]])
    total = 0.0
    for row in range(rows):
        y = ((rows - 1) / 2 - row) * height
        x = point[0] + (y - point[1]) * direction[0] / direction[1]
        total += np.interp(x, knots, np.concatenate([[0], image[row], [0]]), 0, 0)
    return total * height * math.hypot(*direction) / abs(direction[1])


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    voxel=st.tuples(st.floats(0.4, 2.0), st.floats(0.4, 2.0)),
    angle=st.floats(0, 6.2),
    pitch=st.floats(0.3, 3.0),
    offset=st.floats(-3, 3),
    fan=st.booleans(),
)
def test_line_weights_worked_out_here(shape, voxel, angle, pitch, offset, fan):
    common = {"volume": Volume(shape, voxel), "num_views": 1, "num_cols": 9, "pitch_mm": pitch}
    common |= {"angles": [angle + 0.01], "detector_offset_mm": offset}
    source = 1.2 * common["volume"].reach_mm
    distances = {"source_origin_mm": source, "source_detector_mm": 1.9 * source}
    scan = FanBeam(**common, **distances) if fan else ParallelBeam(**common)
    image = np.random.default_rng(0).random(shape)
    ours = Projector(scan)(torch.from_numpy(image))[0].numpy()
    rays = [ray_of(scan, 0, column) for column in range(9)]
    speeds = np.array([np.abs(direction) / voxel[::-1] for _, direction in rays])
    clear = (
        np.abs(speeds[:, 0] / speeds[:, 1] - 1) > 1e-6
    )  # a ray exactly between the axes may be followed along either
    right = np.array([joseph(image, scan.volume, *ray) for ray in rays])
    np.testing.assert_allclose(ours[clear], right[clear], rtol=1e-9, atol=1e-9)


def clipped(polygon, normal, bound):
    """The part of a convex polygon with normal . p <= bound."""
    out = []
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        da, db = a @ normal - bound, b @ normal - bound
        if da <= 0:
            out.append(a)
        if (da < 0 < db) or (db < 0 < da):
            out.append(a + (b - a) * da / (da - db))
    return np.array(out)


def area(polygon):
    if len(polygon) < 3:
        return 0.0
    x, y = polygon.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def strip_weights(scan):
    """Area of every pixel under every bin over the bin's width, (V, U, Y, X) [mm]: what a bin of square pixels sees."""
    volume, out = scan.volume, np.zeros((scan.num_views, scan.num_cols, *scan.volume.shape))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * volume.voxel_mm[::-1]
    for v, t in enumerate(scan.angles):
        along = np.array([math.cos(t), math.sin(t)])
        for column, u in enumerate(scan.columns()):
            for i, y in enumerate(volume.axis(0)):
                for j, x in enumerate(volume.axis(1)):
                    left = clipped(corners + np.array([x, y]), along, u + scan.pitch_mm / 2)
                    both = clipped(left, -along, scan.pitch_mm / 2 - u) if len(left) > 2 else left
                    out[v, column, i, j] = area(both) / scan.pitch_mm
    return out


def test_strip_weights_worked_out_here():
    """Bins four pixels wide on a smooth image: five rays per bin see what strips see, one ray does not."""
    scan = ParallelBeam(Volume((24, 24)), 5, 9, 4.0, detector_offset_mm=0.6)
    y, x = (torch.from_numpy(scan.volume.axis(i).copy()) for i in (0, 1))
    image = torch.exp(-((x - 1.3) ** 2 + (y[:, None] + 0.7) ** 2) / (2 * 2.5**2))
    right = torch.from_numpy(np.einsum("vuij,ij->vu", strip_weights(scan), image.numpy()))
    one, five = (float((Projector(scan, rays_per_bin=k)(image) - right).norm() / right.norm()) for k in (1, 5))
    assert five < 0.005
    assert one > 10 * five


@pytest.mark.parametrize(("bin_mm", "rays_per_bin", "bound"), [(2.0, 2, 0.0045), (4.0, 4, 0.0030)])
def test_several_rays_per_bin_restore_the_accuracy_of_coarse_bins(bin_mm, rays_per_bin, bound):
    """Shepp-Logan 256 x 256 against exact averages over the bins; one ray per bin misses by much more."""
    phantom = shepp_logan(256.0)
    scan = ParallelBeam(Volume((256, 256)), 60, int(364 / bin_mm), bin_mm)
    image, exact = phantom.raster(scan.volume, 8, torch.float64), phantom.line_integrals(scan, 32)
    errors = [float((Projector(scan, rays_per_bin=k)(image) - exact).norm() / exact.norm()) for k in (1, rays_per_bin)]
    assert errors[1] < bound
    assert errors[1] < errors[0] / 1.5


SMALL = {
    "parallel": ParallelBeam(Volume((20, 23)), 7, 31, 0.9),
    "fan": FanBeam(Volume((20, 23)), 7, 31, 1.9, source_origin_mm=40.0, source_detector_mm=80.0),
    "cone": ConeBeam(Volume((9, 8, 7)), 5, 11, 2.0, num_rows=13, source_origin_mm=30.0, source_detector_mm=60.0),
}


@pytest.mark.parametrize("rays_per_bin", [1, 3])
@pytest.mark.parametrize("scan", SMALL.values(), ids=SMALL)
def test_pylops_finds_the_adjoint_exact(scan, rays_per_bin):
    pylops = pytest.importorskip("pylops", reason="PyLops is an optional oracle")
    A = Projector(scan, rays_per_bin=rays_per_bin)

    class Adapter(pylops.LinearOperator):
        def _matvec(self, x):
            return A(torch.from_numpy(np.ascontiguousarray(x)).reshape(A.domain_shape)).flatten().numpy()

        def _rmatvec(self, y):
            return A.T(torch.from_numpy(np.ascontiguousarray(y)).reshape(A.range_shape)).flatten().numpy()

    wrapped = Adapter(dtype=np.dtype("float64"), shape=(math.prod(A.range_shape), math.prod(A.domain_shape)))
    assert pylops.utils.dottest(wrapped, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scan", SMALL.values(), ids=SMALL)
def test_several_rays_per_bin_are_differentiable_twice(scan):
    A = Projector(scan, rays_per_bin=2)
    x = torch.rand(A.domain_shape, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(A(x).square().sum() / 2, x, create_graph=True)
    torch.testing.assert_close(g, A.T(A(x.detach())))
    v = torch.rand_like(x)
    (hv,) = torch.autograd.grad((g * v).sum(), x)
    torch.testing.assert_close(hv, A.T(A(v)))
