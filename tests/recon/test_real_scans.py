"""FBP of scans as they are: short, with gaps, unequal steps, displaced detectors. Discs from exact line integrals."""

import math
import warnings

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError, IncompleteScanWarning
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.phantoms import Ellipsoids
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.recon.redundancy import scan_weights

VOLUME = Volume((64, 64), 3.0)
DISCS = ((12.0, -8.0, 50.0), (-45.0, 30.0, 18.0))  # x, y, radius: off the axis, so that no error cancels
MU = 0.02
DEGREE = math.pi / 180
PLACES = {"source_origin_mm": 400.0, "source_detector_mm": 700.0}  # 220 columns of 2 mm: a fan of 35 degrees
FAN = 2 * math.atan(220 / 700)
RANDOM = np.random.default_rng(0)

pytestmark = pytest.mark.usefixtures("one_thread")


def discs(ndim=2):
    """Discs, or long cylinders of the same section."""
    table = np.array([(x, y, 0.0, r, r, 500.0) for x, y, r in DISCS])
    return Ellipsoids(np.full(2, MU), table[:, :ndim], table[:, 3 : 3 + ndim], np.zeros(2))


def fan(angles, num_cols=220, offset=0.0):
    return FanBeam(VOLUME, len(angles), num_cols, 2.0, **PLACES, angles=angles, detector_offset_mm=offset)


def par(angles, num_cols=190, offset=0.0):
    return ParallelBeam(VOLUME, len(angles), num_cols, 1.0, angles=angles, detector_offset_mm=offset)


def cone(angles, num_cols=220, offset=0.0, rows=5):
    return ConeBeam(
        Volume((3, 64, 64), 3.0), len(angles), num_cols, 2.0, num_rows=rows, row_pitch_mm=6.0, **PLACES, angles=angles,
        detector_offset_mm=offset,
    )  # fmt: skip


def turn(num, degrees=360.0):
    return np.arange(num) * degrees * DEGREE / num


def without(angles, *dropped):
    return np.delete(angles, dropped)


def near(x, y, radius):
    rows, columns = (torch.as_tensor(VOLUME.axis(i).copy()) for i in (0, 1))
    return torch.hypot(rows[:, None] - y, columns[None, :] - x) < radius


