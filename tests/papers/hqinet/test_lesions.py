"""Lesions: where they are put, how a scanner shows them, what is measured of them."""

import math

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.hqinet import detection
from ctlib.papers.hqinet.cases import synthetic_case
from ctlib.papers.hqinet.detection import Seen, Task, spectra
from ctlib.papers.hqinet.lesions import (
    cutouts,
    edge_width,
    lesion_sites,
    lesions_image,
    radial_profile,
    sphere_in_slices,
)
from ctlib.papers.hqinet.scan import Scanner


def test_sites_are_flat_apart_and_inside():
    hu = torch.full((80, 80), -1000.0)
    hu[10:70, 10:70] = 50.0
    hu[30:34, 10:70] = 400.0  # a bone
    inside = hu > -500
    sites = lesion_sites(hu, inside, 9, 12)
    assert 2 <= len(sites) <= 9
    for k, (y, x) in enumerate(sites):
        assert (hu[y - 3 : y + 4, x - 3 : x + 4] == 50).all()
        assert all(max(abs(y - v), abs(x - u)) > 12 for v, u in sites[:k])
    assert lesion_sites(torch.full((80, 80), -1000.0), inside, 3, 12) == []


def test_a_lesion_is_where_it_was_put_with_its_contrast():
    scanner = Scanner(64, 2.0, 120)
    image = lesions_image(scanner, [(20, 41)], 8.0)
    assert divmod(int(torch.nn.functional.avg_pool2d(image[None, None], 5, 1, 2).argmax()), 64) == (20, 41)
    assert float(image[18:23, 39:44].mean()) == pytest.approx(1.0, abs=0.08)
    assert abs(float(image[45:, :20].mean())) < 0.02
    two = lesions_image(scanner, [(20, 41), (44, 20)], 8.0)
    assert torch.allclose(two - image, lesions_image(scanner, [(44, 20)], 8.0), atol=1e-5)


def test_a_sphere_is_shared_out_between_slices():
    middle, beside = sphere_in_slices(5.0, 5.0)
    volume = 4 / 3 * math.pi * 125 / (math.pi * 25 * 5)  # in slices of full contrast
    assert middle + 2 * beside == pytest.approx(volume)
    assert middle > 0.9 > beside > 0.1
    assert sphere_in_slices(2.0, 5.0)[1] == 0.0  # it lies within one slice


def test_squares_are_cut_around_their_sites():
    images = torch.arange(2 * 20 * 20.0).reshape(2, 20, 20)
    found = cutouts(images, [(8, 9), (12, 5)], 4)
    assert found.shape == (2, 2, 4, 4)
    assert found[1, 0, 2, 2] == images[1, 8, 9]
    with pytest.raises(ArgumentError, match="sites"):
        cutouts(images, [(1, 9)], 4)


@pytest.mark.parametrize("blur_mm", [1.0, 2.0])
def test_the_width_of_an_edge_is_that_of_its_blur(blur_mm):
    t = (torch.arange(96) - 48).double() * 0.5
    r = torch.hypot(t[:, None], t[None, :])
    disc = 30 * 0.5 * torch.erfc((r - 12.0) / (math.sqrt(2) * blur_mm))
    radii, profile = radial_profile(disc[None], 0.5)
    assert edge_width(radii, profile) == pytest.approx(2 * 0.6745 * blur_mm, rel=0.1)
    for nothing in (torch.ones_like(profile), torch.zeros_like(profile), -profile - 1e-3):
        assert math.isnan(edge_width(radii, nothing))


@pytest.fixture(scope="module")
def seen():
    """Three bodies, each scanned three times, with plain reconstruction alone."""
    scanner = Scanner(64, 6.0, 60)
    cases = [synthetic_case(k, scanner, 0.25, 12.0, 3) for k in range(3)]
    plain = {"FBP": lambda x: x[:, 1:2]}
    return detection.observe(cases, scanner, Task(9.0, -60.0, 4, 3, 8), plain, [0.25, 1.0])


def test_every_scan_of_a_body_is_on_one_side(seen, monkeypatch):
    """Templates and intervals know bodies, whose scans have the same lesions, not scans."""
    assert len(set(seen.groups)) == 9
    assert [*dict.fromkeys(zip(seen.groups, seen.people, strict=True))] == [(g, g // 3) for g in range(9)]
    given = []
    decide, compare = detection.decisions, detection.compare_detectability
    monkeypatch.setattr(detection, "decisions", lambda a, b, of, *rest: given.append(of) or decide(a, b, of, *rest))
    monkeypatch.setattr(
        detection, "compare_detectability", lambda v, ref, of, draws: given.append(of) or compare(v, ref, of, draws)
    )
    found = detection.detectabilities(seen, num_channels=3, draws=20)
    assert found.keys() == {("FBP", 0.25), ("FBP", 1.0)}
    assert given == [seen.people] * 3


def test_one_body_is_not_enough_however_often_it_is_scanned():
    scanner = Scanner(64, 6.0, 60)
    one = [synthetic_case(0, scanner, 0.25, 12.0, 3)]
    assert not detection.can_read(one)
    assert not detection.can_read([])
    with pytest.raises(ArgumentError, match="in 1 bodies"):
        detection.observe(one, scanner, Task(9.0, -60.0, 4, 3, 8), {"FBP": lambda x: x[:, 1:2]}, [1.0])


def test_noise_spectra_know_bodies_apart():
    """Two bodies with as many lesions each: what differs between them is no noise."""
    noise = 5 * torch.randn(2, 2, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    anatomy = 300 * torch.rand(2, 1, 2, 8, 8, generator=torch.Generator().manual_seed(1))  # bodies, repeats, sites
    squares = {("FBP", 1.0): (anatomy + noise).flatten(0, 2)}
    seen = Seen(squares, squares, (0, 0, 1, 1, 2, 2, 3, 3), (0,) * 4 + (1,) * 4, (0,) * 4 + (1,) * 4, 1.0)
    _, power = spectra(seen)["FBP", 1.0]
    assert float(power.mean()) == pytest.approx(25.0, rel=0.3)
