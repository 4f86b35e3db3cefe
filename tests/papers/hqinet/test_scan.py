"""A scanner with photons: noise follows the dose, a thinned scan shares its photons, the bowtie evens out a disc."""

import math

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.scan import Scanner, soft_tissue_of
from ctlib.units import MU_WATER

PHOTONS = 2e6  # so many that electronic noise hardly counts


@pytest.fixture(scope="module")
def scanner():
    return Scanner(48, 6.0, 80)


@pytest.fixture(scope="module")
def disc(scanner):
    """Water of 100 mm radius in air: HU (8, Y, X), and its inner part."""
    t = (torch.arange(48) - 23.5) * 6.0
    r = torch.hypot(t[:, None], t[None, :])
    return torch.where(r < 100, 0.0, -1000.0).expand(8, 48, 48).contiguous(), r < 70


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def test_an_exact_scan_gives_the_slices_back(scanner, disc):
    hu, inner = disc
    image = scanner.image(scanner.line_integrals(hu))
    assert image.shape == hu.shape
    assert float(image[:, inner].mean()) == pytest.approx(0.0, abs=5.0)


def test_the_noise_follows_the_dose(scanner, disc):
    hu, inner = disc
    y = scanner.line_integrals(hu)
    clean, found = scanner.image(y), {}
    for dose in (0.25, 0.1):
        full, low = map(scanner.image, scanner.readings(y, PHOTONS, dose, stream()))
        found[dose] = float((low - clean)[:, inner].std() / (full - clean)[:, inner].std())
    assert found[0.25] == pytest.approx(2.0, rel=0.1)
    assert found[0.1] == pytest.approx(math.sqrt(10), rel=0.1)


def test_a_thinned_scan_shares_the_photons_of_the_full_one(scanner, disc):
    """What the low dose lacks is independent of what the full dose has: variance 1/d - 1 of it, correlation sqrt(d)."""
    hu, inner = disc
    y = scanner.line_integrals(hu)
    clean = scanner.image(y)
    full, low = ((scanner.image(v) - clean)[:, inner].flatten() for v in scanner.readings(y, PHOTONS, 0.25, stream()))
    assert float(torch.corrcoef(torch.stack([full, low]))[0, 1]) == pytest.approx(0.5, abs=0.1)
    assert float(((low - full).std() / full.std()) ** 2) == pytest.approx(3.0, rel=0.2)


def test_a_scan_that_was_made_keeps_its_own_noise(scanner, disc):
    hu, inner = disc
    own = hu + 30 * torch.randn(hu.shape, generator=stream(3))
    low = scanner.at_low_dose(own, PHOTONS, 0.25, stream())
    added = (low - own)[:, inner].flatten()
    assert abs(float(torch.corrcoef(torch.stack([added, (own - hu)[:, inner].flatten()]))[0, 1])) < 0.1
    assert torch.equal(low, scanner.at_low_dose(own, PHOTONS, 0.25, stream()))


def test_photons_are_found_for_a_noise(scanner, disc):
    hu, inner = disc
    y = scanner.line_integrals(hu[:1])
    photons = scanner.photons_for(y[0], inner, 15.0)
    full, _ = scanner.readings(y.expand(3, -1, -1).contiguous(), photons, 1.0, stream(9))
    assert float(scanner.change(full - y)[:, inner].std()) == pytest.approx(15.0, rel=0.1)


def test_the_bowtie_takes_photons_from_the_edge(scanner):
    beam = scanner.open_beam(PHOTONS)
    middle = len(beam) // 2
    assert float(beam[middle - 1 : middle + 1].max()) == pytest.approx(PHOTONS, rel=0.01)
    assert (beam[:middle].diff() >= 0).all()  # more towards the middle
    assert PHOTONS * math.exp(-0.5 * MU_WATER * 300) < float(beam.min()) < PHOTONS / 10
    assert torch.allclose(beam, beam.flip(0), rtol=1e-3)


def test_bad_input_is_named(scanner, disc):
    y = scanner.line_integrals(disc[0])
    for argument, call in (
        ("dose", lambda: scanner.readings(y, PHOTONS, 0.0, stream())),
        ("photons", lambda: scanner.readings(y, -1.0, 0.5, stream())),
        ("y", lambda: scanner.readings(y[:, :-1], PHOTONS, 0.5, stream())),
        ("noise_hu", lambda: scanner.photons_for(y[0], disc[1], 0.0)),
        ("n", lambda: Scanner(4, 1.0, 10)),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert caught.value.argument == argument
    nothing = torch.full((4, 4), 900.0)
    assert soft_tissue_of(nothing, torch.ones(4, 4, dtype=torch.bool)).all()
