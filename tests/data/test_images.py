"""One slice from any supported file: exact values, orientation, one typed error otherwise."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.data import get_testdata_file

from ctlib.data.images import load_slice, window
from ctlib.errors import ArgumentError, DataError

RAMP = (np.arange(20).reshape(4, 5) * 3000).astype(np.uint16)


def test_a_dicom_slice_comes_in_hu():
    found = load_slice(get_testdata_file("CT_small.dcm"))
    assert (found.unit, tuple(found.image.shape)) == ("HU", (128, 128))
    assert found.spacing_mm == pytest.approx((0.661468, 0.661468))


def test_png_of_8_and_16_bits_is_exact(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    Image.fromarray((RAMP // 256).astype(np.uint8)).save(tmp_path / "b.png")
    sixteen, eight = load_slice(tmp_path / "a.png"), load_slice(tmp_path / "b.png")
    assert (sixteen.unit, eight.unit) == ("1", "1")
    assert torch.equal((sixteen.image * 65535).round().int(), torch.from_numpy(RAMP.astype(np.int32)))
    assert torch.equal((eight.image * 255).round().int(), torch.from_numpy((RAMP // 256).astype(np.int32)))
    hu = load_slice(tmp_path / "a.png", unit="HU+32768")
    assert hu.unit == "HU"
    assert hu.image.min() == -1000
    assert float(hu.image[-1, -1]) == 57000 - 32768


def test_windows_map_hu_to_the_unit_interval():
    hu = torch.tensor([[-500.0, -160.0, 40.0, 240.0, 900.0]])
    torch.testing.assert_close(window(hu, -160, 240), torch.tensor([[0.0, 0.0, 0.5, 1.0, 1.0]]))
    with pytest.raises(ArgumentError, match="low"):
        window(hu, 5, 5)


def _npy(path, array):
    np.save(path, array, allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "field", "make"),
    [
        ("none.dcm", "file", lambda p: None),
        ("a.jpg", "extension", lambda p: p.write_bytes(b"x")),
        ("a.png", "PNG", lambda p: p.write_bytes(b"not a picture")),
        ("rgb.png", "mode", lambda p: Image.new("RGB", (3, 3)).save(p)),
        ("a.npy", "array", lambda p: p.write_bytes(b"\x93NUMPY broken")),
        ("pickle.npy", "array", lambda p: _npy(p, np.array([{}], dtype=object))),
        ("four.npy", "array", lambda p: _npy(p, np.zeros((2, 2, 2, 2)))),
        ("text.npy", "array", lambda p: _npy(p, np.array([["a"]]))),
        ("complex.npy", "array", lambda p: _npy(p, np.ones((2, 2), complex))),
        ("nan.npy", "pixels", lambda p: _npy(p, np.full((2, 2), np.nan))),
        ("empty.npy", "pixels", lambda p: _npy(p, np.zeros((0, 3)))),
        ("a.nii.gz", "NIfTI", lambda p: p.write_bytes(b"\x1f\x8bnot gzip")),
        ("a.nii", "NIfTI", lambda p: p.write_bytes(b"")),
    ],
)
def test_every_flaw_is_one_error_that_names_file_and_field(tmp_path, name, field, make):
    make(tmp_path / name)
    with pytest.raises(DataError) as caught:
        load_slice(tmp_path / name)
    assert caught.value.field == field
    assert name in str(caught.value)


def test_truncated_pictures_and_slices_out_of_range_are_refused(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    np.save(tmp_path / "v.npy", np.zeros((3, 2, 2)))
    for path, index in (("cut.png", None), ("v.npy", 3)):
        with pytest.raises(DataError):
            load_slice(tmp_path / path, index=index)
    for index in (-1, 1.5, True, float("nan")):
        with pytest.raises(ArgumentError, match="index"):
            load_slice(tmp_path / "v.npy", index=index)
    Image.new("L", (2, 2)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="16-bit"):
        load_slice(tmp_path / "b.png", unit="HU+32768")
