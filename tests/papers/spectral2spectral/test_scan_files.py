"""Simulated spectral scans, and the loader of a user's own."""

import json

import numpy as np
import pytest
import torch

from ctlib.decompose import decompose_images
from ctlib.errors import ArgumentError, DataError
from ctlib.papers.spectral2spectral.experiment import Settings, solve, spectral2spectral
from ctlib.papers.spectral2spectral.matrix_fit import fit_matrix
from ctlib.papers.spectral2spectral.scan import THRESHOLDS_KEV, five_bin_model, scanner, simulate
from ctlib.papers.spectral2spectral.scan_files import load_spectral_scan
from ctlib.papers.spectral2spectral.scene import scanned
from ctlib.papers.spectral2spectral.specimens import rods
from ctlib.recon import sirt

# --- simulation ------------------------------------------------------------------------------------------------------


def test_the_published_geometries():
    phantom, mouse = scanner("rods", 512, 180), scanner("mouse", 512, 250)
    assert phantom.pitch_mm == pytest.approx(0.4)
    assert phantom.volume.voxel_mm[0] == pytest.approx(0.162, abs=0.001)
    assert (phantom.source_origin_mm, phantom.source_detector_mm) == (182.68, 440.5)
    assert mouse.pitch_mm == pytest.approx(0.15, rel=0.01)
    assert (mouse.source_origin_mm, mouse.source_detector_mm) == (210.0, 350.0)
    with pytest.raises(ArgumentError, match="kind"):
        scanner("rat", 64, 10)


def test_open_beam_counts_are_those_asked_for():
    model = five_bin_model(3e4)
    open_beam = model(torch.zeros(3, dtype=torch.float64))
    assert float(open_beam.sum()) == pytest.approx(3e4)
    assert model.num_bins == 5 == len(THRESHOLDS_KEV) - 1
    assert int(open_beam.argmax()) == 1  # 30 to 40 keV holds most, 60 to 70 least
    assert int(open_beam.argmin()) == 4


@pytest.mark.parametrize("kind", ["rods", "mouse"])
def test_a_scan_is_reproducible_and_its_noise_is_poisson(kind):
    a, b, c = (simulate(kind, 16, 12, 2, 1e4, seed, 0.01) for seed in (0, 0, 1))
    assert torch.equal(a.counts, b.counts)
    assert not torch.equal(a.counts, c.counts)
    assert a.counts.shape == (2, 5, 12, 16)
    assert a.truth.shape == (2, 3, 16, 16)
    z = (a.counts - a.expected) / a.expected.sqrt()
    assert abs(float(z.mean())) < 4 / z.numel() ** 0.5
    assert float(z.std()) == pytest.approx(1.0, abs=0.08)


def test_expected_counts_of_the_rods_are_those_of_the_exact_chords():
    scan = simulate("rods", 64, 6, 1, 1e4, 0)
    paths = rods(0, 0, 82.6).paths(scan.geometry, rays_per_bin=4)  # (V, U, M)
    exact = five_bin_model(1e4)(paths).movedim(-1, 0)
    error = (scan.expected[0].double() - exact) / scan.open_beam[:, None, None]
    assert float(error.square().mean().sqrt()) < 0.01  # sharp walls on a grid of half a pixel


def test_without_drift_slices_are_alike_and_with_it_they_are_not():
    same, moving = simulate("mouse", 16, 8, 3, 1e4, 0, 0.0).truth, simulate("mouse", 16, 8, 3, 1e4, 0, 0.03).truth
    assert torch.equal(same[0], same[2])
    assert float((moving[0] - moving[2]).abs().mean()) > 0.01


