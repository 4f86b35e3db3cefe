"""Every option of scatter, detectors and tubes has an effect, and the effect is its formula's; nothing symmetric."""

import math

import numpy as np
import pytest
import torch

from ctlib.geometry import ConeBeam, FanBeam, Volume

pytest.importorskip("xraylib")

from ctlib.physics import Detector, Spectrum, linear_attenuation, mass_attenuation
from ctlib.physics.attenuation import ELECTRON_KEV, xray_tables
from ctlib.physics.detectors.czt import CZT, fluorescence
from ctlib.physics.scatter import (
    CrossSections,
    ScatterTally,
    VoxelPhantom,
    coarser,
    primary_signal,
    simulate_scatter,
    single_scatter,
    with_height,
)
from ctlib.physics.scatter.beam import Beam, response_table
from ctlib.physics.scatter.media import Media
from ctlib.physics.scatter.photons import Histories, Photons
from ctlib.physics.scatter.tally import Counter, expect_hits
from ctlib.physics.scatter.tracking import Observer, track
from ctlib.physics.scatter.transport import as_arrays
from ctlib.physics.spectrum import TABLES
from ctlib.physics.tube import K_LINES, parametric_tungsten

pytestmark = pytest.mark.usefixtures("one_thread")

MATERIALS, DENSITY, EDGES = ("water", "calcium"), (0.9, 0.2), (15, 33, 45, 59, 71, 120)
LINE = Spectrum([89.9, 90.1], [1.0])


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(scope="module")
def tables():
    return CrossSections.of(MATERIALS, 121.0)


@pytest.fixture(scope="module")
def block():
    """One mixture, in which the way to the wall is known."""
    volume = Volume((3, 10, 12), (40.0, 15.0, 12.0))
    return VoxelPhantom(volume, MATERIALS, f64(DENSITY)[:, None, None, None].expand(2, *volume.shape).contiguous())


def scan(cols=3, rows=2, angles=(0.4, 2.5)):
    return ConeBeam(Volume((3, 10, 12), (40.0, 15.0, 12.0)), len(angles), cols, 600.0 / cols, num_rows=rows,
                    row_pitch_mm=240.0 / rows, source_origin_mm=400.0, source_detector_mm=560.0, angles=angles,
                    detector_offset_mm=30.0)  # fmt: skip


def mu(energy):
    return sum(0.1 * d * float(mass_attenuation(m, energy)) for d, m in zip(DENSITY, MATERIALS, strict=True))


def to_wall(block, point, direction):
    half = np.array(block.volume.extent_mm[::-1]) / 2
    steep = np.where(direction == 0, 1e-12, direction)
    return float(((np.where(steep > 0, half, -half) - point) / steep).min())


