"""The slices that a deep image prior is put to: never stretched, cut and averaged as their words say."""

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.dip import bodies
from ctlib.units import mu_from_hu

pytest.importorskip("scipy")


def disc(shape, center, radius, inside=40.0):
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    return torch.where((y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2, inside, -1000.0)


def extent(gray):
    return [int(gray.amax(axis).gt(0.3).sum()) for axis in (1, 0)]


def test_the_skin_holds_gas_and_leaves_the_couch_out():
    hu = disc((64, 80), (30, 40), 20)
    hu[30:34, 40:44] = -1000  # gas
    hu[58:60] = 100  # the couch
    assert torch.equal(bodies.inside_skin(hu), disc((64, 80), (30, 40), 20) > 0)
    assert bodies.inside_skin(torch.zeros(5, 7)).all()


def test_a_slice_is_reduced_to_the_square_around_its_body_and_not_stretched():
    """A slice that is not square once was, and a disc came out as an ellipse."""
    hu = disc((128, 64), (40, 30), 20)
    small, k, told = bodies.reduced(hu, 24)
    assert small.shape == (24, 24)
    assert k == 2
    assert "48 x 48 pixels around the body, means over 2 x 2" in told
    body = bodies.body_of("disc", small, 2.0, told)
    rows, cols = extent(body.gray)
    assert abs(rows - cols) <= 1
    assert small.mean() == pytest.approx(float(hu[16:64, 6:54].mean()), abs=30)


def test_a_body_wider_than_the_slice_is_continued_by_air():
    small, k, _ = bodies.reduced(torch.full((6, 10), 40.0), 4)
    assert k == 3
    assert small.shape == (4, 4)
    assert small.min() == -1000
    assert small.max() == pytest.approx(40)


def test_a_readers_slice_keeps_its_pixels_and_its_shape(tmp_path, capsys):
    hu = np.random.default_rng(0).uniform(-400, 400, (40, 21))
    np.save(tmp_path / "own.npy", hu)
    own = bodies.own_body(str(tmp_path / "own.npy"), 32, "HU", multiple=4)
    assert own.hu.numpy() == pytest.approx(hu[4:36, :20], abs=1e-3)
    assert own.gray.min() == pytest.approx(0.1)
    assert "its middle 32 x 20 pixels as they are" in capsys.readouterr().out
    np.save(tmp_path / "mu.npy", mu_from_hu(torch.from_numpy(hu)).numpy())
    again = bodies.own_body(str(tmp_path / "mu.npy"), 32, "1/mm", multiple=4)
    assert again.gray.numpy() == pytest.approx(own.gray.numpy(), abs=1e-4)
    np.save(tmp_path / "gray.npy", np.linspace(0, 1, 64).reshape(8, 8))
    assert bodies.own_body(str(tmp_path / "gray.npy"), 8, "gray").gray[-1, -1] == pytest.approx(0.9)
    with pytest.raises(ArgumentError, match="at least 64 a side"):
        bodies.own_body(str(tmp_path / "own.npy"), 64, "HU", multiple=64)


def test_measured_bodies_of_two_splits_are_of_two_people_and_say_where_they_come_from():
    real, val = bodies.real_body(32), bodies.real_body(32, "val")
    assert real.gray.shape == val.gray.shape == (32, 32)
    assert real.name == "real32"
    assert val.name == "val32"
    assert "The Cancer Imaging Archive" in real.source
    assert real.source.split("patient ")[1][:6] != val.source.split("patient ")[1][:6]
    assert 0.3 < float(real.region.float().mean()) < 0.8
    with pytest.raises(ArgumentError, match="index"):
        bodies.real_body(32, index=999)


def test_noise_is_measured_from_the_image():
    x = bodies.synthetic_body(64).gray
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert bodies.measured_noise(0.2 * noise) == pytest.approx(0.2, rel=0.05)
    assert bodies.measured_noise(x + 0.1 * noise) == pytest.approx(0.1, rel=0.15)
    assert bodies.measured_noise(x) < 0.03