def test_log_data_of_all_photons_together():
    scan = simulate("rods", 16, 8, 1, 1e5, 0)
    total = torch.log(scan.open_beam.sum() / scan.counts.sum(1))
    torch.testing.assert_close(scan.full_spectrum()[:, 0], total.float(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scan.line_integrals(scan.counts)[:, 2], scan.line_integrals()[:, 2])


# --- decomposition ---------------------------------------------------------------------------------------------------


def test_matrix_and_decomposition_are_exact_on_linear_data():
    g = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 6, 7, dtype=torch.float64, generator=g)
    matrix = torch.rand(5, 3, dtype=torch.float64, generator=g)
    images = torch.einsum("em,zmyx->zeyx", matrix, a) / 10
    torch.testing.assert_close(fit_matrix(images, a), matrix)
    torch.testing.assert_close(decompose_images(images, matrix), a)


def test_a_calibrated_matrix_beats_the_thin_sample_one():
    """Beam hardening: with a matrix fitted to the scanner's own noiseless images the rods' densities come out right."""
    from ctlib.decompose import effective_attenuation
    from ctlib.papers.spectral2spectral.specimens import rod_regions

    scan = simulate("rods", 48, 60, 1, 1e4, 0)
    images = sirt(scan.A, scan.line_integrals(scan.expected), 150)
    inside = rod_regions(scan.geometry.volume, 0.0, 0)
    errors = []
    for matrix in (fit_matrix(images, scan.truth), effective_attenuation(five_bin_model(1.0))):
        maps = decompose_images(images.double(), matrix)[0]
        errors.append(abs(float(maps[0][inside[0]].mean()) - 2.699))
    assert errors[0] < 0.5 * errors[1]


def test_fit_matrix_refuses_what_it_cannot_solve():
    with pytest.raises(ArgumentError, match="rank"):
        fit_matrix(torch.ones(5, 4, 4), torch.ones(3, 4, 4))
    with pytest.raises(ArgumentError, match="images"):
        fit_matrix(torch.ones(5, 4, 4), torch.ones(3, 4, 5))


# --- a user's own scan -----------------------------------------------------------------------------------------------

GEOMETRY = {
    "voxel_mm": 1.0, "num_pixels": 16, "num_views": 12, "num_cols": 20, "pitch_mm": 2.0, "source_origin_mm": 100.0,
    "source_detector_mm": 200.0, "open_beam": [100.0, 200.0, 300.0, 200.0, 100.0],
}  # fmt: skip


def written(folder, data=None, **changes):
    data = np.full((2, 5, 12, 20), 50, dtype=np.int32) if data is None else data
    np.save(folder / "scan.npy", data)
    fields = {k: v for k, v in (GEOMETRY | changes).items() if v is not None}
    (folder / "scan.json").write_text(json.dumps(fields))
    return folder / "scan.npy"


def test_a_good_file_loads(tmp_path):
    scan = load_spectral_scan(written(tmp_path)).scan
    assert scan.counts.shape == (2, 5, 12, 20)
    assert scan.geometry == scanner_of(GEOMETRY)
    assert scan.truth is None
    expected = torch.log(scan.open_beam / 50).float()
    torch.testing.assert_close(scan.line_integrals()[0, :, 3, 4], expected)
    one = load_spectral_scan(written(tmp_path, np.ones((5, 12, 20)))).scan
    assert one.counts.shape == (1, 5, 12, 20)


def scanner_of(g):
    from ctlib.geometry import FanBeam, Volume

    return FanBeam(Volume((16, 16), 1.0), 12, 20, 2.0, g["source_origin_mm"], g["source_detector_mm"])


@pytest.mark.parametrize("open_beam", [GEOMETRY["open_beam"], [1.0] * 5, [1e-3, 1.0, 2.0, 1e6, 0.4]])
def test_line_integrals_come_back_whatever_the_open_beam(tmp_path, open_beam):
    """Counts that are rounded to whole photons lose them all where the open beam counts as one."""
    given = np.linspace(-0.1, 9, 2 * 5 * 12 * 20).reshape(2, 5, 12, 20)
    scan = load_spectral_scan(written(tmp_path, given, quantity="line integrals", open_beam=open_beam)).scan
    torch.testing.assert_close(scan.line_integrals(), torch.from_numpy(given).float(), atol=2e-6, rtol=1e-6)
    share = scan.open_beam / scan.open_beam.sum()
    torch.testing.assert_close(share, torch.tensor(open_beam, dtype=torch.float64) / sum(open_beam))
    with pytest.raises(DataError, match=r"scan.npy: values: largest is 60; no line integral exceeds 50"):
        load_spectral_scan(written(tmp_path, given / 9 * 60, quantity="line integrals"))