def by_hand(block, tables, geometry, view, process, depths):
    """Single scatter of one ray through the detector's middle, cell by cell: energy on arrival and signal."""
    beam = Beam.of(geometry, torch.zeros(1, dtype=torch.float64))
    source, center, normal = (t[view].numpy() for t in (beam.source, beam.center, beam.normal))
    ray = (center - source) / np.linalg.norm(center - source)
    near = max(float(x) for x in np.minimum(*[(s * np.array(block.volume.extent_mm[::-1]) / 2 - source) / ray
                                             for s in (-1, 1)])[:2])  # fmt: skip
    far = to_wall(block, source, ray)
    length, cells = (far - near) / depths, geometry.num_cols * geometry.num_rows
    found = []
    for cell in range(cells):
        u, w = (cell % beam.cols + 0.5) / beam.cols, (cell // beam.cols + 0.5) / beam.rows
        target = beam.point(torch.tensor([view]), f64([u]), f64([w]))[0].numpy()
        for k in range(depths):
            depth = (k + 0.5) * length
            out = target - (source + (near + depth) * ray)
            distance = np.linalg.norm(out)
            out = out / distance
            cosine = float(out @ ray)
            after = 90.0 / (1 + 90.0 / ELECTRON_KEV * (1 - cosine)) if process == "compton" else 90.0
            row, at = 0 if process == "compton" else 1, (f64([90.0]), f64([cosine]))
            events = sum(d * 0.1 * float(mass_attenuation(m, 90.0, process)) *
                         float(tables.density(torch.tensor([2 * i + row]), *at))
                         for i, (d, m) in enumerate(zip(DENSITY, MATERIALS, strict=True)))  # fmt: skip
            left = math.exp(-depth * mu(90.0) - to_wall(block, source + (near + depth) * ray, out) * mu(after))
            area = beam.width * beam.height / cells
            found.append((cell, after, cells * length * events * left * area * float(out @ normal) / distance**2))
    return found


@pytest.mark.parametrize("process", ["compton", "rayleigh"])
@pytest.mark.parametrize("depths", [1, 3])
def test_single_scatter_of_one_ray_is_the_formula_written_out(block, tables, process, depths):
    geometry = scan()
    signal = single_scatter(block, geometry, LINE, EDGES, process=process, num_rays=(1, 1), num_depths=depths,
                            sections=tables)  # fmt: skip
    for view in range(2):
        expected = np.zeros((5, 6))
        for cell, energy, value in by_hand(block, tables, geometry, view, process, depths):
            expected[np.searchsorted(EDGES, energy) - 1, cell] += value
        np.testing.assert_allclose(signal[:, view].flatten(1).numpy(), expected, rtol=2e-3, atol=1e-12)


def test_points_and_rays_of_a_cell_are_those_of_finer_cells(block, tables):
    options = {"num_rays": (2, 3), "num_depths": 2, "sections": tables}
    fine = single_scatter(block, coarser(scan(), 9, 6), LINE, EDGES, **options)
    mean = fine.unflatten(-1, (3, 3)).unflatten(-3, (2, 3)).mean((-1, -3))
    found = single_scatter(block, scan(), LINE, EDGES, points_per_cell=3, **options)
    torch.testing.assert_close(found, mean)
    plain = single_scatter(block, scan(), LINE, EDGES, **options)
    assert (found - plain).abs().max() > 1e-3 * plain.max()
    fine = primary_signal(block, coarser(scan(), 9, 6), LINE, EDGES, rays_per_cell=1, sections=tables)
    mean = fine.unflatten(-1, (3, 3)).unflatten(-3, (2, 3)).mean((-1, -3))
    found = primary_signal(block, scan(), LINE, EDGES, rays_per_cell=3, sections=tables)
    torch.testing.assert_close(found, mean)
    assert (found - primary_signal(block, scan(), LINE, EDGES, rays_per_cell=1, sections=tables)).abs().max() > 1e-3


def test_shapes_of_scans_and_phantoms():
    fan = FanBeam(Volume((5, 4), (3.0, 2.0)), 2, 6, 4.0, 100.0, 150.0, detector_offset_mm=1.5)
    cone = with_height(fan, 12.0, 3)
    assert (cone.num_rows, cone.row_pitch_mm, cone.detector_offset_mm) == (3, 4.0, 1.5)
    assert cone.volume.shape == (1, 5, 4)
    assert cone.volume.voxel_mm == (12.0, 3.0, 2.0)
    few = coarser(cone, 2, 6)
    assert (few.num_cols, few.pitch_mm, few.num_rows, few.row_pitch_mm) == (2, 12.0, 6, 2.0)
    body = VoxelPhantom.extruded(fan.volume, ("water",), torch.rand(1, 5, 4), 70.0)
    assert body.volume.voxel_mm == (70.0, 3.0, 2.0)


def test_a_tally_is_means_and_errors_of_its_batches(block):
    batches = torch.rand(5, 3, 2, 2, 2, 3, generator=torch.Generator().manual_seed(0)).double()
    tally = ScatterTally(batches, torch.zeros(5, 2, 3), 10)
    torch.testing.assert_close(tally.mean("multiple"), batches[:, 2].mean(0))
    torch.testing.assert_close(tally.mean(), (batches[:, 1] + batches[:, 2]).mean(0))
    spread = batches[:, 1] + batches[:, 2]
    variance = (spread - spread.mean(0)).square().sum(0) / 4 / 5
    torch.testing.assert_close(tally.error(), variance.sqrt())
    histories = Histories.of(LINE, 2, 5, 35, torch.zeros(1))  # 7 photons a slot
    beam, sums = Beam.of(scan(), torch.zeros(1)), torch.rand(10, 3, 2, 6).double()
    made = ScatterTally.of(sums, torch.zeros(10, 3), histories, beam)
    assert made.photons_per_view == 35
    torch.testing.assert_close(made.batches[3, 2, 1, 1, 1, 2], sums[7, 2, 1, 5] * 6 / 7)


def test_the_majorant_is_the_largest_attenuation_of_any_voxel(tables):
    densities = torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    media = Media.of(VoxelPhantom(Volume((2, 3, 3), 10.0), MATERIALS, densities), tables)
    every = densities.flatten(1).T @ tables.total
    torch.testing.assert_close(media.majorant, every.max(0).values)


class Collision:
    """A photon in the block, its channels' rates, and the sums of what many such collisions send."""

    def __init__(self, block, tables, cols, rows):
        self.media, self.beam = Media.of(block, tables), Beam.of(scan(cols, rows), block.densities)
        self.table = response_table(EDGES, tables.highest_kev)
        self.position, self.direction = (
            f64([21.0, -13.0, 9.0]),
            torch.nn.functional.normalize(f64([-0.4, 0.7, 0.2]), dim=0),
        )
        self.rates = torch.stack([f64([0.3, 1.0, 0.4]), f64([0.8, 0.5, 0.2])])  # (M, 3)

    def by_torch(self, num, points):
        history, energy = torch.zeros(num, dtype=torch.long), torch.full((num,), 90.0).double()
        place = self.position.expand(num, 3), self.direction.expand(num, 3)
        photons = Photons(*place, energy, history, history)
        counter = Counter(Histories.of(LINE, 2, 1, num, self.position), self.table, self.beam.rows * self.beam.cols)
        rates = self.rates[..., None].expand(2, 3, num)
        expect_hits(self.beam, self.media, counter, points, torch.Generator().manual_seed(1), photons, rates)
        return counter.result()[0][0] / num

    def by_machine(self, num, points):
        from ctlib.physics.scatter.cpu import histories, transport

        state, photon = np.empty(1, np.uint64), torch.cat([self.position, self.direction, f64([90.0])]).numpy()
        histories.start_stream(state, 1, 0)
        sums, arrays = np.zeros((3, 5, self.beam.rows * self.beam.cols)), as_arrays(self.media, self.beam, self.table)
        source = transport.Source(np.zeros(2), np.zeros(2), np.zeros(3), 1, 0, points)
        for _ in range(num):
            transport.expect_hits(*arrays, source, 0, photon, 0, self.rates.flatten().numpy(), state, np.empty(9), sums)
        return torch.from_numpy(sums) / num


def test_what_a_collision_sends_does_not_depend_on_the_points_nor_on_the_engine(block, tables):
    pytest.importorskip("numba")
    c = Collision(block, tables, 4, 3)
    runs = [run(8000 // n, n) for run in (c.by_torch, c.by_machine) for n in (1, 8)]
    for other in runs[1:]:
        torch.testing.assert_close(other.sum(), runs[0].sum(), rtol=0.04, atol=0)
        torch.testing.assert_close(other.sum((0, 2)), runs[0].sum((0, 2)), rtol=0.15, atol=1e-4)


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_points_lie_in_strips_of_their_own(block, tables, engine):
    pytest.importorskip("numba")
    c = Collision(block, tables, 12, 1)
    sums = (c.by_torch if engine == "torch" else c.by_machine)(1, 12)
    assert (sums[1].sum(0) > 0).all()  # every column once; twelve points anywhere would leave some out


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_nothing_arrives_below_10_kev(tables, engine):
    if engine == "compiled":
        pytest.importorskip("numba")
    thin = VoxelPhantom(Volume((1, 2, 2), (20.0, 1.0, 1.0)), MATERIALS, torch.full((2, 1, 2, 2), 0.05).double())
    fan = FanBeam(Volume((2, 2), 1.0), 1, 2, 2.0, 20.0, 22.0)
    low = Spectrum([10.02, 10.06], [1.0])
    tally = simulate_scatter(thin, with_height(fan, 4.0), low, (0.0, 9.99, 12.0), 100_000, tally="hits", engine=engine,
                             sections=tables)  # fmt: skip
    assert float(tally.mean()[1].sum()) > 0
    assert float(tally.mean()[0].sum()) == 0


def test_no_photon_flies_on_below_10_kev(block, tables):
    n, energies = 4000, []
    photons = Photons(torch.zeros(n, 3).double(), f64([[0.0, 1.0, 0.0]]).expand(n, 3), torch.full((n,), 10.3).double(),
                      torch.zeros(n).long(), torch.arange(n))  # fmt: skip
    observer = Observer(on_collide=lambda p, rates: energies.append(p.energy))
    track(photons, Media.of(block, tables), torch.Generator().manual_seed(0), observer)
    assert len(energies) > 1
    assert float(torch.cat(energies).min()) >= 10


def above(detector, energies, thresholds):
    e = f64(energies)
    return detector.response(e, torch.ones_like(e)).above(f64(thresholds))


def test_a_dead_layer_of_silicon_takes_its_share_of_the_photons():
    energies = (40.0, 70.0, 100.0)
    found = above(Detector.silicon(dead_mm=2.0), energies, (3.0,)) / above(Detector.silicon(), energies, (3.0,))
    attenuated = sum(linear_attenuation("Si", energies, p) for p in ("photo", "compton"))
    torch.testing.assert_close(found[0], torch.exp(-2.0 * attenuated))


@pytest.mark.parametrize("detector", ["silicon", "czt"])
def test_noise_is_a_convolution_of_what_is_registered_without_it(detector):
    """Lines and tail: the smooth part of silicon is blurred as its peak is."""
    make = getattr(Detector, detector)
    deviates = torch.linspace(-5, 5, 401, dtype=torch.float64)
    weights = torch.exp(-0.5 * deviates**2)
    thresholds = f64([8.0, 27.0, 29.0, 33.0, 74.0, 97.0, 101.0])
    sharp = above(make(noise_kev=0.3), (100.0,), (thresholds[:, None] + 2.9849623 * deviates).flatten().tolist())
    expected = (sharp[:, 0].unflatten(0, (7, 401)) * weights).sum(1) / weights.sum()
    found = above(make(noise_kev=3.0), (100.0,), thresholds.tolist())[:, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("detector", [Detector.silicon(cloud_mm=0.03), Detector.silicon(cloud_mm=0.03, rescatter=0.7),
                                      Detector.czt(cloud_mm=0.03)])  # fmt: skip
def test_charge_sharing_acts_on_every_deposit_and_loses_no_charge(detector):
    """Counts above t of deposits h(E) without sharing: the integral of h(E) (1 + counts_above(t / E)) over E > t."""
    from dataclasses import replace

    from ctlib.physics.detectors.sharing import counts_above

    plain = replace(detector, cloud_mm=0.0, noise_kev=0.05)
    fine = torch.arange(0.0, 105.0, 0.05, dtype=torch.float64)
    h0, e = -above(plain, (100.0,), fine.tolist())[:, 0].diff(), fine[1:] - 0.025
    thresholds = (4.0, 15.0, 26.0, 60.0)
    found = above(replace(detector, noise_kev=0.05), (100.0,), thresholds)[:, 0]
    cloud, pitch = f64(0.03), f64(detector.pitch_mm)
    expected = [float((h0 * (e > t) * (1 + counts_above(t / e, cloud, pitch))).sum()) for t in thresholds]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0.02)
    charge = [float(above(d, (100.0,), fine.tolist()).sum() * 0.05) for d in (plain, replace(detector, noise_kev=0.05))]
    assert charge[1] == pytest.approx(charge[0], rel=0.01)


def test_scatter_inside_silicon_counts_again_and_again():
    """With rescatter r the extra counts are r (first generation) + r^2 (second) + ...: convex in r, by the model."""
    counts = [
        float(above(Detector.silicon(cloud_mm=0.0, rescatter=r), (110.0,), (2.0,))[0, 0]) for r in (0.0, 0.5, 1.0)
    ]
    extra = counts[1] - counts[0], counts[2] - counts[0]
    assert 2.2 * extra[0] < extra[1] < 4 * extra[0]
    thin, thick = (float(above(Detector.silicon(cloud_mm=0.0, depth_mm=d, rescatter=1.0), (110.0,), (2.0,))[0, 0] /
                         above(Detector.silicon(cloud_mm=0.0, depth_mm=d), (110.0,), (2.0,))[0, 0])
                   for d in (10.0, 80.0))  # fmt: skip
    assert 1 < thin < 0.75 * thick  # a thin slab loses the scattered photons


def test_fluorescence_of_czt_is_the_formula_and_starts_at_the_edge():
    tables, energies = xray_tables(), f64([25.0, 29.0, 40.0, 80.0])
    for symbol, edge, line in (("Cd", 26.711, 23.17), ("Te", 31.814, 27.47)):
        z = tables.SymbolToAtomicNumber(symbol)
        share = dict(CZT.mass_fractions)[symbol] * mass_attenuation(symbol, energies, "photo")
        share = share / sum(w * mass_attenuation(s, energies, "photo") for s, w in CZT.mass_fractions)
        per_photon = (1 - 1 / tables.JumpFactor(z, 0)) * tables.FluorYield(z, 0)
        found = fluorescence(symbol, energies)
        assert found[0] == pytest.approx(line, abs=0.1)
        torch.testing.assert_close(found[1], share * per_photon * (energies > edge))


def test_czt_counts_escaped_photons_at_both_places():
    """60 keV, half of the fluorescence leaves: steps at 60, at 60 less a line, and at the lines, sharp and alone."""
    detector = Detector.czt(escape=0.5, cloud_mm=0.0, noise_kev=0.05)
    seen = float(-torch.expm1(-0.1 * CZT.density * mass_attenuation(CZT, 60.0) * 2.0))
    cd, te = ((line, 0.5 * seen * float(n)) for line, n in (fluorescence(s, f64([60.0])) for s in ("Cd", "Te")))
    steps = [(60.0, seen - cd[1] - te[1])] + [(e, n) for line, n in (cd, te) for e in (60.0 - line, line)]
    for energy, counts in steps:
        low, high = above(detector, (60.0,), (energy - 0.3, energy + 0.3))[:, 0].tolist()
        assert low - high == pytest.approx(counts, rel=1e-6)
    assert float(above(detector, (60.0,), (1.0,))) == pytest.approx(seen + cd[1] + te[1], rel=1e-6)


def test_a_parametric_tube_is_its_formula():
    kvp = 96.0
    energies, photons = parametric_tungsten(kvp)
    depth = 0.0085 * (kvp / 120) ** 0.7
    smooth = (kvp / energies - 1) * np.exp(-depth * linear_attenuation("W", energies).numpy())
    at = [int(np.argmin(abs(energies - line))) for line, _ in K_LINES]
    away = np.setdiff1d(np.arange(len(energies)), at)
    np.testing.assert_allclose(photons[away], smooth[away], rtol=1e-12)
    extra = 0.08 * ((kvp / 69.525 - 1) / (120 / 69.525 - 1)) ** 1.63 * smooth[energies > 20].sum()
    np.testing.assert_allclose((photons - smooth)[at], [extra * share for _, share in K_LINES], rtol=1e-9)
    below = parametric_tungsten(69.0)
    np.testing.assert_allclose(below[1], (69 / below[0] - 1) * np.exp(-0.0085 * (69 / 120) ** 0.7 *
                               linear_attenuation("W", below[0]).numpy()), rtol=1e-12)  # fmt: skip


def test_a_tube_behind_filters_is_its_table_attenuated_merged_and_cut():
    table = np.loadtxt(TABLES / "tungsten_120kv.csv", delimiter=",")
    through = table[:, 1] * np.exp(-2.5 * linear_attenuation("Al", table[:, 0]).numpy() -
                                   0.2 * linear_attenuation("Cu", table[:, 0]).numpy())  # fmt: skip
    found = Spectrum.tungsten(120, {"Al": 2.5, "Cu": 0.2}, bin_kev=1.5)
    edges = found.edges_kev.numpy()
    whole = np.histogram(table[:, 0], np.arange(0.0, 121.5, 1.5), weights=through)[0] / through.sum()
    first = round(edges[0] / 1.5)
    kept = whole[first : first + len(edges) - 1]
    np.testing.assert_allclose(found.weights.numpy(), kept / kept.sum(), rtol=1e-9)
    assert whole[:first].sum() < 1e-6 <= whole[: first + 1].sum()  # the ends that were cut off are negligible
