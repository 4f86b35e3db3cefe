"""The measured scan that ships with the library: counts to line integrals to an image, about its own axis."""

import math
import subprocess
import sys

import pytest
import torch

from ctlib.data.tooth import TOOTH, tooth_scan
from ctlib.geometry import Volume
from ctlib.projector import Projector
from ctlib.recon import fbp


@pytest.fixture(scope="module")
def scan():
    return tooth_scan()


def test_counts_are_as_measured(scan):
    assert TOOTH.stat().st_size < 300_000
    assert scan.counts.shape == (181, 640)
    assert scan.flat.shape == scan.dark.shape == (10, 640)
    for counts, low, high in (
        (scan.counts, 3921.25, 33891.5),
        (scan.flat, 25621.5, 34317.5),
        (scan.dark, 89.25, 152.25),
    ):
        assert low <= float(counts.min())  # extremes over both rows of the file
        assert float(counts.max()) <= high
        assert torch.equal(4 * counts, (4 * counts).round())
    assert len(scan.angles) == 181
    assert scan.angles[0] == 0
    assert abs(math.degrees(scan.angles[-1]) - 179.00552486) < 1e-6


def test_flat_fields_take_the_detector_out(scan):
    y = scan.line_integrals()
    air = torch.cat([y[:, :40], y[:, -40:]], 1)  # no tooth there in any view
    assert float(air.mean().abs()) < 0.05
    raw = torch.cat([scan.counts[:, :40], scan.counts[:, -40:]], 1).mean(0).log()
    assert float(air.mean(0).std()) < 0.5 * float(raw.std())  # cells differ less than their gains do
    assert 1.5 < float(y.max()) < 2.5


def roughness(scan, axis):
    A = Projector(scan.geometry(Volume((160, 160), 3.0), axis))
    x = fbp(A, scan.line_integrals().double(), "hann")
    return float(x.clamp_max(0).square().sum())  # a wrong axis leaves streaks below zero


def test_the_axis_is_where_it_is_stated(scan):
    errors = {axis: roughness(scan, axis) for axis in (288.0, 292.0, 296.0, 300.0, 304.0, 319.5)}
    assert min(errors, key=errors.get) == scan.axis_column
    assert errors[319.5] > 2 * errors[296.0]


def test_reading_it_needs_no_further_package():
    code = (
        "import sys; from ctlib.data.tooth import tooth_scan; tooth_scan(); "
        "sys.exit(bool({'h5py', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
