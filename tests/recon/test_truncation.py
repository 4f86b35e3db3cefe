"""Detectors that end inside the object: told, by side; continued on demand. And what is no truncation is not told."""

import math
import warnings

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError, TruncationWarning
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.phantoms import Ellipsoids
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.recon._truncation import continued, truncated

VOLUME = Volume((64, 64), 2.0)
PLACES = {"source_origin_mm": 300.0, "source_detector_mm": 450.0}
MU = 0.02

pytestmark = pytest.mark.usefixtures("one_thread")


def ellipse(a, b=None, x=0.0, y=0.0):
    return Ellipsoids(np.array([MU]), np.array([[x, y]]), np.array([[a, a if b is None else b]]), np.zeros(1))


BODY = Ellipsoids(  # a body with two lungs and a spine that every view cuts off somewhere
    MU * np.array([1.0, -0.7, -0.7, 0.8]), np.array([[0, 0], [-25, 4], [25, 4], [0, -22.0]]),
    np.array([[58, 40], [16, 22], [16, 22], [7, 7.0]]), np.zeros(4),
)  # fmt: skip


def par(num_cols, offset=0.0, views=120, angles=None):
    return ParallelBeam(VOLUME, views, num_cols, 1.0, angles=angles, detector_offset_mm=offset)


def fan(num_cols, offset=0.0, views=180, angles=None):
    return FanBeam(VOLUME, views, num_cols, 1.5, **PLACES, angles=angles, detector_offset_mm=offset)


def radius():
    y, x = (torch.as_tensor(VOLUME.axis(i).copy()) for i in (0, 1))
    return torch.hypot(y[:, None], x[None, :])


def reconstructed(geometry, phantom, change=None, **options):
    """The image over its value, and what was warned of."""
    y = phantom.line_integrals(geometry, rays_per_bin=3)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        x = fbp(Projector(geometry), y if change is None else change(y), **options) / MU
    return x, [str(w.message) for w in found if issubclass(w.category, TruncationWarning)]


@pytest.mark.parametrize(
    ("geometry", "phantom", "said"),
    [
        (par(80), ellipse(50), "first and last column"),
        (par(80), ellipse(60, 30), "first and last column"),  # in some of the views alone
        (par(96, views=7), ellipse(50), "first and last column"),  # few views, close to the object's edge
        (par(99, offset=1.0), ellipse(50), "first column"),
        (par(99, offset=-1.0), ellipse(50), "last column"),
        (par(90, offset=1.5), ellipse(50), "first and last column"),
        (fan(80), ellipse(50), "first and last column"),
        (fan(70, views=150, angles=np.arange(150) * math.pi / 120), ellipse(50), "first and last column"),
        (fan(60, 30.0), ellipse(55), "last column"),  # displaced, and cut off at its long end
    ],
)
def test_a_truncated_object_is_told_with_its_sides(geometry, phantom, said):
    _, (message,) = reconstructed(geometry, phantom)
    assert f"beyond the {said}," in message
    assert "truncation='extrapolate'" in message
    assert reconstructed(geometry, phantom, truncation="ignore")[1] == []


@pytest.mark.parametrize(
    ("geometry", "phantom"),
    [
        (par(110), ellipse(50)),
        (par(101), ellipse(50)),  # ends at the last column's edge
        (par(96, offset=20.0, views=240, angles=np.arange(240) * math.pi / 120), ellipse(50)),  # by the displaced side
        (fan(90, 40.0), ellipse(50)),
        (fan(110, views=150, angles=np.arange(150) * math.pi / 120), ellipse(50)),
    ],
)
def test_what_is_not_truncated_is_not_told(geometry, phantom):
    assert reconstructed(geometry, phantom)[1] == []


def test_noise_at_the_ends_is_no_object_and_an_object_under_noise_is_one():
    g = torch.Generator().manual_seed(0)

    def noisy(y):
        return y + 0.05 * float(y.max()) * torch.randn(y.shape, generator=g, dtype=y.dtype)

    for _ in range(5):
        assert reconstructed(par(110), ellipse(50), noisy)[1] == []
    assert len(reconstructed(par(80), ellipse(50), noisy)[1]) == 1
    white = torch.randn(3, *par(110).sino_shape, generator=g)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        fbp(Projector(par(110)), white)


@pytest.mark.parametrize(("level", "told"), [(0.15, False), (0.5, True)])
def test_an_end_is_an_object_where_it_exceeds_six_standard_errors(level, told):
    """Noise of 0.1 in blocks of 4 views: six standard errors are 0.3."""
    y = torch.ones(1, 64, 1, 40)
    y[..., :10], y[..., -10:] = level, 0.0
    y += 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    assert truncated(y) == (told, False)


