"""Rays through voxels and the scan's geometry: exact lengths, orientation, Beer and Lambert."""

import math

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, Volume
from ctlib.phantoms import Ellipsoids

pytest.importorskip("xraylib")

from ctlib.physics.scatter import CrossSections, VoxelPhantom, coarser, primary_signal, with_height
from ctlib.physics.scatter.beam import Beam, response_table
from ctlib.physics.scatter.media import Media
from ctlib.physics.scatter.paths import material_paths
from ctlib.physics.scatter.primary import scan_paths
from ctlib.physics.spectrum import Spectrum

MONO = Spectrum(torch.tensor([59.95, 60.05]), torch.tensor([1.0]))


@pytest.fixture(scope="module")
def water():
    return CrossSections.of(("water",), 61.0)


def crossings(media, start, direction):
    """Path through each voxel by sorting all wall crossings of one ray: another algorithm."""
    walls = [np.array([0.0])]
    for k, n in enumerate(media.counts):
        planes = float(media.low[k]) + float(media.size[k]) * np.arange(n + 1)
        walls.append((planes - start[k]) / direction[k])
    t = np.sort(np.concatenate(walls))
    t = t[t >= 0]
    middle = torch.from_numpy(start + 0.5 * (t[1:] + t[:-1])[:, None] * direction)
    voxel, inside = media.voxel(middle)
    return (media.densities[:, voxel] * inside * torch.from_numpy(np.diff(t))).sum(1)


def test_paths_equal_those_of_sorted_crossings(water):
    g = torch.Generator().manual_seed(0)
    densities = torch.rand(1, 3, 7, 5, generator=g).double()
    phantom = VoxelPhantom(Volume((3, 7, 5), (20.0, 6.0, 9.0)), ("water",), densities)
    media = Media.of(phantom, water)
    start = (torch.rand(200, 3, generator=g).double() - 0.5) * 80  # inside and outside of the grid
    direction = torch.nn.functional.normalize(torch.randn(200, 3, generator=g).double(), dim=1)
    paths = material_paths(media, start, direction)
    expected = torch.stack([crossings(media, *r) for r in zip(start.numpy(), direction.numpy(), strict=True)], 1)
    assert (paths > 0).sum() > 60
    torch.testing.assert_close(paths, expected, rtol=1e-6, atol=1e-6)  # walls as near as 1e-9 mm may be swapped


def test_rays_along_the_axes_and_past_the_grid(water):
    media = Media.of(VoxelPhantom(Volume((2, 4, 4), 10.0), ("water",), torch.ones(1, 2, 4, 4).double()), water)
    start = torch.tensor([[-50.0, 1, 1], [1, 50, 1], [1, 1, -50], [-50, 25, 1], [50, 1, 1]]).double()
    direction = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, 1], [1, 0, 0], [1, 0, 0]]).double()
    torch.testing.assert_close(material_paths(media, start, direction)[0], torch.tensor([40.0, 40, 20, 0, 0]).double())


def scan(volume, **options):
    given = {"num_views": 5, "num_cols": 24, "pitch_mm": 9.0, "source_origin_mm": 400.0, "source_detector_mm": 700.0}
    return FanBeam(volume, **(given | options))


def test_the_beam_is_the_geometrys():
    cone = with_height(scan(Volume((8, 8), 20.0), detector_offset_mm=13.0), 40.0, num_rows=2)
    beam = Beam.of(cone, torch.zeros(1, dtype=torch.float64))
    source, direction = (torch.from_numpy(r) for r in cone.rays())
    view, w, u = torch.meshgrid(torch.arange(5), torch.arange(2), torch.arange(24), indexing="ij")
    point = beam.point(view.flatten(), (u.flatten() + 0.5) / 24, (w.flatten() + 0.5) / 2)
    ray = torch.nn.functional.normalize(point - source.flatten(0, 2), dim=1)
    torch.testing.assert_close(ray, direction.flatten(0, 2))
    cell, hit = beam.cell(view.flatten(), source.flatten(0, 2), ray)
    assert hit.all()
    assert torch.equal(cell, (w * 24 + u).flatten())
    assert not beam.cell(view.flatten(), source.flatten(0, 2), -ray)[1].any()


def test_orientation_is_that_of_exact_line_integrals(water):
    """An off-center ellipse: an image upside down or mirrored would move its shadow by many columns."""
    volume = Volume((96, 96), 2.0)
    fan = scan(volume)
    ellipse = Ellipsoids([1.0], [[30.0, 45.0]], [[25.0, 15.0]], [0.4])
    phantom = VoxelPhantom.extruded(volume, ("water",), ellipse.raster(volume, dtype=torch.float64)[None], 100.0)
    media, beam = Media.of(phantom, water), Beam.of(with_height(fan, 10.0), phantom.densities)
    paths, exact = scan_paths(media, beam)[0, 0, :, 0], ellipse.line_integrals(fan)
    assert (paths - exact).norm() < 0.05 * exact.norm()  # grazing rays meet voxels that are partly filled
    assert (paths.flip(-1) - exact).norm() > exact.norm()