def test_counts_of_subtracted_scans_may_be_negative_here_and_there(tmp_path):
    """{eq}`s2s-subtract`: bins that are differences of scans have such readings where few photons arrive."""
    data = np.full((1, 5, 12, 20), 50)
    data[0, 4, :, 7] = -3
    with pytest.raises(DataError, match="values: least is -3; if bins are differences, say bin_mode: subtract"):
        load_spectral_scan(written(tmp_path, data))
    scan = load_spectral_scan(written(tmp_path, data, bin_mode="subtract")).scan
    assert scan.mode == "subtract"
    assert scan.counts.min() == -3
    assert torch.isfinite(scan.line_integrals()).all()
    data[0, 4] = -3
    with pytest.raises(DataError, match="values: mean of bin 5 is -3, counts need a mean above 0"):
        load_spectral_scan(written(tmp_path, data, bin_mode="subtract"))


@pytest.mark.parametrize("bins", [1, 2, 8])
def test_a_scan_may_have_any_number_of_bins_and_is_cleaned(tmp_path, bins):
    """Its image, of a size that the network could not take, is enlarged at its rim."""
    data = np.random.default_rng(0).poisson(50, (2, bins, 12, 20))
    path = written(tmp_path, data, open_beam=[100.0] * bins, num_pixels=13)
    scan = load_spectral_scan(path, multiple_of=8).scan
    assert scan.geometry.volume.shape == (16, 16)
    assert scan.geometry.volume.voxel_mm == (1.0, 1.0)
    scene = scanned(scan, 4)
    settings = Settings(1, 0.1, 2, 0.003, 4)
    run = solve(scene, spectral2spectral(scene, settings, 0.1), settings)
    assert run.x.shape == (2, bins, 16, 16)
    assert torch.isfinite(run.x).all()
    with pytest.raises(DataError, match=f"open_beam: needs a list of {bins + 1} numbers"):
        load_spectral_scan(path, bins=bins + 1)


def test_own_angles_and_a_shifted_detector(tmp_path):
    angles = list(np.linspace(0, 6, 12))
    scan = load_spectral_scan(written(tmp_path, angles_rad=angles, detector_offset_mm=0.5)).scan
    assert scan.geometry.angles == tuple(angles)
    assert scan.geometry.detector_offset_mm == 0.5


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"voxel_mm": None}, "voxel_mm"), ({"open_beam": []}, "open_beam"), ({"open_beam": 5}, "open_beam"),
     ({"open_beam": [1.0, 1.0, 0.0, 1.0, 1.0]}, "open_beam"), ({"pitch_mm": "wide"}, "pitch_mm"),
     ({"pitch_mm": -1.0}, "pitch_mm"), ({"num_views": 12.5}, "num_views"), ({"num_views": 13}, "shape"),
     ({"angles_rad": [0.0, 1.0]}, "angles_rad"), ({"angles_rad": "all"}, "angles_rad"), ({"color": 1}, "color"),
     ({"source_origin_mm": 5.0}, "source_origin_mm"), ({"quantity": "photons"}, "quantity"),
     ({"source_origin_mm": None}, "source_origin_mm"), ({"bin_mode": "sum"}, "bin_mode"),
     ({"flat": "f.npy"}, "open_beam"), ({"open_beam": None}, "open_beam"), ({"vials": {}}, "vials"),
     ({"vials": [{"x_mm": 1}]}, r"vials\[0\]"),
     ({"vials": [{"x_mm": 0, "y_mm": 0, "radius_mm": 1, "densities": {"water": 1}}]}, r"vials\[0\]"),
     ({"vials": [{"x_mm": 0, "y_mm": 0, "radius_mm": 4, "densities": {"water": "much"}}]},
      r"vials\[0\].densities.water"),
     ({"vials": [{"x_mm": 0, "y_mm": 0, "radius_mm": 4, "densities": {"water": 1, "iodine": 0.1}}]}, "vials")],
)  # fmt: skip
def test_a_wrong_geometry_is_named(tmp_path, changes, field):
    with pytest.raises(DataError, match=f": {field}: "):
        load_spectral_scan(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("data", "field"),
    [(np.ones((2, 4, 12, 20)), "shape"), (np.ones((12, 20)), "shape"), (np.ones((0, 5, 12, 20)), "values"),
     (-np.ones((1, 5, 12, 20)), "values"), (np.full((1, 5, 12, 20), np.nan), "values"),
     (np.ones((1, 5, 12, 20), dtype=complex), "type"), (np.full((1, 5, 12, 20), "a"), "type")],
)  # fmt: skip
def test_wrong_data_are_named(tmp_path, data, field):
    with pytest.raises(DataError, match=f"scan.npy: {field}: "):
        load_spectral_scan(written(tmp_path, data))