def plane(geometry, **options):
    y = discs(geometry.volume.ndim).line_integrals(geometry, rays_per_bin=3)
    x = fbp(Projector(geometry), y, **options) / MU
    return x if x.ndim == 2 else x[len(x) // 2]


def assert_discs(x, mean=0.004, pixel=0.03):
    """Both discs have their value, and around them there is nothing."""
    for cx, cy, radius in DISCS:
        inside = near(cx, cy, radius - 8)
        assert abs(float(x[inside].mean()) - 1) < mean
        assert float((x[inside] - 1).abs().max()) < pixel
    outside = near(0, 0, 90) & ~near(12, -8, 58) & ~near(-45, 30, 26)
    assert float(x[outside].abs().mean()) < pixel
    assert abs(float(x[outside].mean())) < mean


COMPLETE = {
    "fan, half a turn and the fan": fan(np.linspace(0.3, 0.3 + math.pi + FAN, 220)),
    "fan, 210 degrees: half a turn and the object": fan(turn(211, 211)),
    "fan, 240 degrees": fan(turn(240, 240)),
    "fan, 300 degrees, backwards": fan(-turn(300, 300)),
    "fan, 355 degrees": fan(turn(355, 355)),
    "fan, 230 degrees, unequal steps": fan(np.cumsum(np.random.default_rng(1).uniform(0.4, 1.6, 230)) * DEGREE),
    "fan, 230 degrees, unequal steps, unordered": fan(np.random.default_rng(2).permutation(turn(230, 230) + 9.0)),
    "fan, 500 degrees": fan(turn(500, 500)),
    "fan, golden angle": fan(np.arange(360) * math.pi * (math.sqrt(5) - 1)),
    "fan, 357 views of 360": fan(without(turn(360), 20, 150, 300)),
    "fan, 357 views of 360, three in a row": fan(without(turn(360), 150, 151, 152)),
    "fan, every tenth view dropped": fan(without(turn(360), *range(0, 360, 10))),
    "fan, a gap of 5 degrees": fan(without(turn(360), *range(100, 105))),
    "fan, two gaps of 30 degrees": fan(without(turn(360), *range(100, 130), *range(180, 210))),
    "fan, displaced by 50 mm": fan(turn(360), 150, 50.0),
    "fan, displaced by -80 mm": fan(turn(360), 130, -80.0),
    "fan, displaced, unequal steps": fan(turn(360) + RANDOM.uniform(-0.3, 0.3, 360) * DEGREE, 150, 50.0),
    "fan, displaced a little, 250 degrees": fan(turn(250, 250), 220, 12.0),
    "parallel, a turn": par(turn(360)),
    "parallel, 1.3 half turns": par(turn(260, 234)),
    "parallel, both ends of the half turn": par(np.linspace(0, math.pi, 201)),
    "parallel, golden angle": par(np.arange(300) * math.pi * (math.sqrt(5) - 1) / 2),
    "parallel, unequal steps": par(turn(220, 180) + RANDOM.uniform(-0.3, 0.3, 220) * DEGREE),
    "parallel, displaced by 40 mm": par(turn(360), 130, 40.0),
    "parallel, displaced by -60 mm, unequal steps": par(np.cumsum(RANDOM.uniform(0.8, 1.2, 360)) * DEGREE, 130, -60.0),
    "parallel, displaced a little, a turn with a gap": par(without(turn(360), *range(50, 70)), 200, 10.0),
    "parallel, displaced a little, half a turn": par(turn(220, 180), 200, 10.0),
    "cone, half a turn and the fan": cone(np.linspace(0.3, 0.3 + math.pi + FAN, 220)),
    "cone, displaced by 50 mm": cone(turn(360), 150, 50.0),
    "cone, a gap of 5 degrees": cone(without(turn(360), *range(100, 105))),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPLETE)
def test_every_scan_that_sees_all_lines_gives_the_discs_their_value(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert_discs(plane(COMPLETE[name]))


@pytest.mark.parametrize("name", COMPLETE)
def test_rays_along_one_line_count_once_together(name):
    """Over a turn, a column and its mirror image share every line: the integrals of their weights add up to it."""
    geometry = COMPLETE[name]
    weights = scan_weights(geometry)
    rays = torch.ones(geometry.num_views, geometry.num_cols) if weights.rays is None else weights.rays
    assert float(rays.min()) >= 0
    share = (weights.views[:, None] * rays).sum(0).numpy() / math.pi
    columns = geometry.columns()
    for u, one in zip(columns, share, strict=True):
        partner = np.flatnonzero(np.isclose(columns, -u, atol=1e-6))
        if len(partner) and abs(u) < 100:  # with its partner on the detector; beyond, short scans may miss lines
            assert one + share[partner[0]] == pytest.approx(2, abs=0.02)
        elif u * geometry.detector_offset_mm > 0 and weights.missing.max() == 0:
            assert one == pytest.approx(2, abs=1e-6)


def told(geometry, **options):
    """The image, and what was warned of."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        x = plane(geometry, **options)
    return x, [w for w in found if issubclass(w.category, IncompleteScanWarning)]


@pytest.mark.parametrize(("first", "count"), [(50, 6), (0, 4), (100, 12)])
def test_a_gap_of_a_half_turn_is_told_with_size_and_place_and_bridged(first, count):
    geometry = par(without(turn(220, 180), *range(first, first + count)))
    x, (warning,) = told(geometry)
    gap, place = (count + 1) * 180 / 220, (first - 1) % 220 * 180 / 220
    assert f"{gap:.3g} degrees after the view at {place:.4g}" in str(warning.message)
    assert warning.filename == __file__
    for cx, cy, radius in DISCS:
        assert abs(float(x[near(cx, cy, radius - 8)].mean()) - 1) < 0.01


def test_a_gap_of_a_displaced_detector_is_bridged_where_no_partner_is():
    x, (warning,) = told(par(without(turn(360), *range(50, 55)), 130, 40.0))
    assert "6 degrees after the view at 49" in str(warning.message)
    assert_discs(x, mean=0.01, pixel=0.12)


def test_a_little_less_than_a_short_scan_is_told_and_right_in_the_middle():
    """The discs reach to 72 mm, seen under 20.8 degrees: of half a turn and that, 195 views of a degree lack 4.8."""
    x, (warning,) = told(fan(turn(195, 195)))
    part = float(str(warning.message).partition("miss ")[2].partition(" %")[0])
    assert part == pytest.approx(100 * 4.8 / 360, abs=0.1)
    assert abs(float(x[near(12, -8, 42)].mean()) - 1) < 0.01


@pytest.mark.parametrize(
    ("geometry", "argument"),
    [
        (fan(turn(90, 90)), "angles"),
        (fan(turn(60, 60)), "angles"),
        (par(turn(120, 120)), "angles"),
        (par(without(turn(220, 180), *range(50, 75))), "angles"),
        (par(turn(5, 135)), "angles"),  # few views: the gap is no step of theirs
        (fan(turn(240, 240), 150, 50.0), "detector_offset_mm"),  # displaced and short
        (fan(turn(300, 300), 130, -80.0), "detector_offset_mm"),
        (par(turn(220, 180), 130, 40.0), "detector_offset_mm"),
        (cone(turn(220, 220), 150, 50.0), "detector_offset_mm"),
        (par(turn(360), 60, 31.0), "detector_offset_mm"),  # does not see the axis
    ],
)
def test_what_misses_too_much_is_refused_by_name(geometry, argument):
    with pytest.raises(ArgumentError) as caught:
        plane(geometry)
    assert caught.value.argument == argument


def test_a_limited_angle_is_reconstructed_on_demand():
    """What 120 degrees see: two thirds of the mean, and the edges along the rays."""
    x, (warning,) = told(par(turn(120, 120)), incomplete="warn")
    assert "miss 33 % of the lines (gaps: 61 degrees after the view at 119)" in str(warning.message)
    assert float(x[near(12, -8, 42)].mean()) == pytest.approx(2 / 3, abs=0.03)


def test_an_empty_detector_needs_no_views():
    """A wide detector may see nothing at its ends: what is missing there is missing nowhere."""
    narrow = Ellipsoids(np.array([1.0]), np.array([[5.0, 3.0]]), np.array([[20.0, 20.0]]), np.zeros(1))
    geometry = fan(turn(192, 192))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        x = fbp(Projector(geometry), narrow.line_integrals(geometry, rays_per_bin=3))
    assert abs(float(x[near(5, 3, 12)].mean()) - 1) < 0.005


def test_one_scan_of_a_batch_that_needs_more_views_tells():
    geometry = fan(turn(192, 192))
    y = discs().line_integrals(geometry)
    with pytest.warns(IncompleteScanWarning, match="angles"):
        fbp(Projector(geometry), torch.stack([0 * y, y]))


def test_a_ball_off_the_plane_keeps_its_value_in_a_short_scan():
    """Feldkamp's weights with those of the short scan: a ball 18 mm above the orbit, seen under 3 degrees."""
    volume = Volume((16, 48, 48), 3.0)
    ball = Ellipsoids(np.array([1.0]), np.array([[10.0, -6.0, 9.0]]), np.full((1, 3), 14.0), np.zeros(1))
    angles = np.linspace(0, math.pi + 2 * math.atan(150 / 700), 200)
    scan = ConeBeam(volume, 200, 75, 4.0, num_rows=36, **PLACES, angles=angles)
    x = fbp(Projector(scan), ball.line_integrals(scan, rays_per_bin=2))
    z, y, x_ = (torch.as_tensor(volume.axis(i).copy()) for i in range(3))
    r = ((z - 9)[:, None, None] ** 2 + (y + 6)[:, None] ** 2 + (x_ - 10) ** 2).sqrt()
    assert abs(float(x[r < 8].mean()) - 1) < 0.01
    assert float((x[r < 8] - 1).abs().max()) < 0.05


SMALL = Volume((5, 6), 2.0)
SMALL_PLACES = {"source_origin_mm": 30.0, "source_detector_mm": 45.0}
SMALL_SCANS = {
    "short fan": FanBeam(SMALL, 9, 12, 2.5, **SMALL_PLACES, angles=turn(9, 250)),
    "displaced fan": FanBeam(SMALL, 9, 8, 2.5, **SMALL_PLACES, detector_offset_mm=4.0),
    "displaced parallel": ParallelBeam(SMALL, 9, 9, 1.5, angles=turn(9), detector_offset_mm=-3.1),
    "short cone": ConeBeam(
        Volume((2, 3, 3), 2.0), 7, 8, 2.5, num_rows=3, **SMALL_PLACES, angles=turn(7, 260), detector_offset_mm=0.4
    ),
}


@pytest.mark.parametrize("name", SMALL_SCANS)
def test_batches_dtypes_gradients_and_transforms(name):
    A, g = Projector(SMALL_SCANS[name]), torch.Generator().manual_seed(0)
    y = torch.randn(2, 3, *A.range_shape, dtype=torch.float64, generator=g)

    def image(t):
        return fbp(A, t, incomplete="warn", truncation="ignore")

    x = image(y)
    torch.testing.assert_close(x[1, 2], image(y[1, 2]))
    torch.testing.assert_close(image(y.float()).double(), x, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.func.vmap(torch.func.vmap(image))(y), x)
    torch.testing.assert_close(torch.func.jvp(image, (y,), (y.flip(0),))[1], x.flip(0))
    (back,) = torch.func.vjp(image, y)[1](x)
    torch.testing.assert_close((back * y).sum(), (x * x).sum())
    assert image(y[:0]).shape == (0, 3, *A.domain_shape)
    assert torch.autograd.gradcheck(image, y[0, :1].clone().requires_grad_())


@pytest.mark.parametrize(
    ("kind", "angles", "told"),
    [
        ("parallel", (0.5,) * 10, True), ("parallel", (0.0,), True), ("parallel", (0.0, 1.0, 2.0), True),
        ("parallel", tuple(math.pi / 4 * k for k in range(4)), False), ("fan", (0.0,), True),
        ("fan", tuple(math.pi / 3 * k for k in range(6)), True),
        ("fan", tuple(math.pi / 4 * k for k in range(8)), False),
    ],
)  # fmt: skip
def test_a_handful_of_views_is_told(kind, angles, told):
    """Equal steps are no gap, however large they are."""
    volume = Volume((24, 24))
    if kind == "parallel":
        geometry = ParallelBeam(volume, len(angles), 40, 1.0, angles=angles)
    else:
        geometry = FanBeam(
            volume, len(angles), 48, 2.0, source_origin_mm=60.0, source_detector_mm=100.0, angles=angles
        )  # fmt: skip
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fbp(Projector(geometry), torch.ones(geometry.sino_shape), truncation="ignore")
    assert any(issubclass(w.category, IncompleteScanWarning) for w in caught) is told