@pytest.mark.parametrize("rays_per_cell", [1, 2])
def test_rows_are_those_of_the_geometry(water, rays_per_cell):
    """An ellipsoid off center in height too: rows in reverse would show it where it is not."""
    volume = Volume((40, 48, 48), 4.0)
    cone = with_height(scan(Volume((48, 48), 4.0), num_views=3), 240.0, num_rows=8)
    ellipsoid = Ellipsoids([1.0], [[20.0, 30.0, 35.0]], [[40.0, 25.0, 20.0]], [0.4])
    phantom = VoxelPhantom(volume, ("water",), ellipsoid.raster(volume, dtype=torch.float64)[None])
    paths = scan_paths(Media.of(phantom, water), Beam.of(cone, phantom.densities), rays_per_cell).mean(0)[0]
    fine = coarser(cone, 24 * rays_per_cell, 8 * rays_per_cell)
    exact = ellipsoid.line_integrals(fine).to(paths)
    exact = exact.unflatten(2, (24, -1)).unflatten(1, (8, -1)).mean((2, 4))
    assert (paths - exact).norm() < 0.06 * exact.norm()
    assert (paths.flip(1) - exact).norm() > exact.norm()


def test_primary_is_beer_lambert(water):
    slab = VoxelPhantom(Volume((1, 4, 4), (400.0, 50.0, 100.0)), ("water",), torch.ones(1, 1, 4, 4).double())
    fan = FanBeam(Volume((4, 4), 50.0), 1, 11, 10.0, 400.0, 700.0, angles=(0.0,))
    signal = primary_signal(slab, with_height(fan, 1e-3), MONO, (15, 70), rays_per_cell=1, sections=water)
    cosine = 700 / np.hypot(700, fan.columns())
    mu = float(water.interpolate(water.rates, torch.tensor([60.0]).double()).sum())
    np.testing.assert_allclose(signal[0, 0, 0].numpy(), np.exp(-mu * 200 / cosine), rtol=1e-6)
    assert mu == pytest.approx(0.02059, rel=3e-3)


def test_coarser_cells_cover_the_same_detector():
    cone = with_height(scan(Volume((8, 8), 20.0)), 40.0)
    few = coarser(cone, 6)
    assert few.num_cols * few.pitch_mm == pytest.approx(cone.num_cols * cone.pitch_mm)
    assert few.sino_shape == (5, 1, 6)


def test_energy_bins():
    table = response_table((15, 33, 70), 80.0)
    energies = 0.1 * (torch.arange(table.shape[1]) + 0.5)
    assert torch.equal(table[0] > 0, (energies > 15) & (energies < 33))
    assert torch.equal(table.sum(0) > 0, (energies > 15) & (energies < 70))
    given = response_table(lambda e: torch.stack([e / 100, 1 - e / 100]), 80.0)
    torch.testing.assert_close(given.sum(0), torch.ones(given.shape[1]).double())


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("densities", lambda w: VoxelPhantom(Volume((2, 4, 4)), ("water",), torch.ones(2, 4, 4))),
        ("densities", lambda w: VoxelPhantom(Volume((2, 4, 4)), ("water",), -torch.ones(1, 2, 4, 4))),
        ("densities", lambda w: VoxelPhantom(Volume((2, 4, 4)), ("water",), torch.full((1, 2, 4, 4), math.nan))),
        ("volume", lambda w: VoxelPhantom.extruded(Volume((1, 4, 4)), ("water",), torch.ones(1, 4, 4), 10.0)),
        ("sections", lambda w: Media.of(VoxelPhantom(Volume((1, 4, 4)), ("Ca",), torch.ones(1, 1, 4, 4)), w)),
        ("geometry", lambda w: Beam.of(scan(Volume((8, 8), 20.0)), torch.zeros(1))),
        ("response", lambda w: response_table((15, 15), 80.0)),
        ("response", lambda w: response_table(lambda e: e, 80.0)),
    ],
)
def test_bad_input_names_the_argument(argument, call, water):
    with pytest.raises(ArgumentError) as caught:
        call(water)
    assert caught.value.argument == argument


def test_cone_beams_are_taken_as_they_are():
    cone = ConeBeam(Volume((1, 8, 8), 20.0), 2, 4, 50.0, num_rows=3, source_origin_mm=400.0, source_detector_mm=700.0)
    beam = Beam.of(cone, torch.zeros(1))
    assert (beam.rows, beam.cols, beam.width, beam.height) == (3, 4, 200.0, 150.0)
