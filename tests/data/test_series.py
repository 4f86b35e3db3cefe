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


def _again(folder, z, **changes):
    write_ct(folder / "extra.dcm", np.ones(changes.pop("shape", (6, 5)), np.uint16), z, **changes)


FLAWS = {  # what to do to four slices at -4.5, -1.5, 1.5, 4.5; the file and the field to be blamed
    "gap": (lambda f: (f / "02.dcm").unlink(), "01.dcm", "ImagePositionPatient"),
    "uneven": (lambda f: _again(f, 7.6), "extra.dcm", "ImagePositionPatient"),
    "same place": (lambda f: _again(f, 1.5, SOPInstanceUID="1.9"), "extra.dcm|02.dcm", "ImagePositionPatient"),
    "copy": (lambda f: shutil.copy(f / "01.dcm", f / "extra.dcm"), "extra.dcm|01.dcm", "SOPInstanceUID"),
    "other series": (lambda f: _again(f, 7.5, SeriesInstanceUID="1.2.5"), "extra.dcm", "SeriesInstanceUID"),
    "other patient": (lambda f: _again(f, 7.5, PatientID="P2"), "extra.dcm", "PatientID"),
    "other size": (lambda f: _again(f, 7.5, shape=(5, 6)), "extra.dcm", "Rows, Columns"),
    "other pixels": (lambda f: _again(f, 7.5, PixelSpacing=["0.7", "0.8"]), "extra.dcm", "PixelSpacing"),
    "no place": (
        lambda f: _again(f, 7.5, ImagePositionPatient=None),
        "extra.dcm",
        "ImagePositionPatient, ImageOrientationPatient",
    ),
    "tilted": (
        lambda f: _again(f, 7.5, ImagePositionPatient=["-10", "-18", "7.5"]),
        "extra.dcm",
        "ImagePositionPatient",
    ),
    "turned": (
        lambda f: _again(f, 7.5, ImageOrientationPatient=list("010100")),
        "extra.dcm",
        "ImageOrientationPatient",
    ),
    "damaged": (lambda f: (f / "extra.dcm").write_bytes(b"DICM"), "extra.dcm", "DICOM"),
    "an MR": (lambda f: _again(f, 7.5, Modality="MR"), "extra.dcm", "Modality"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_folder_that_is_not_one_volume(tmp_path, flaw):
    damage, files, field = FLAWS[flaw]
    write_series(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(DataError) as caught:
        read_ct_series(tmp_path / "s")
    assert caught.value.path.name in files.split("|")
    assert caught.value.field == field


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
    with pytest.raises(DataError, match="ImagePositionPatient"):  # 202.5 mm between the first two
        read_ct_series(SHIPPED / "77654033/CT2")
    with pytest.raises(DataError, match="ImageOrientationPatient"):  # a frontal and a lateral scout
        read_ct_series(SHIPPED / "98892001/CT2N")
