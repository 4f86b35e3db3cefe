"""A folder of slices: ordered by place, exact, and refused by file and field when it is not one volume."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from dicom_writer import write_ct, write_series

from ctlib.data.dicom import read_ct_series
from ctlib.data.images import load_slice
from ctlib.errors import DataError

SHIPPED = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests"
pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_a_series_is_sorted_by_place_and_exact(tmp_path, syntax):
    stored = write_series(tmp_path / "s", syntax=syntax)
    (tmp_path / "s" / "notes.txt").write_text("not a slice")
    (tmp_path / "s" / "LICENSE").write_text("neither")
    s = read_ct_series(tmp_path / "s")
    expected = np.maximum(stored.astype(np.float32) - 1024, -1000)
    torch.testing.assert_close(s.volume, torch.from_numpy(expected), rtol=0, atol=0)
    assert s.spacing_mm == (3.0, 0.8, 0.7)
    assert s.positions_mm == (-4.5, -1.5, 1.5, 4.5)
    assert s.patient_id == "P1"
    assert s.sample_ids == ("1.2.3.995500", "1.2.3.998500", "1.2.3.1001500", "1.2.3.1004500")
    raw = read_ct_series(tmp_path / "s", clip_padding=False)
    assert np.array_equal(raw.volume.numpy(), stored.astype(np.float32) - 1024)


def test_sample_ids_survive_renaming(tmp_path):
    write_series(tmp_path / "s")
    before = read_ct_series(tmp_path / "s")
    for k, path in enumerate(sorted((tmp_path / "s").iterdir())):
        path.rename(path.with_name(f"z{9 - k}.IMA"))
    after = read_ct_series(tmp_path / "s")
    assert (after.sample_ids, after.positions_mm) == (before.sample_ids, before.positions_mm)
    assert torch.equal(after.volume, before.volume)


def test_middle_slice_of_a_folder(tmp_path):
    write_series(tmp_path / "s", count=5)
    volume = read_ct_series(tmp_path / "s").volume
    assert torch.equal(load_slice(tmp_path / "s").image, volume[2])
    found = load_slice(tmp_path / "s", index=4)
    assert torch.equal(found.image, volume[4])
    assert (found.unit, found.spacing_mm, found.source) == ("HU", (0.8, 0.7), "1.2.3.1007500")


def test_one_slice_takes_its_thickness_for_z(tmp_path):
    write_series(tmp_path / "s", count=1)
    assert read_ct_series(tmp_path / "s").spacing_mm == (3.0, 0.8, 0.7)
    write_series(tmp_path / "s", count=1, SliceThickness=None)
    with pytest.raises(DataError, match="SliceThickness"):
        read_ct_series(tmp_path / "s")


def _again(folder, z, name="extra.dcm", value=1, **changes):
    write_ct(folder / name, np.full(changes.pop("shape", (6, 5)), value, np.uint16), z, **changes)


ASIDE = {  # what lies beside four slices at -4.5, -1.5, 1.5, 4.5, and how it is counted
    "copy": (lambda f: shutil.copy(f / "01.dcm", f / "extra.dcm"), "copy"),
    "other size": (lambda f: _again(f, 7.5, shape=(5, 6)), "of other size, spacing, orientation or kernel"),
    "other pixels": (
        lambda f: _again(f, 7.5, PixelSpacing=["0.7", "0.8"]),
        "of other size, spacing, orientation or kernel",
    ),
    "other kernel": (
        lambda f: _again(f, 7.5, ConvolutionKernel="BONE"),
        "of other size, spacing, orientation or kernel",
    ),
    "turned": (
        lambda f: _again(f, 7.5, ImageOrientationPatient=list("010100")),
        "of other size, spacing, orientation or kernel",
    ),
    "other tilt": (
        lambda f: _again(f, 7.5, ImageOrientationPatient=["1", "0", "0", "0", "0.984808", "-0.173648"]),
        "of other size, spacing, orientation or kernel",
    ),
    "other thickness": (
        lambda f: _again(f, 7.5, SliceThickness="5"),
        "of other size, spacing, orientation or kernel",
    ),
    "no place": (lambda f: _again(f, 7.5, ImagePositionPatient=None), "without a place"),
    "damaged": (lambda f: (f / "extra.dcm").write_bytes(b"DICM"), "unreadable (DICOM)"),
    "damaged pixels": (lambda f: _again(f, 7.5, PixelData=b"\0" * 8), "unreadable (PixelData)"),
    "an MR": (lambda f: _again(f, 7.5, Modality="MR"), "of modality MR"),
    "a report": (lambda f: _again(f, 7.5, Modality="SR", PixelData=None, Rows=None), "of modality SR"),
    "localizer": (lambda f: _again(f, 7.5, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
    "scout": (lambda f: _again(f, 7.5, ImageOrientationPatient=["1", "0", "0", "0", "0", "-1"]), "not axial"),
    "screen": (lambda f: _again(f, 7.5, SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "secondary capture"),
}


@pytest.mark.parametrize("kind", ASIDE)
def test_what_is_no_slice_of_the_series_is_set_aside_and_counted(tmp_path, kind):
    add, counted = ASIDE[kind]
    stored = write_series(tmp_path / "s")
    add(tmp_path / "s")
    s = read_ct_series(tmp_path / "s")
    assert s.set_aside == ((counted, 1),)
    assert counted in s.describe()
    assert s.runs == ((0, 4),)
    assert np.array_equal(s.volume.numpy(), np.maximum(stored.astype(np.float32) - 1024, -1000))


FLAWS = {  # what to do to the four slices; the file and the field to be blamed
    "same place": (lambda f: _again(f, 1.5, SOPInstanceUID="1.9"), "extra.dcm|02.dcm", "ImagePositionPatient"),
    "same name": (lambda f: _again(f, 7.5, SOPInstanceUID="1.2.3.1001500"), "extra.dcm", "SOPInstanceUID"),
    "other series": (lambda f: _again(f, 7.5, SeriesInstanceUID="1.2.5"), "s", "SeriesInstanceUID"),
    "other patient": (lambda f: _again(f, 7.5, PatientID="P2"), "s", "SeriesInstanceUID"),
    "half": (
        lambda f: [_again(f, z, name=f"{z}.dcm", shape=(5, 6)) for z in (7.5, 10.5, 13.5, 16.5)], "s", "series",
    ),
}  # fmt: skip


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_folder_that_is_not_one_series(tmp_path, flaw):
    damage, files, field = FLAWS[flaw]
    write_series(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(DataError) as caught:
        read_ct_series(tmp_path / "s")
    assert caught.value.path.name in files.split("|")
    assert caught.value.field == field


def test_one_of_several_series_is_read_by_its_uid(tmp_path):
    stored = write_series(tmp_path / "s")
    for k in range(3):
        _again(tmp_path / "s", 3 * k, name=f"b{k}", SeriesInstanceUID="1.2.5", SOPInstanceUID=f"1.9.{k}")
    s = read_ct_series(tmp_path / "s", series="1.2.4")
    assert s.set_aside == (("of another series", 3),)
    assert np.array_equal(s.volume.numpy(), np.maximum(stored.astype(np.float32) - 1024, -1000))
    assert len(read_ct_series(tmp_path / "s", series="1.2.5").volume) == 3
    for wrong in (None, "1.2.6"):
        with pytest.raises(DataError, match=r"name one of the folder's series: 1\.2\.4.* \(4 slices\) \| 1\.2\.5"):
            read_ct_series(tmp_path / "s", series=wrong)


@pytest.mark.parametrize(
    ("heights", "runs"),
    [
        ((0, 3, 6, 9), ((0, 4),)),
        ((0, 3, 9, 12), ((0, 2), (2, 4))),  # one slice missing
        ((0, 3, 6, 147, 150), ((0, 3), (3, 5))),
        ((0, 141, 144, 147), ((0, 1), (1, 4))),
        ((0, 6, 12, 15), ((0, 1), (1, 2), (2, 4))),  # steps of two thicknesses leave half of the body unseen
        ((0, 100, 200, 300), ((0, 1), (1, 2), (2, 3), (3, 4))),
        ((0, 3, 6, 9.1, 12.1), ((0, 3), (3, 5))),  # uneven
        ((0, 1.5, 3, 6, 7.5), ((0, 3), (3, 5))),  # overlapping slices
        ((0, 1.5, 4.5), ((0, 2), (2, 3))),  # of two steps the shorter one: a gap makes a step longer
        ((0, 2.99, 6, 9.01), ((0, 4),)),  # as rounded to two decimals
        ((0, 3, 6, 6.5, 9.5, 12.5), ((0, 3), (3, 6))),
        ((0, 0.62, 1.25, 1.87, 2.5), ((0, 5),)),  # steps of 0.625, rounded
    ],
)
def test_a_series_with_gaps_is_read_in_runs(tmp_path, heights, runs):
    for k, z in enumerate(heights):
        _again(tmp_path, z, name=f"{k}.dcm", value=k)
    s = read_ct_series(tmp_path)
    assert s.runs == runs
    inside = [step for a, b in runs for step in np.diff(heights[a:b])]  # no gap enters the spacing
    assert s.spacing_mm[0] == pytest.approx(np.mean(inside) if inside else 3)
    assert s.positions_mm == pytest.approx(heights)
    parts = s.split()
    assert [len(p.volume) for p in parts] == [b - a for a, b in runs]
    assert torch.equal(torch.cat([p.volume for p in parts]), s.volume)
    assert sum((p.positions_mm for p in parts), ()) == s.positions_mm
    assert (f"{len(runs)} runs" in s.describe()) == (len(runs) > 1)


def test_slices_moved_in_their_plane_are_no_neighbors(tmp_path):
    write_series(tmp_path / "s")
    _again(tmp_path / "s", 7.5, ImagePositionPatient=["-10", "-18", "7.5"])
    assert read_ct_series(tmp_path / "s").runs == ((0, 4), (4, 5))


def test_a_tilted_gantry_gives_no_volume(tmp_path):
    """Its slices are shifted along the table; the same slices stacked along their normal are a volume."""
    c, s = np.cos(np.radians(15)), np.sin(np.radians(15))
    axes = [f"{v:.6f}" for v in (1, 0, 0, 0, c, s)]
    for folder, step in (("tilted", (0, 0, 3)), ("oblique", (0, -3 * s, 3 * c))):
        (tmp_path / folder).mkdir()
        for k in range(4):
            place = [f"{k * v:.6f}" for v in step]
            _again(tmp_path / folder, k, name=f"{k}", ImageOrientationPatient=axes, ImagePositionPatient=place)
    with pytest.raises(
        DataError, match=r"ImagePositionPatient: shifted in the plane by a gantry tilted by 15\.0 degrees"
    ):
        read_ct_series(tmp_path / "tilted")
    oblique = read_ct_series(tmp_path / "oblique")
    assert "tilted by 15.0 degrees, which is left" in oblique.describe()
    assert oblique.spacing_mm[0] == pytest.approx(3)  # along the normal, not along the table


@pytest.mark.parametrize("name", ["none", "empty"])
def test_a_folder_without_slices(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError) as caught:
        read_ct_series(tmp_path / name)
    assert (caught.value.path, caught.value.field) == (tmp_path / name, "folder")


def test_the_series_that_pydicom_ships():
    s = read_ct_series(SHIPPED / "98892001/CT5N")
    assert s.volume.shape == (5, 16, 16)
    assert s.spacing_mm == pytest.approx((2.5, 0.488281, 0.488281))
    two = read_ct_series(SHIPPED / "77654033/CT2")
    assert np.diff(two.positions_mm).max() > 200
    assert two.runs == ((0, 1), (1, 4))
    with pytest.raises(DataError, match="holds no axial CT slice; set aside: 2 localizer"):  # frontal and lateral
        read_ct_series(SHIPPED / "98892001/CT2N")
    with pytest.raises(DataError, match="set aside: 3 of modality MR"):
        read_ct_series(SHIPPED / "98892003/MR1")


def test_files_are_known_by_how_they_begin(tmp_path):
    """Names of UIDs, names without extension, and files from before DICOM had a preamble."""
    stored = write_series(tmp_path / "s", count=3)
    files = sorted((tmp_path / "s").iterdir(), reverse=True)
    files[0].rename(tmp_path / "s" / "1.2.840.113619.2.55")
    files[1].rename(tmp_path / "s" / "IM0001")
    bare = files[2].read_bytes()[132:]
    (tmp_path / "s" / "I2").write_bytes(bare)
    files[2].unlink()
    (tmp_path / "s" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    s = read_ct_series(tmp_path / "s")
    assert np.array_equal(s.volume.numpy(), np.maximum(stored.astype(np.float32) - 1024, -1000))
    for name in ("1.2.840.113619.2.55", "IM0001", "I2"):
        assert load_slice(tmp_path / "s" / name).unit == "HU"