def test_one_truncated_scan_of_a_batch_and_transforms_tell():
    A, y = Projector(par(80)), torch.stack([ellipse(r).line_integrals(par(80)) for r in (20, 30, 50)])
    with pytest.warns(TruncationWarning):
        fbp(A, y)
    with pytest.warns(TruncationWarning):
        torch.func.vmap(lambda t: fbp(A, t))(y)
    with pytest.warns(TruncationWarning):
        torch.func.grad(lambda t: fbp(A, t).sum())(y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        fbp(A, y[:2])
        fbp(A, 0 * y)


def test_rows_of_a_cone_beam_are_looked_at_in_blocks():
    """Shoulders: wide in the upper quarter of the detector's rows alone."""
    scan = ConeBeam(Volume((4, 8, 8), 10.0), 20, 40, 3.0, num_rows=32, **PLACES)
    y = torch.zeros(scan.sino_shape)
    y[:, :, 12:28] = 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        fbp(Projector(scan), y)
    y[:, :8] = 1.0
    with pytest.warns(TruncationWarning, match="first and last"):
        fbp(Projector(scan), y)


@pytest.mark.parametrize(
    ("geometry", "phantom", "rms", "gain"),
    [  # rms over what every view sees; without the option: 0.20, 0.54, 0.15, 0.22, 0.55; BODY: 0.16 and 0.40
        (par(80), ellipse(50), 0.005, 40),
        (par(60), ellipse(50), 0.005, 100),
        (par(80), ellipse(45, x=9, y=-6), 0.02, 10),
        (par(70), ellipse(55, 36), 0.005, 40),
        (fan(60), ellipse(50), 0.01, 50),
        (par(80), BODY, 0.11, 1.5),  # lungs near the cut: far from a disc
        (par(60), BODY, 0.06, 7),
    ],
)
def test_continued_rows_give_values_near_the_true_ones(geometry, phantom, rms, gain):
    ratio = getattr(geometry, "source_origin_mm", 1.0) / getattr(geometry, "source_detector_mm", 1.0)
    seen = radius() < geometry.num_cols * geometry.pitch_mm * ratio / 2 - 3
    truth = phantom.raster(VOLUME, supersample=8, dtype=torch.float64) / MU
    with_option, messages = reconstructed(geometry, phantom, truncation="extrapolate")
    found, without = (
        (x - truth)[seen].square().mean().sqrt() for x in (with_option, reconstructed(geometry, phantom)[0])
    )
    assert messages == []
    assert found < rms
    assert gain * found < without


def test_a_disc_s_rows_are_continued_as_they_are():
    """A centered disc is what is assumed: beyond the end its own chords, to what the fit of a slope allows."""
    wide, narrow = (ellipse(50).line_integrals(par(n)) for n in (120, 80))
    rows, geometry = continued(narrow, par(80), (True, False))
    assert geometry == par(160, offset=-40.0)
    torch.testing.assert_close(rows[:, 80:], narrow)
    error = (rows[:, 60:80] - wide[:, :20]).abs().max() / wide.max()
    assert error < 0.02
    assert (rows[:, :60].abs() < 0.02 * wide.max()).all()


def test_nothing_is_continued_where_nothing_is_cut_off():
    A, y = Projector(fan(110)), ellipse(40, x=5).line_integrals(fan(110))
    within = radius() < 50
    torch.testing.assert_close(fbp(A, y, truncation="extrapolate")[within], fbp(A, y)[within], atol=1e-12, rtol=0)
    B, y = Projector(fan(80, 30.0)), ellipse(40, x=5).line_integrals(fan(80, 30.0))
    torch.testing.assert_close(fbp(B, y, truncation="extrapolate")[within], fbp(B, y)[within], atol=1e-12, rtol=0)


def test_continuing_is_differentiable_and_scales_with_the_data():
    geometry = ParallelBeam(Volume((4, 4), 2.0), 5, 6, 1.0)
    A, y = Projector(geometry), 1 + torch.rand(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def image(t):
        return fbp(A, t, truncation="extrapolate")

    assert torch.autograd.gradcheck(image, y[:1].clone().requires_grad_())
    torch.testing.assert_close(image(1000 * y), 1000 * image(y))
    torch.testing.assert_close(torch.func.vmap(image)(y), image(y))
    for empty in (0 * y, -y):
        slope = torch.func.grad(lambda t: image(t).square().sum())(empty)
        assert bool(slope.isfinite().all())


@pytest.mark.parametrize("name", ["truncation", "incomplete"])
def test_unknown_options_are_refused(name):
    with pytest.raises(ArgumentError, match=f"{name}: got 'yes'"):
        fbp(Projector(par(80)), torch.ones(120, 80), **{name: "yes"})
