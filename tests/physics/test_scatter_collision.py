"""One collision, without chance: what it is expected to send to a point of the detector, in both engines.

The formulas are written out here once more, for a block of one mixture, in which the way to the wall is known.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ctlib.geometry import ConeBeam, Volume

pytest.importorskip("xraylib")

from ctlib.physics.attenuation import ELECTRON_KEV, mass_attenuation
from ctlib.physics.scatter import CrossSections, VoxelPhantom
from ctlib.physics.scatter.beam import Beam, response_table
from ctlib.physics.scatter.media import Media
from ctlib.physics.scatter.photons import Histories, Photons
from ctlib.physics.scatter.tally import Counter, _expect_compton, _expect_rayleigh
from ctlib.physics.scatter.tracking import scatter
from ctlib.physics.scatter.transport import as_arrays
from ctlib.physics.spectrum import Spectrum

MATERIALS, DENSITY = ("water", "calcium"), (0.9, 0.2)
EDGES = (15, 33, 45, 59, 71, 120)
SHARE = (0.6, 0.25)  # of the collision's attenuation, by material
ENERGY = 90.0
TARGETS = [(0.03, 0.1), (0.21, 0.9), (0.5, 0.45), (0.74, 0.2), (0.97, 0.8)]  # fractions of width and height


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


class Setting:
    """A block of one mixture before a near and wide detector, where rays arrive obliquely, and a photon within."""

    def __init__(self):
        volume = Volume((3, 10, 12), (40.0, 15.0, 12.0))
        densities = torch.tensor(DENSITY, dtype=torch.float64)[:, None, None, None].expand(2, *volume.shape)
        self.phantom = VoxelPhantom(volume, MATERIALS, densities.contiguous())
        geometry = ConeBeam(volume, 2, 8, 75.0, num_rows=4, row_pitch_mm=60.0, source_origin_mm=400.0,
                            source_detector_mm=560.0, angles=(0.4, 2.5), detector_offset_mm=30.0)  # fmt: skip
        self.media = Media.of(self.phantom, CrossSections.of(MATERIALS, 121.0))
        self.beam = Beam.of(geometry, densities)
        self.table = response_table(EDGES, self.media.sections.highest_kev)
        self.histories = Histories.of(Spectrum(torch.tensor([50.0, 60.0]), torch.ones(1)), 2, 1, 1, densities)
        self.position = torch.tensor([21.0, -13.0, 9.0], dtype=torch.float64)
        self.direction = torch.nn.functional.normalize(torch.tensor([-0.4, 0.7, 0.2], dtype=torch.float64), dim=0)
        self.half = np.array(volume.extent_mm[::-1]) / 2

    def photon(self, view):
        history = torch.tensor([view])  # one photon a slot
        return Photons(self.position[None], self.direction[None], f64([ENERGY]), history * 0, history)

    def counted(self, view, add):
        """Sums (3, E, cells) of a view after add(counter)."""
        counter = Counter(self.histories, self.table, self.beam.rows * self.beam.cols)
        add(counter)
        return counter.result()[0][view]

    def left(self, direction, energy):
        """Transmission from the photon's place out of the block."""
        p, d = self.position.numpy(), np.asarray(direction)
        path = float(((np.where(d > 0, self.half, -self.half) - p) / d).min())
        return math.exp(-path * sum(0.1 * r * float(mass_attenuation(m, energy)) for r, m in
                                    zip(DENSITY, MATERIALS, strict=True)))  # fmt: skip

    def compton(self, view, u, w):
        """Counts at a detector point, its cell and the energy on arrival."""
        b = self.beam
        point = b.center[view] + b.width * (u - 0.5) * b.along[view] + torch.tensor([0, 0, b.height * (w - 0.5)])
        ray = point - self.position
        distance = float(ray.norm())
        ray = ray / distance
        cosine = float(ray @ self.direction)
        energy = ENERGY / (1 + ENERGY / ELECTRON_KEV * (1 - cosine))
        row = [torch.tensor([2 * m]) for m in range(2)]
        at = f64([ENERGY]), f64([cosine])
        odds = sum(s * float(self.media.sections.density(r, *at)) for s, r in zip(SHARE, row, strict=True))
        incidence = float(ray @ b.normal[view])
        aperture = b.width * b.height * incidence / distance**2
        cell = int(w * b.rows) * b.cols + int(u * b.cols)
        return aperture * odds * self.left(ray, energy), cell, energy, incidence


@pytest.fixture(scope="module")
def setting():
    return Setting()


@pytest.fixture(scope="module")
def loops():
    pytest.importorskip("numba")
    from ctlib.physics.scatter.cpu import histories, transport

    return histories, transport


