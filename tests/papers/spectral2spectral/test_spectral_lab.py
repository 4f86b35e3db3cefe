"""A laboratory's scan, written by a script of its own, from files to maps."""

import json

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.spectral2spectral.example_scan import write_example
from ctlib.papers.spectral2spectral.experiment import Settings
from ctlib.papers.spectral2spectral.lab import (
    lab_table,
    methods_for,
    own_scene,
    reconstruct,
    vial_matrix,
    weighted_maps,
    without_views,
    write_results,
)
from ctlib.papers.spectral2spectral.methods import BINS, SPAN, TAUGHT
from ctlib.papers.spectral2spectral.scan_files import load_spectral_scan
from ctlib.projector import Projector

pytestmark = pytest.mark.usefixtures("one_thread")

CENTERS = ((-8.0, 0.0), (6.0, 6.0), (5.0, -7.0))
DENSITIES = ({"water": 1.0}, {"water": 1.0, "iodine": 0.01}, {"water": 1.0, "iodine": 0.02})
Q = np.array([[0.30, 12.0], [0.27, 20.0], [0.24, 13.0], [0.21, 8.0]])  # cm2/g
SETTINGS = Settings(outer=1, rho=0.1, steps=2, lr=0.003, width=4, classical_outer=2)


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory):
    """Three vials in four bins, 32 x 32 pixels of 1 mm, counts behind a flat field that differs by column."""
    folder = tmp_path_factory.mktemp("scan")
    t = np.arange(32) - 15.5
    x, y = np.meshgrid(t, -t)
    mu = np.zeros((4, 32, 32))
    for (cx, cy), content in zip(CENTERS, DENSITIES, strict=True):
        inside = (x - cx) ** 2 + (y - cy) ** 2 < 25
        mu[:, inside] = (Q @ [content["water"], content.get("iodine", 0.0)])[:, None] / 10
    A = Projector(ParallelBeam(Volume((32, 32), 1.0), 40, 48, 1.0))
    flat = 2e4 * (1 + 0.2 * np.sin(np.arange(48)))
    expected = flat * np.exp(-A(torch.from_numpy(np.stack([mu, mu]))).numpy())
    np.save(folder / "scan.npy", np.random.default_rng(0).poisson(expected))
    np.save(folder / "flat.npy", np.tile(flat, (3, 4, 1)))
    vials = [
        {"x_mm": cx, "y_mm": cy, "radius_mm": 5.0, "densities": content}
        for (cx, cy), content in zip(CENTERS, DENSITIES, strict=True)
    ]
    about = {"voxel_mm": 1.0, "num_pixels": 32, "num_views": 40, "num_cols": 48, "pitch_mm": 1.0, "flat": "flat.npy"}
    (folder / "scan.json").write_text(json.dumps({**about, "vials": vials}))
    return folder / "scan.npy"


@pytest.fixture(scope="module")
def own(scan_file):
    return load_spectral_scan(scan_file)


def test_vials_calibrate_the_decomposition(own):
    assert own.materials == ("water", "iodine")
    scene = own_scene(own)
    torch.testing.assert_close(scene.matrix, torch.from_numpy(Q), rtol=0.1, atol=0.02)
    assert torch.equal(vial_matrix(own, scene.x0), scene.matrix)
    with pytest.raises(ArgumentError, match="no vials"):
        vial_matrix(type(own)(own.scan), scene.x0)


def test_what_is_run_depends_on_the_data(own):
    assert methods_for(own) == ["TV", "low-rank", "Noise2Noise", "Noise2Sim", TAUGHT, BINS, SPAN]
    scan = own.scan
    differences = type(scan)(scan.geometry, scan.counts[:1], scan.open_beam, mode="subtract")
    assert methods_for(type(own)(differences)) == ["TV", "low-rank", TAUGHT]


def test_every_eighth_view_is_left_out(own):
    part, out = without_views(own.scan)
    assert out == [4, 12, 20, 28, 36]
    assert part.counts.shape[2] == part.geometry.num_views == 35
    assert part.geometry.angles[4] == own.scan.geometry.angles[5]


def test_weights_of_correlated_bins_are_those_of_gauss_and_markov():
    """Of two bins that share their error the difference is exact, and the maps must use it."""
    matrix = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    covariance = torch.tensor([[1.0, 0.999], [0.999, 1.0]], dtype=torch.float64)
    image = torch.tensor([2.0 + 0.5, 6.0 + 0.5], dtype=torch.float64)[None, :, None, None].expand(1, 2, 3, 3) / 10
    torch.testing.assert_close(
        weighted_maps(image, matrix, covariance), torch.full((1, 1, 3, 3), 2.0).double(), rtol=2e-3, atol=0
    )
    alike = weighted_maps(image, matrix, torch.eye(2, dtype=torch.float64))
    assert float(alike[0, 0, 0, 0]) == pytest.approx((2.5 + 3 * 6.5) / 10)


def test_from_files_to_maps(own, tmp_path):
    told = []
    outcome = reconstruct(own, SETTINGS, trials=1, tell=told.append)
    assert list(outcome.images) == ["FBP", "first", *methods_for(own)]
    columns, rows = lab_table(own, outcome)
    assert len(columns) == len(rows[0]) == 3 + 5
    tv = next(r for r in rows if r[0] == "TV")
    first = next(r for r in rows if r[0] == "first")
    assert tv[1] < first[1]
    iodine = first[columns.index("vial 3, iodine [mg/mL]")]
    assert iodine[0] == pytest.approx(20.0, rel=0.1)
    names = write_results(tmp_path, own, outcome)
    about = json.loads((tmp_path / "results.json").read_text())
    assert np.load(tmp_path / about["maps"]["TV"]).shape == (2, 2, 32, 32)
    assert set(names) == {p.name for p in tmp_path.iterdir()}
    assert len(told) == 2 * 7 + 7


def test_the_example_is_a_scan_like_any_other(tmp_path):
    pytest.importorskip("xraylib")
    own = load_spectral_scan(write_example(tmp_path, 48, 24))
    assert own.scan.counts.shape == (2, 5, 24, 48)
    assert own.materials == ("aluminium", "water", "iodine")
    masks = own.vial_masks()
    assert len(masks) == 5
    matrix = own_scene(own).matrix
    assert matrix.shape == (5, 3)
    assert bool((matrix[:, 2] > 10 * matrix[:, 1]).all())  # iodine attenuates far more than water
