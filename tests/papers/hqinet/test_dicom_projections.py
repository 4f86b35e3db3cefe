"""DICOM-CT-PD: read back exactly in both syntaxes, the geometry per view, and every way of not being a scan."""

import math
import struct

import numpy as np
import pytest
import torch
from projection_writer import write_views

from ctlib.errors import DataError
from ctlib.papers.hqinet.dicom_projections import read_projections

pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_a_scan_is_read_exactly(tmp_path, syntax, transposed):
    stored = write_views(tmp_path / "p", syntax=syntax, transposed=transposed)
    p = read_projections(tmp_path / "p")
    expected = (stored.astype(np.float64) * 0.0001 - 0.5).astype(np.float32)
    assert np.array_equal(p.line_integrals.numpy(), expected)
    assert p.line_integrals.shape == (6, 3, 5)
    view = torch.arange(6, dtype=torch.float64)
    torch.testing.assert_close(p.angle_rad, 0.5 * view)
    torch.testing.assert_close(p.source_angle_rad, 0.5 * view + 0.001 * (-1.0) ** view, rtol=0, atol=1e-7)
    torch.testing.assert_close(p.source_z_mm, -10 + 0.25 * view)
    assert set(p.source_radius_mm.tolist()) == {595.5}
    assert set(p.radius_mm.tolist()) == {595.0}
    assert p.central_element == (2.25, 1.0)
    assert (p.col_width_mm, p.row_height_mm, p.source_detector_mm) == (1.25, 1.0, 1085.5)
    assert (p.shape, p.views_per_turn, p.patient_id) == ("CYLINDRICAL", 12, "P1")
    assert p.quanta.tolist() == [[1000.0 + 10 * v + k for k in range(5)] for v in range(6)]
    assert p.mu_water == pytest.approx(0.0192)


def test_the_source_starts_at_twelve_and_the_frame_is_left_handed(tmp_path):
    write_views(tmp_path / "p", 2, angle_rad=0.0, shift_angle_rad=0.0, shift_radius_mm=0.0)
    xyz = read_projections(tmp_path / "p").source_xyz_mm()
    torch.testing.assert_close(xyz[0], torch.tensor([0.0, 595.0, -10.0], dtype=torch.float64))
    write_views(tmp_path / "q", 1, angle_rad=math.pi / 2, shift_angle_rad=0.0, shift_radius_mm=0.0)
    xyz = read_projections(tmp_path / "q").source_xyz_mm()[0]
    torch.testing.assert_close(xyz, torch.tensor([-595.0, 0.0, -10.0], dtype=torch.float64), rtol=0, atol=1e-3)


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_optional_fields_may_be_missing(tmp_path, syntax):
    write_views(tmp_path / "p", 3, syntax, quanta=None, mu_water=None, shift_angle_rad=None)
    p = read_projections(tmp_path / "p")
    assert (p.quanta, p.mu_water) == (None, None)
    assert torch.equal(p.source_angle_rad, p.angle_rad)


NAN = float("nan")
FLAWS = {  # what is broken in view 1: the field that is blamed
    "angle missing": ({"angle_rad": None}, "angle_rad 7031,1001"),
    "angle not finite": ({"angle_rad": NAN}, "angle_rad"),
    "two angles": ({"angle_rad": (0.1, 0.2)}, "angle_rad"),
    "no logarithm": ({"is_log": "NO"}, "is_log"),
    "unknown shape": ({"shape": "ROUND"}, "shape"),
    "other detector": ({"num_cols": 6}, "Rows, Columns"),
    "other width": ({"col_width_mm": 1.5}, "col_width_mm"),
    "zero radius": ({"radius_mm": 0.0}, "radius_mm"),
    "other central element": ({"central_element": (1.0, 1.0)}, "central_element"),
    "one central number": ({"central_element": 3.0}, "central_element"),
    "few quanta": ({"quanta": (1.0, 2.0)}, "quanta"),
    "same number": ({"InstanceNumber": 1}, "InstanceNumber"),
    "no number": ({"InstanceNumber": None}, "InstanceNumber"),
    "other series": ({"SeriesInstanceUID": "1.9"}, "series"),
    "other patient": ({"PatientID": "P2"}, "patient"),
    "slope not finite": ({"RescaleSlope": "nan"}, "RescaleSlope"),
    "cut off": ({"PixelData": b"\0" * 8}, "PixelData"),
    "no pixels": ({"PixelData": None}, "PixelData"),
    "frames": ({"NumberOfFrames": 2}, "NumberOfFrames"),
    "transposed header": ({"Rows": 4}, "Rows, Columns"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_broken_view_is_named(tmp_path, flaw):
    change, field = FLAWS[flaw]
    write_views(tmp_path / "p", 3, breaks={1: change})
    with pytest.raises(DataError) as caught:
        read_projections(tmp_path / "p")
    assert caught.value.field == field
    assert caught.value.path.name in ("002.dcm", "003.dcm")


def test_a_truncated_file_and_an_empty_folder_are_named(tmp_path):
    write_views(tmp_path / "p", 2)
    path = tmp_path / "p" / "001.dcm"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        read_projections(tmp_path / "p")
    assert caught.value.path == path
    with pytest.raises(DataError, match="folder"):
        read_projections(tmp_path / "none")


def test_bytes_of_the_wrong_length_are_refused(tmp_path):
    from ctlib.papers.hqinet.dicom_projections import _unpacked

    assert _unpacked(struct.pack("<2f", 1.5, 2.5), "FL") == (1.5, 2.5)
    with pytest.raises(struct.error):
        _unpacked(b"abc", "FL")