def compiled_photon(photon):
    return torch.cat([photon.position[0], photon.direction[0], photon.energy]).numpy()


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_compton_towards_a_point(setting, loops, view, engine):
    """Attenuated at the energy after the collision, seen under the angle of incidence, in that energy's bin."""
    s, seen = setting, []
    for u, w in TARGETS:
        expected, cell, energy, incidence = s.compton(view, u, w)
        if engine == "torch":
            share = f64(SHARE)[:, None]
            at = f64([u]), f64([w])
            sums = s.counted(view, lambda c, a=at, h=share: _expect_compton(s.beam, s.media, c, s.photon(view), h, *a))
        else:
            sums, rates = np.zeros((3, len(EDGES) - 1, s.beam.rows * s.beam.cols)), np.ones(6)
            rates[1::3] = SHARE
            loops[1].expect_compton(*as_arrays(s.media, s.beam, s.table), view, compiled_photon(s.photon(view)), 0,
                                    s.beam.width * s.beam.height, rates, u, w, np.empty(9), sums)  # fmt: skip
        at = (1, int(np.searchsorted(EDGES, energy)) - 1, cell)
        assert float(sums[at]) == pytest.approx(expected, rel=1e-3)  # rates are linear between energies 0.5 keV apart
        assert float(sums.sum()) == pytest.approx(float(sums[at]))
        seen.append((incidence, energy))
    angles, energies = zip(*seen, strict=True)
    assert min(angles) < 0.75 * max(angles)  # or a cosine that is left out would not show
    assert min(energies) < 0.92 * ENERGY  # nor attenuation at the wrong energy


@pytest.mark.parametrize("view", [0, 1])
def test_rayleigh_of_both_engines_from_the_same_numbers(setting, loops, view):
    s, (histories, transport), hits = setting, loops, 0
    share, tilted = f64(SHARE)[:, None], s.beam.normal[view] + 0.3 * s.direction
    photon = replace(s.photon(view), direction=torch.nn.functional.normalize(tilted, dim=0)[None])
    for seed in range(200):
        sums, rates, state = (
            np.zeros((3, len(EDGES) - 1, s.beam.rows * s.beam.cols)),
            np.ones(6),
            np.empty(1, np.uint64),
        )
        rates[2::3] = SHARE
        histories.start_stream(state, seed, 0)
        draw = [f64([histories.uniform(state)]) for _ in range(3)]
        histories.start_stream(state, seed, 0)
        arrays, start = as_arrays(s.media, s.beam, s.table), compiled_photon(photon)
        transport.expect_rayleigh(*arrays, view, start, 0, 1.0, rates, state, np.empty(9), sums)
        expected = s.counted(view, lambda c, d=draw: _expect_rayleigh(s.beam, s.media, c, photon, share, *d))
        np.testing.assert_allclose(sums, expected.numpy(), rtol=1e-9, atol=1e-14)
        hits += int(sums.sum() > 0)
        if sums.any():
            assert 0 < sums.sum() < sum(SHARE)
            assert sums[1, 4].sum() == sums.sum()  # 90 keV, scattered once
    assert hits > 20


@pytest.mark.parametrize("channel", [1, 2, 4, 5])
def test_events_of_both_engines_from_the_same_numbers(setting, loops, channel):
    """Compton and Rayleigh of both materials: the same angle, turn and energy."""
    s, (histories, transport) = setting, loops
    grid_tables = as_arrays(s.media, s.beam, s.table)[1]
    row = torch.tensor([2 * (channel // 3) + channel % 3 - 1])
    for seed in range(20):
        state, photon = np.empty(1, np.uint64), compiled_photon(s.photon(0))
        histories.start_stream(state, seed, 0)
        uniform, azimuth = (f64([histories.uniform(state)]) for _ in range(2))
        histories.start_stream(state, seed, 0)
        lost = transport.scatter(grid_tables, photon, channel, state)
        after = scatter(s.photon(0), s.media, row, uniform, azimuth)
        np.testing.assert_allclose(photon[3:6], after.direction[0].numpy(), rtol=0, atol=1e-10)
        assert photon[6] == pytest.approx(float(after.energy[0]))
        assert lost == pytest.approx(ENERGY - photon[6], abs=1e-9)
        assert (lost == 0) == (channel % 3 == 2)


@pytest.mark.parametrize("energy", [15.3, 60.0, 119.7])
def test_optical_depth_of_both_engines(setting, loops, energy):
    from ctlib.physics.scatter.paths import attenuation_along, material_paths

    s, (histories, _) = setting, loops
    g = torch.Generator().manual_seed(0)
    start = (torch.rand(50, 3, generator=g).double() - 0.5) * 300
    ray = torch.nn.functional.normalize(torch.randn(50, 3, generator=g).double(), dim=1)
    grid, tables, _ = as_arrays(s.media, s.beam, s.table)
    expected = attenuation_along(s.media, material_paths(s.media, start, ray), f64([energy]).expand(50))
    rays = zip(start.numpy(), ray.numpy(), strict=True)
    got = [histories.optical_depth(grid, tables, *pair, energy, np.empty(2)) for pair in rays]
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-9, atol=1e-9)
    assert 10 < (expected > 0).sum() < 50
