"""The compiled functions of a history against those of torch, one by one and from the same numbers."""

import numpy as np
import pytest
import torch

from ctlib.geometry import ConeBeam, Volume

pytest.importorskip("xraylib")
pytest.importorskip("numba")

from ctlib.physics.scatter import CrossSections, VoxelPhantom
from ctlib.physics.scatter.beam import Beam, response_table
from ctlib.physics.scatter.cpu import histories as flight
from ctlib.physics.scatter.cpu import transport
from ctlib.physics.scatter.media import Media
from ctlib.physics.scatter.photons import RATIOS, Histories, Photons, deflected, emit
from ctlib.physics.scatter.tally import Counter
from ctlib.physics.scatter.tracking import attenuations, scattered_share
from ctlib.physics.scatter.transport import as_arrays
from ctlib.physics.spectrum import Spectrum

pytestmark = pytest.mark.usefixtures("one_thread")

MATERIALS, EDGES = ("water", "calcium"), (15, 33, 45, 59, 71, 120)
SPECTRUM = Spectrum([18.0, 30.0, 61.0, 75.0, 110.0], [1.0, 0.0, 3.0, 0.5])
NUM = 60


class Setting:
    """Random densities in unequal voxels, a tilted and shifted detector, and photons inside and outside."""

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        self.rand = lambda *shape: torch.rand(*shape, generator=g, dtype=torch.float64)
        volume = Volume((3, 5, 4), (25.0, 30.0, 45.0))
        self.phantom = VoxelPhantom(volume, MATERIALS, self.rand(2, 3, 5, 4))
        geometry = ConeBeam(volume, 3, 7, 60.0, num_rows=4, row_pitch_mm=45.0, source_origin_mm=400.0,
                            source_detector_mm=620.0, angles=(0.4, 1.7, 4.9), detector_offset_mm=-25.0)  # fmt: skip
        self.media = Media.of(self.phantom, CrossSections.of(MATERIALS, 121.0))
        self.beam = Beam.of(geometry, self.phantom.densities)
        self.table = response_table(EDGES, self.media.sections.highest_kev)
        self.histories = Histories.of(SPECTRUM, 3, 2, 2 * NUM, self.phantom.densities)
        self.grid, self.tables, self.detector = as_arrays(self.media, self.beam, self.table)
        self.direction = torch.nn.functional.normalize(torch.randn(NUM, 3, generator=g).double(), dim=1)
        self.position = (self.rand(NUM, 3) - 0.5) * 260
        self.energy = 11 + 105 * self.rand(NUM)
        none = torch.zeros(NUM, dtype=torch.long)
        self.photons = Photons(self.position, self.direction, self.energy, none, none)

    def arrays(self):
        return torch.cat([self.position, self.direction, self.energy[:, None]], 1).numpy()


@pytest.fixture(scope="module")
def s():
    return Setting()


