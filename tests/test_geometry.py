"""Geometries: what they accept, and where their rays run."""

import math

import numpy as np
import pytest

from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume

VOLUME = Volume((20, 30), 1.0)
FAN = {"num_views": 4, "num_cols": 9, "pitch_mm": 2.0, "source_origin_mm": 100.0, "source_detector_mm": 150.0}
CONE = {**FAN, "num_rows": 5}


def test_axes_put_row_0_at_the_top_and_column_0_at_the_left():
    volume = Volume((2, 3, 4), (1.0, 2.0, 0.5))
    assert volume.axis(0).tolist() == [-0.5, 0.5]
    assert volume.axis(1).tolist() == [2.0, 0.0, -2.0]
    assert volume.axis(2).tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert volume.extent_mm == (2.0, 6.0, 2.0)


def test_default_angles_are_equally_spaced_over_the_span():
    par, fan = ParallelBeam(VOLUME, 4, 9, 1.0), FanBeam(VOLUME, **FAN)
    np.testing.assert_allclose(par.angles, np.arange(4) * math.pi / 4)
    np.testing.assert_allclose(fan.angles, np.arange(4) * math.pi / 2)
    assert ParallelBeam(VOLUME, 2, 9, 1.0, angles=[0.3, 0.1]).angles == (0.3, 0.1)


def test_parallel_rays_keep_their_detector_coordinate():
    geometry = ParallelBeam(VOLUME, 5, 7, 1.5, detector_offset_mm=0.4)
    points, directions = geometry.rays()
    t = np.asarray(geometry.angles)[:, None]
    u = points[..., 0] * np.cos(t) + points[..., 1] * np.sin(t)
    np.testing.assert_allclose(u, np.broadcast_to((np.arange(7) - 3) * 1.5 + 0.4, (5, 7)), atol=1e-12)
    np.testing.assert_allclose(directions[..., 0] * np.cos(t) + directions[..., 1] * np.sin(t), 0, atol=1e-15)


def test_fan_rays_start_on_the_source_circle_and_the_central_one_meets_the_axis():
    points, directions = FanBeam(VOLUME, **FAN).rays()
    np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 100.0)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1.0)
    p, d = points[:, 4], directions[:, 4]
    np.testing.assert_allclose(p[:, 0] * d[:, 1] - p[:, 1] * d[:, 0], 0, atol=1e-12)


def test_the_middle_row_of_a_cone_is_the_fan():
    cone = ConeBeam(Volume((4, 20, 30)), **CONE)
    (cp, cd), (fp, fd) = cone.rays(), FanBeam(VOLUME, **FAN).rays()
    np.testing.assert_allclose(cp[:, 2, :, :2], fp, atol=1e-12)
    np.testing.assert_allclose(cd[:, 2, :, :2], fd, atol=1e-12)
    assert cone.sino_shape == (4, 5, 9)
    assert (cd[:, 4, :, 2] > 0).all()


def test_equal_geometries_are_equal_keys():
    a, b = (FanBeam(VOLUME, **FAN, angles=np.array([0, 1, 2, 3])) for _ in range(2))
    assert a == b
    assert len({a, b}) == 1


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("shape", lambda: Volume((0, 3))),
        ("shape", lambda: Volume((3,))),
        ("shape", lambda: Volume((3, 2.5))),
        ("voxel_mm", lambda: Volume((3, 3), -1.0)),
        ("voxel_mm", lambda: Volume((3, 3), math.nan)),
        ("voxel_mm", lambda: Volume((3, 3), (1.0, 1.0, 1.0))),
        ("num_views", lambda: ParallelBeam(VOLUME, 0, 5, 1.0)),
        ("num_cols", lambda: ParallelBeam(VOLUME, 3, True, 1.0)),
        ("pitch_mm", lambda: ParallelBeam(VOLUME, 3, 5, math.inf)),
        ("angles", lambda: ParallelBeam(VOLUME, 3, 5, 1.0, angles=[0.0, 1.0])),
        ("angles", lambda: ParallelBeam(VOLUME, 2, 5, 1.0, angles=[0.0, math.nan])),
        ("detector_offset_mm", lambda: ParallelBeam(VOLUME, 2, 5, 1.0, detector_offset_mm=math.nan)),
        ("volume", lambda: ParallelBeam(Volume((3, 3, 3)), 2, 5, 1.0)),
        ("volume", lambda: ConeBeam(VOLUME, **CONE)),
        ("source_origin_mm", lambda: FanBeam(VOLUME, **{**FAN, "source_origin_mm": 10.0})),
        ("source_origin_mm", lambda: FanBeam(VOLUME, 4, 9, 2.0)),
        ("source_detector_mm", lambda: FanBeam(VOLUME, **{**FAN, "source_detector_mm": 0.0})),
        ("num_rows", lambda: ConeBeam(Volume((4, 20, 30)), **FAN)),
    ],
)
def test_bad_geometry_names_the_argument(argument, make):
    with pytest.raises(ArgumentError) as caught:
        make()
    assert caught.value.argument == argument


def test_the_source_stays_half_a_voxel_outside_the_corners():
    volume = Volume((3, 7), (2.0, 1.0))  # 6 x 7 mm, with half a voxel on every side 8 x 8
    assert volume.reach_mm == pytest.approx(math.hypot(4, 4))
    FanBeam(volume, **{**FAN, "source_origin_mm": 5.66})
    with pytest.raises(ArgumentError, match="source_origin_mm"):
        FanBeam(volume, **{**FAN, "source_origin_mm": 5.65})


@pytest.mark.parametrize(
    "scan", [ParallelBeam(VOLUME, 2, 9, 2.0, detector_offset_mm=0.4), ConeBeam(Volume((2, 20, 30), 1.0), **CONE)]
)
def test_a_wider_detector_holds_the_cells_of_the_narrow_one(scan):
    np.testing.assert_allclose(scan.wider(3, 1).columns()[3:-1], scan.columns())
    assert scan.wider(3, 1).num_cols == scan.num_cols + 4
