"""Phantoms: line integrals and rasters against closed forms, anatomy within the body and reproducible."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.phantoms import Ellipsoids, band_limited_texture, shepp_logan, torso, torso_slice
from ctlib.phantoms.anatomy import Anatomy
from ctlib.phantoms.texture import soft_mask, tissue_texture

DISC = Ellipsoids([2.0], [[3.0, -1.0]], [[5.0, 5.0]], [0.3])


def test_the_integrals_of_a_disc_are_its_chords():
    geometry = ParallelBeam(Volume((32, 32)), 7, 40, 0.7)
    t, u = np.asarray(geometry.angles)[:, None], geometry.columns()[None, :]
    distance = u - (3.0 * np.cos(t) - 1.0 * np.sin(t))
    expected = 2.0 * 2 * np.sqrt(np.maximum(25.0 - distance**2, 0))
    np.testing.assert_allclose(DISC.line_integrals(geometry).numpy(), expected, atol=1e-12)


def test_a_ball_in_a_cone_beam_casts_its_chords():
    ball = Ellipsoids([1.0], [[1.0, 2.0, -0.5]], [[4.0, 4.0, 4.0]], [0.0])
    cone = ConeBeam(Volume((8, 16, 16)), 5, 9, 2.0, num_rows=7, source_origin_mm=30.0, source_detector_mm=60.0)
    p, d = cone.rays()
    to_center = np.array([1.0, 2.0, -0.5]) - p
    distance = np.linalg.norm(np.cross(to_center, d), axis=-1)
    expected = 2 * np.sqrt(np.maximum(16.0 - distance**2, 0))
    np.testing.assert_allclose(ball.line_integrals(cone).numpy(), expected, atol=1e-9)


@settings(deadline=None, max_examples=20, derandomize=True)
@given(angle=st.floats(-4, 4), a=st.floats(1, 6), b=st.floats(1, 6), x=st.floats(-3, 3), y=st.floats(-3, 3))
def test_every_parallel_view_holds_the_whole_mass(angle, a, b, x, y):
    ellipse = Ellipsoids([1.5], [[x, y]], [[a, b]], [angle])
    geometry = ParallelBeam(Volume((32, 32)), 3, 400, 0.05)
    mass = ellipse.line_integrals(geometry, 4).sum(1) * 0.05
    np.testing.assert_allclose(mass, 1.5 * math.pi * a * b, rtol=2e-3)
    raster = ellipse.raster(Volume((40, 40), 0.5), 8, torch.float64)
    np.testing.assert_allclose(float(raster.sum()) * 0.25, 1.5 * math.pi * a * b, rtol=1e-2)


def test_rays_per_bin_average_the_integral_over_the_bin():
    coarse, fine = (ParallelBeam(Volume((32, 32)), 4, n, 24.0 / n) for n in (12, 96))
    averaged = DISC.line_integrals(fine).reshape(4, 12, 8).mean(-1)
    torch.testing.assert_close(DISC.line_integrals(coarse, 8), averaged)


def test_a_raster_shows_the_ellipse_where_it_is():
    """Row 0 is the top: an ellipse at y > 0 lies in the upper half; inside it is its value, far away nothing."""
    image = Ellipsoids([0.7], [[-4.0, 6.0]], [[2.0, 1.0]], [0.0]).raster(Volume((32, 32)), 4)
    rows, cols = torch.nonzero(image > 0.69, as_tuple=True)
    assert (15.5 - rows.float().mean(), cols.float().mean() - 15.5) == pytest.approx((6.0, -4.0), abs=0.51)
    assert image[20:].abs().max() == 0


def test_shepp_logan_has_its_gray_values_in_the_plane():
    image = shepp_logan(256.0, mu_per_mm=1.0).raster(Volume((256, 256)), 1)
    values = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 1.0])
    assert (image[..., None] - values).abs().min(-1).values.max() < 1e-6
    slice_z0 = shepp_logan(64.0, ndim=3, mu_per_mm=1.0).raster(Volume((1, 64, 64)), 2)[0]
    assert slice_z0[32, 32] == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2, 7, 11])
def test_a_torso_is_a_body_in_air_with_plausible_attenuation(seed):
    volume = Volume((96, 96), 4.0)
    mu = torso_slice(volume, seed)
    y, x = (torch.as_tensor(volume.axis(i)) for i in (0, 1))
    outside = (x / 185) ** 2 + (y[:, None] / 140) ** 2 > 1
    assert mu[outside].abs().max() == 0
    assert 0.005 < float(mu.max()) < 0.06
    assert mu.min() > -1e-6
    body = torso(seed, 384.0).raster(Volume((96, 96), 4.0)) > 0.015
    assert 0.3 < body.float().mean() < 0.6


def test_a_torso_is_one_per_seed_and_leaves_the_global_stream_alone():
    volume = Volume((48, 48), 8.0)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a, b, c = torso_slice(volume, 3), torso_slice(volume, 3), torso_slice(volume, 4)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(a, torso_slice(volume, 3, texture=False))


def test_texture_has_unit_variance_and_no_fine_structure():
    field = band_limited_texture((64, 64), 6.0, torch.Generator().manual_seed(0), torch.float64)
    assert float(field.std()) == pytest.approx(1.0, abs=1e-9)
    assert abs(float(field.mean())) < 1e-9
    power = torch.fft.fft2(field).abs().square()
    f = torch.fft.fftfreq(64, dtype=torch.float64)
    fast = (f[:, None] ** 2 + f**2).sqrt() > 0.25
    assert power[fast].sum() / power.sum() < 1e-4


def test_the_texture_of_tissue_is_the_sum_of_fields_of_its_stream():
    def stream():
        return torch.Generator().manual_seed(3)

    g = stream()
    coarse, fine = (band_limited_texture((40, 50), 50 * r, g, torch.float64) for r in (0.04, 0.016))
    unit = tissue_texture((40, 50), (0.04, 0.016), stream())
    assert torch.equal(unit, (coarse + fine) / math.sqrt(2))
    assert torch.equal(tissue_texture((40, 50), (0.04, 0.016), stream(), weight=0.7), 0.7 * coarse + 0.7 * fine)
    assert torch.equal(tissue_texture((40, 50), (0.04,), stream(), dtype=torch.float32), coarse.float())


def test_a_texture_turns_into_another_one():
    turns = (0.0, 1.0, math.pi / 2)
    at = [tissue_texture((256, 256), (0.01,), torch.Generator().manual_seed(0), turn=t) for t in turns]
    assert torch.equal(at[0], tissue_texture((256, 256), (0.01,), torch.Generator().manual_seed(0)))
    assert float((at[0] * at[1]).mean()) == pytest.approx(math.cos(1.0), abs=0.05)
    assert float((at[0] * at[2]).mean()) == pytest.approx(0, abs=0.05)
    torch.testing.assert_close(at[1], math.cos(1.0) * at[0] + math.sin(1.0) * at[2])


def test_a_soft_mask_ramps_inside_its_ends():
    x = torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0, 9.0, 9.5, 10.0, 11.0])
    assert soft_mask(x, 0.0, 10.0, 1.0).tolist() == [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0]
    assert soft_mask(x, 0.0, math.inf, 1.0).tolist() == [0, 0, 0.5, 1, 1, 1, 1, 1, 1]


def test_an_anatomy_collects_as_many_values_as_its_tissues_have():
    a = Anatomy(np.random.default_rng(0), 10.0, {"soft": (1.0, 0.0), "bone": (1.0, 0.5), "hole": (0.0, 0.0)})
    a.add("soft", None, (0, 0), (1, 1))
    a.add("bone", "soft", (0.1, 0.2), (0.3, 0.4), 0.5)
    a.add("hole", "soft", (-0.5, 0), (0.1, 0.1))
    assert a.ellipsoids(0).values.tolist() == [1, -1], "the bone adds no first value"
    bone = a.ellipsoids(1)
    assert bone.values.tolist() == [0.5]
    np.testing.assert_allclose(np.column_stack([bone.centers_mm, bone.axes_mm, bone.angles_rad]), [[1, 2, 3, 4, 0.5]])


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("axes_mm", lambda: Ellipsoids([1.0], [[0.0, 0.0]], [[1.0, 0.0]], [0.0])),
        ("axes_mm", lambda: Ellipsoids([1.0, 2.0], [[0.0, 0.0]], [[1.0, 1.0]], [0.0])),
        ("values", lambda: Ellipsoids([math.nan], [[0.0, 0.0]], [[1.0, 1.0]], [0.0])),
        ("volume", lambda: DISC.raster(Volume((4, 4, 4)))),
        ("geometry", lambda: DISC.line_integrals(
            ConeBeam(Volume((4, 4, 4)), 1, 2, 1.0, num_rows=2, source_origin_mm=9.0, source_detector_mm=12.0))),
    ],
)  # fmt: skip
def test_bad_input_names_the_argument(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument


def test_the_fan_sees_the_same_disc_from_every_side():
    centered = Ellipsoids([1.0], [[0.0, 0.0]], [[5.0, 5.0]], [0.0])
    fan = FanBeam(Volume((16, 16)), 6, 21, 1.0, source_origin_mm=50.0, source_detector_mm=80.0)
    y = centered.line_integrals(fan)
    torch.testing.assert_close(y, y[:1].expand_as(y))