def test_photons_are_sent_alike(s):
    shift = s.rand(3, s.histories.num_slots)
    expected = emit(s.beam, s.histories, shift, 0, len(s.histories))
    source = transport.Source(s.histories.edges_kev.numpy(), s.histories.share.numpy(), np.array(RATIOS), NUM, 0, 1)
    found = np.empty((len(s.histories), 7))
    for k in range(len(s.histories)):
        slot, index = divmod(k, s.histories.per_slot)
        transport.emit(source, s.detector, slot % 3, shift[:, slot].numpy().copy(), index, found[k])
    np.testing.assert_allclose(found[:, :3], expected.position.numpy(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[:, 3:6], expected.direction.numpy(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[:, 6], expected.energy.numpy(), rtol=0, atol=1e-6)
    assert not ((found[:, 6] > 30) & (found[:, 6] < 61)).any()  # the empty bin


def test_places_and_ways_in_the_grid(s):
    at, inside = s.media.voxel(s.position)
    near, far = s.media.crossing(s.position, s.direction)
    rates = attenuations(s.photons, s.media, at)
    assert 5 < int(inside.sum()) < NUM - 5
    for k, photon in enumerate(s.arrays()):
        assert flight.voxel(s.grid, photon) == (int(at[k]) if inside[k] else -1)
        found = flight.crossing(s.grid, photon, photon[3:6])
        if far[k] > near[k]:
            assert found == pytest.approx((float(near[k]), float(far[k])), abs=1e-6)
        else:
            assert found[1] <= found[0]
        parts = np.empty(6)
        total = flight.attenuations(s.grid, s.tables, photon, parts)
        if inside[k]:
            np.testing.assert_allclose(parts, rates[..., k].flatten().numpy(), rtol=1e-9)
            assert total == pytest.approx(float(rates[..., k].sum()))
        else:
            assert total == -1


@pytest.mark.parametrize("view", [0, 1, 2])
def test_cells_that_lines_lead_to(s, view):
    toward = s.beam.point(torch.full((NUM,), view), 1.3 * s.rand(NUM) - 0.15, 1.3 * s.rand(NUM) - 0.15) - s.position
    away = torch.where(s.rand(NUM) < 0.2, -1.0, 1.0)[:, None]
    direction = away * torch.nn.functional.normalize(toward, dim=1)
    cell, hit = s.beam.cell(torch.full((NUM,), view), s.position, direction)
    assert 10 < int(hit.sum()) < NUM - 10
    for k in range(NUM):
        photon = torch.cat([s.position[k], direction[k], s.energy[k : k + 1]]).numpy()
        assert transport.cell_of(s.detector, view, photon) == (int(cell[k]) if hit[k] else -1)


@pytest.mark.parametrize("row", range(4))
def test_angles_and_what_is_kept(s, row):
    uniform, cosine = s.rand(NUM), 2 * s.rand(NUM) - 1
    rows = torch.full((NUM,), row)
    sampled = s.media.sections.sample_cosine(rows, s.energy, uniform)
    density = s.media.sections.density(rows, s.energy, cosine)
    kept = scattered_share(rows, s.energy, cosine)
    for k in range(NUM):
        e, c = float(s.energy[k]), float(cosine[k])
        assert flight.sample_cosine(s.tables, row, e, float(uniform[k])) == pytest.approx(float(sampled[k]), abs=1e-9)
        assert flight.density(s.tables, row, e, c) == pytest.approx(float(density[k]), rel=1e-9)
        assert flight.kept_fraction(row, e, c) == pytest.approx(float(kept[k]))


def test_deflection_and_choice(s):
    cosine, azimuth, level = 2 * s.rand(NUM) - 1, 6.28 * s.rand(NUM), s.rand(NUM)
    turned, rates = deflected(s.direction, cosine, azimuth), s.rand(NUM, 6)
    for k, photon in enumerate(s.arrays()):
        flight.deflect(photon, float(cosine[k]), float(azimuth[k]))
        np.testing.assert_allclose(photon[3:6], turned[k].numpy(), atol=1e-9)
        wanted = int((level[k] * rates[k].sum() >= rates[k].cumsum(0)).sum())
        assert flight.pick(rates[k].numpy(), float(level[k] * rates[k].sum())) == wanted


def test_counts_are_booked_in_order_bin_and_cell(s):
    counter = Counter(s.histories, s.table, 28)
    order = torch.arange(NUM) % 4
    cell, weight = torch.arange(NUM) % 28, s.rand(NUM)
    counter.add(torch.zeros(NUM, dtype=torch.long), order, s.energy, cell, weight)
    sums = np.zeros((3, 5, 28))
    for k in range(NUM):
        transport.count(s.detector, int(order[k]), float(s.energy[k]), int(cell[k]), float(weight[k]), sums)
    np.testing.assert_allclose(sums, counter.result()[0][0].numpy(), rtol=1e-12)
    assert (sums.sum((1, 2)) > 0).all()


def test_streams_are_even_and_their_own(s):
    draws = []
    for history in (0, 1, 2**40):
        state = np.empty(1, np.uint64)
        flight.start_stream(state, 5, history)
        draws.append(np.array([flight.uniform(state) for _ in range(4000)]))
    for k, u in enumerate(draws):
        assert abs(u.mean() - 0.5) < 4 * (1 / 12 / 4000) ** 0.5
        assert abs(u.var() - 1 / 12) < 4 * (1 / 180 / 4000) ** 0.5
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 4 / 4000**0.5
        assert abs(np.corrcoef(u, draws[k - 1])[0, 1]) < 4 / 4000**0.5