def test_missing_and_broken_files(tmp_path):
    path = written(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load_spectral_scan(tmp_path / "other.npy", tmp_path / "scan.json")
    (tmp_path / "scan.json").write_text("{")
    with pytest.raises(DataError, match="JSON"):
        load_spectral_scan(path)
    (tmp_path / "scan.json").unlink()
    with pytest.raises(DataError, match="beside the data"):
        load_spectral_scan(path)
    written(tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="NPY"):
        load_spectral_scan(path)
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match="NPY"):
        load_spectral_scan(path)


def test_without_distances_the_beam_is_parallel(tmp_path):
    scan = load_spectral_scan(written(tmp_path, source_origin_mm=None, source_detector_mm=None)).scan
    assert type(scan.geometry).__name__ == "ParallelBeam"


def test_flat_fields_are_averaged_and_divide_column_by_column(tmp_path):
    flat = 100.0 + np.arange(20.0)
    frames = np.stack([np.tile(flat - 5, (5, 1)), np.tile(flat + 5, (5, 1))])
    np.save(tmp_path / "flat.npy", frames)
    line = np.linspace(0.1, 1, 12)[:, None]
    data = np.broadcast_to(flat * np.exp(-line), (1, 5, 12, 20))
    scan = load_spectral_scan(written(tmp_path, data, open_beam=None, flat="flat.npy")).scan
    torch.testing.assert_close(scan.line_integrals()[0, 3], torch.from_numpy(np.tile(line, 20)).float())
    torch.testing.assert_close(scan.full_spectrum()[0, 0], torch.from_numpy(np.tile(line, 20)).float())
    np.save(tmp_path / "flat.npy", frames[..., :-1])
    with pytest.raises(DataError, match=r"flat.npy: shape: "):
        load_spectral_scan(written(tmp_path, data, open_beam=None, flat="flat.npy"))


def test_a_tiff_stack_is_read_slice_by_slice(tmp_path):
    from PIL import Image

    data = np.random.default_rng(0).poisson(50, (2, 5, 12, 20)).astype(np.float32)
    pages = [Image.fromarray(page) for page in data.reshape(-1, 12, 20)]
    written(tmp_path)
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    scan = load_spectral_scan(tmp_path / "scan.tif").scan
    np.testing.assert_array_equal(scan.counts.numpy(), data)


def test_an_hdf5_file_names_its_datasets(tmp_path):
    h5py = pytest.importorskip("h5py")
    data = np.random.default_rng(0).poisson(50, (2, 5, 12, 20))
    written(tmp_path)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["entry/counts"], file["entry/dark"] = data, data[:1]
    with pytest.raises(DataError, match="dataset: is not named; the file holds entry/counts, entry/dark"):
        load_spectral_scan(tmp_path / "scan.h5")
    written(tmp_path, dataset="entry/counts")
    np.testing.assert_array_equal(load_spectral_scan(tmp_path / "scan.h5").scan.counts.numpy(), data)
