"""One DICOM slice: read exactly, or refused with the file and the field; never anything else."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from dicom_writer import write_ct
from pydicom.data import get_testdata_file

from ctlib.data.dicom import read_ct_slice
from ctlib.errors import DataError

BUNDLED = Path(pydicom.__file__).parent / "data"
FILES = sorted(p for p in BUNDLED.rglob("*") if p.is_file() and not (p.suffix.startswith(".py") or p.suffix == ".json"))
STORED = np.array([[0, 24, 1024, 2048, 4095], [7, 6, 5, 4, 3]], dtype=np.uint16)

pytestmark = pytest.mark.usefixtures("silent")


def outcome(path: Path):
    """The slice, checked for everything a caller relies on; or the DataError."""
    s = None
    try:
        s = read_ct_slice(path)
    except DataError as raised:
        error = raised
    if s is None:
        assert error.path == path
        assert error.field
        assert str(error).startswith(f"{path}: {error.field}: ")
        assert "\n" not in str(error)
        return error
    assert s.image.dtype == torch.float32
    assert s.image.ndim == 2
    assert bool(torch.isfinite(s.image).all())
    assert float(s.image.min()) >= -1000
    assert len(s.spacing_mm) == 2
    assert min(s.spacing_mm) > 0
    assert s.sample_id
    return s


@pytest.mark.parametrize("syntax", ["explicit", "implicit"])
def test_a_written_slice_is_read_back_exactly(tmp_path, syntax):
    path = write_ct(tmp_path / "a.dcm", STORED, z=12.5, syntax=syntax, RescaleSlope="0.5", RescaleIntercept="-500")
    s = outcome(path)
    torch.testing.assert_close(s.image, torch.from_numpy(STORED * np.float32(0.5) - 500), rtol=0, atol=0)
    assert (s.spacing_mm, s.position_mm, s.thickness_mm) == ((0.8, 0.7), 12.5, 3.0)
    assert (s.patient_id, s.series, s.sample_id) == ("P1", "1.2.4", "1.2.3.1012500")


def test_signed_values_and_padding(tmp_path):
    stored = np.array([[-2048, -1500, -1000, -999, 0, 3000]], dtype=np.int16)
    path = write_ct(tmp_path / "a.dcm", stored, RescaleIntercept="0")
    assert read_ct_slice(path).image.tolist() == [[-1000, -1000, -1000, -999, 0, 3000]]
    assert read_ct_slice(path, clip_padding=False).image.tolist() == [[-2048, -1500, -1000, -999, 0, 3000]]


def test_a_slice_without_place_or_names_is_still_an_image(tmp_path):
    empty = dict.fromkeys(("ImagePositionPatient", "SOPInstanceUID", "PatientID", "SliceThickness"))
    s = outcome(write_ct(tmp_path / "a.dcm", STORED, **empty))
    assert (s.position_mm, s.origin_mm, s.thickness_mm, s.patient_id, s.sample_id) == (None, None, None, "", "a.dcm")


BROKEN = {
    "Modality": ["MR", None, ""],
    "PhotometricInterpretation": ["RGB", "PALETTE COLOR", None],
    "RescaleType": ["MGML", "Z_EFF"],  # iodine and effective-atomic-number maps are no HU
    "SamplesPerPixel": [3],
    "NumberOfFrames": ["2", "0"],
    "Rows": [3, 1, 0, 65535, None],  # swapped or wrong sizes do not fit the length of PixelData
    "Columns": [6, None],
    "PixelData": [None, b"", b"\0" * 18, b"\0" * 22, b"\0" * 40],
    "BitsAllocated": [8, 32, 12, None],
    "BitsStored": [0, 17, None],
    "PixelRepresentation": [None, 7],
    "HighBit": [14],
    "RescaleSlope": [None, "", "0", "-1", "1e9", "1e308"],
    "RescaleIntercept": [None, "1e6"],
    "PixelSpacing": [None, ["0", "1"], ["1", "-1"], ["1"], ["1", "1", "1"]],
    "ImagePositionPatient": [["1", "2"]],
    "ImageOrientationPatient": [["1", "0", "0", "1", "0", "0"], ["2", "0", "0", "0", "2", "0"], ["1", "0", "0"]],
}


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in BROKEN.items() for v in values])
def test_a_broken_field_is_named(tmp_path, field, value):
    error = outcome(write_ct(tmp_path / "a.dcm", STORED, **{field: value}))
    assert isinstance(error, DataError)
    sizes = {"Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "PixelData"}  # judged together
    blamed = set(error.field.split(", "))
    assert field in blamed or (field in sizes and blamed & sizes), str(error)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "a lot", "1\\2"])
@pytest.mark.parametrize("field", ["RescaleSlope", "RescaleIntercept"])
def test_numbers_that_are_none(tmp_path, field, text):
    marker = b"0.987654321"  # replaced in the bytes: no writer would let these values through
    path = write_ct(tmp_path / "a.dcm", STORED, **{field: marker.decode()})
    path.write_bytes(path.read_bytes().replace(marker, text.encode().ljust(len(marker))))
    error = outcome(path)
    assert isinstance(error, DataError)
    assert error.field == field


@pytest.mark.parametrize("name", ["no such file", "x" * 5000, "a\0b"])
def test_missing_files(tmp_path, name):
    assert outcome(tmp_path / name).field == "file"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(BUNDLED).as_posix())
def test_every_file_that_pydicom_ships(path, hurry):
    hurry(20)
    result = outcome(path)
    reads = path.name in {"CT_small.dcm", "693_J2KI.dcm", "J2K_pixelrep_mismatch.dcm"}
    reads |= path.parent.name in {"CT2", "CT5N"}  # CT2N holds two localizers
    assert isinstance(result, DataError) != reads, result


def test_ct_small_has_the_values_its_pixels_say():
    path = Path(get_testdata_file("CT_small.dcm", download=False))
    s = read_ct_slice(path)
    assert s.image.shape == (128, 128)
    expected = pydicom.dcmread(path).pixel_array.astype(np.int64) - 1024
    assert np.array_equal(s.image.numpy(), np.maximum(expected, -1000))
    assert s.spacing_mm == (0.661468, 0.661468)
