"""DICOM-CT-PD: read back exactly in both syntaxes, the geometry per view, and every way of not being a scan."""

import math
import struct

import numpy as np
import pytest
import torch
from projection_writer import write_frames, write_views

from ctlib.errors import ArgumentError, DataError
from ctlib.papers.hqinet.ct_pd_fields import unpacked
from ctlib.papers.hqinet.dicom_projections import read_projections

silent = pytest.mark.usefixtures("silent")


@silent
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


@silent
def test_the_source_starts_at_twelve_and_the_frame_is_left_handed(tmp_path):
    write_views(tmp_path / "p", 2, angle_rad=0.0, shift_angle_rad=0.0, shift_radius_mm=0.0)
    xyz = read_projections(tmp_path / "p").source_xyz_mm()
    torch.testing.assert_close(xyz[0], torch.tensor([0.0, 595.0, -10.0], dtype=torch.float64))
    write_views(tmp_path / "q", 1, angle_rad=math.pi / 2, shift_angle_rad=0.0, shift_radius_mm=0.0)
    xyz = read_projections(tmp_path / "q").source_xyz_mm()[0]
    torch.testing.assert_close(xyz, torch.tensor([-595.0, 0.0, -10.0], dtype=torch.float64), rtol=0, atol=1e-3)


@silent
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
    "frames": ({"NumberOfFrames": 2}, "PixelData"),
    "transposed header": ({"Rows": 4}, "Rows, Columns"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_broken_view_is_skipped_and_told(tmp_path, flaw):
    change, field = FLAWS[flaw]
    stored = write_views(tmp_path / "p", 3, breaks={1: change})
    with pytest.warns(UserWarning, match=f"1 of 3 files skipped, first: .*00[23].dcm: {field}"):
        p = read_projections(tmp_path / "p")
    (error,) = p.skipped
    assert (error.field, error.path.name in ("002.dcm", "003.dcm")) == (field, True)
    if flaw != "same number":
        assert (p.numbers.tolist(), p.missing) == ([1, 3], (2,))
        assert np.array_equal(p.line_integrals.numpy(), (stored[[0, 2]] * 0.0001 - 0.5).astype(np.float32))
        torch.testing.assert_close(p.angle_rad, torch.tensor([0.0, 1.0], dtype=torch.float64))
    breaks = {1: change, 2: {**change, "shape": "FLAT"}} if "other" in flaw else {k: change for k in range(3)}
    write_views(tmp_path / "q", 3, breaks=breaks)
    with pytest.raises(DataError) as caught:  # half of the files or more: of no use
        read_projections(tmp_path / "q")
    assert caught.value.field in (field, "shape")


def test_a_truncated_file_and_an_empty_folder_are_named(tmp_path):
    write_views(tmp_path / "p", 2)
    path = tmp_path / "p" / "001.dcm"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        read_projections(tmp_path / "p")
    assert caught.value.path == path
    with pytest.raises(DataError, match="folder"):
        read_projections(tmp_path / "none")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no DICOM file"):
        read_projections(tmp_path / "none")


@silent
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_several_views_a_file_are_read_alike(tmp_path, syntax):
    stored = write_frames(tmp_path / "p", 2, 3, syntax)
    p = read_projections(tmp_path / "p")
    assert np.array_equal(p.line_integrals.numpy(), (stored * 0.0001 - 0.5).astype(np.float32))
    torch.testing.assert_close(p.angle_rad, 0.5 * torch.arange(6, dtype=torch.float64))
    torch.testing.assert_close(
        p.source_angle_rad - p.angle_rad, 0.001 * (-1.0) ** torch.arange(6).double(), rtol=0, atol=1e-6
    )
    assert p.quanta.tolist() == [[1000.0 + 10 * v + k for k in range(5)] for v in range(6)]
    assert (p.numbers.tolist(), p.missing) == ([1, 2, 3, 4, 5, 6], ())


def test_frames_that_share_one_angle_are_refused(tmp_path):
    write_views(tmp_path / "p", 1, PixelData=b"\0" * 60, NumberOfFrames=2)
    with pytest.raises(DataError, match="angle_rad: is one for all 2 frames"):
        read_projections(tmp_path / "p")


@silent
def test_gaps_keep_the_angles_and_are_reported(tmp_path):
    stored = write_views(tmp_path / "p", 8)
    (tmp_path / "p" / "006.dcm").unlink()  # view 2
    (tmp_path / "p" / "003.dcm").unlink()  # view 5
    p = read_projections(tmp_path / "p")
    views = [0, 1, 3, 4, 6, 7]
    torch.testing.assert_close(p.angle_rad, 0.5 * torch.tensor(views, dtype=torch.float64))
    assert np.array_equal(p.line_integrals.numpy(), (stored[views] * 0.0001 - 0.5).astype(np.float32))
    assert p.missing == (3, 6)
    assert p.feed_mm() == pytest.approx(0.25 * 12)
    assert "6 views of 3 x 5 cells, 12 a turn, 3 mm a turn; 2 views missing, 0 files skipped" in p.describe()


@silent
def test_views_lie_anywhere_below_the_folder_and_a_part_of_them_is_enough(tmp_path):
    stored = write_views(tmp_path / "p", 6)
    for k, name in enumerate(("a/x", "b", "b/c/d")):
        (tmp_path / "p" / name).mkdir(parents=True)
        (tmp_path / "p" / f"00{2 * k + 1}.dcm").rename(tmp_path / "p" / name / f"{k}")  # no extension
    want = (stored * 0.0001 - 0.5).astype(np.float32)
    assert np.array_equal(read_projections(tmp_path / "p").line_integrals.numpy(), want)
    assert np.array_equal(read_projections(tmp_path / "p", slice(1, 6, 2)).line_integrals.numpy(), want[1:6:2])
    for wrong in ({"views": slice(9, 12)}, {"views": 3}, {"transposed": "yes"}):
        with pytest.raises(ArgumentError):
            read_projections(tmp_path / "p", **wrong)


@silent
def test_two_scans_in_one_folder_are_refused(tmp_path):
    write_views(tmp_path / "full", 3)
    write_views(tmp_path / "low", 4, SeriesInstanceUID="1.7")
    with pytest.raises(DataError, match=r"SeriesInstanceUID: 2 scans of \[3, 4\] views"):
        read_projections(tmp_path)
    assert len(read_projections(tmp_path / "low").numbers) == 4


@silent
@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_the_pitch_may_be_there_or_not(tmp_path, syntax):
    write_views(tmp_path / "p", 3, syntax, pitch=0.8)
    write_views(tmp_path / "q", 3, syntax)
    assert read_projections(tmp_path / "p").pitch == 0.8
    q = read_projections(tmp_path / "q")
    assert (q.pitch, q.feed_mm()) == (None, pytest.approx(3.0))


@silent
def test_signed_values_and_a_square_detector(tmp_path, monkeypatch):
    import projection_writer

    stored = write_views(tmp_path / "p", 2, PixelRepresentation=1)
    want = stored.astype(np.int16) * 0.0001 - 0.5
    assert np.allclose(read_projections(tmp_path / "p").line_integrals.numpy(), want, atol=1e-6)
    monkeypatch.setattr(projection_writer, "DETECTOR", (4, 4))
    stored = write_views(tmp_path / "q", 2, num_rows=4, num_cols=4)
    with pytest.raises(DataError, match="whether views are transposed"):
        read_projections(tmp_path / "q")
    got = read_projections(tmp_path / "q", transposed=True).line_integrals.numpy()
    assert np.array_equal(got, (stored * 0.0001 - 0.5).astype(np.float32))


def test_bytes_of_the_wrong_length_are_refused():
    assert unpacked(struct.pack("<2f", 1.5, 2.5), "FL") == (1.5, 2.5)
    with pytest.raises(struct.error):
        unpacked(b"abc", "FL")
