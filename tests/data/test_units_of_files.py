"""PNG, NumPy and NIfTI do not say what their numbers are: a stated unit, a safe guess that is told, or one error."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from ctlib.data.images import load_slice
from ctlib.errors import ArgumentError, DataError

pytestmark = pytest.mark.usefixtures("silent")
HU = np.array([[-1000.0, -90, 0], [40, 1200, 300]])


def _write(path, array):
    if path.suffix == ".png":
        Image.fromarray(array).save(path)
    elif path.suffix == ".npy":
        np.save(path, array)
    else:
        nibabel.save(nibabel.Nifti1Image(np.stack([np.asarray(array)[::-1, ::-1].T] * 2, -1), np.eye(4)), path)
    return path


STATED = [  # file, its numbers, the unit; image and unit as read
    ("a.png", (HU + 32768).astype(np.uint16), "HU+32768", HU, "HU"),
    ("a.png", (HU + 1024).astype(np.uint16), "HU+1024", HU, "HU"),
    ("a.png", (np.maximum(HU, 0)).astype(np.uint16), "HU", np.maximum(HU, 0), "HU"),
    ("a.png", np.array([[0, 255]], np.uint8), "gray", [[0, 1]], "1"),
    ("a.png", np.array([[0, 13107]], np.uint16), "gray", [[0, 0.2]], "1"),
    ("a.npy", HU.astype(np.int16), "HU", HU, "HU"),
    ("a.npy", (HU + 1000).astype(np.uint16), "HU+1000", HU, "HU"),
    ("a.npy", HU - 0.5, "HU-0.5", HU, "HU"),
    ("a.npy", np.array([[0, 0.02]]), "1/mm", [[0, 0.02]], "1/mm"),
    ("a.npy", np.array([[-0.01, 0.2]]), "1/cm", [[-0.001, 0.02]], "1/mm"),
    ("a.npy", np.array([[0, 0.02]]), "gray", [[0, 0.02]], "1"),
    ("a.npy", np.array([[0, 51]], np.uint8), "gray", [[0, 0.2]], "1"),
    ("a.npy", np.array([[0, 13107]], np.uint16), "gray", [[0, 0.2]], "1"),
    ("a.nii", (HU + 1024).astype(np.int16), "HU+1024", HU, "HU"),
    ("a.nii.gz", (HU / 100 + 10).astype(np.float32), "1/cm", HU / 1000 + 1, "1/mm"),
]


@pytest.mark.parametrize(("name", "numbers", "unit", "image", "known"), STATED)
def test_a_stated_unit(tmp_path, name, numbers, unit, image, known):
    found = load_slice(_write(tmp_path / name, numbers), unit=unit)
    torch.testing.assert_close(found.image, torch.as_tensor(np.asarray(image), dtype=torch.float32))
    assert found.unit == known
    assert f"in {known}" in found.describe()
    assert "taken from the range" not in found.describe()


@pytest.mark.parametrize(
    ("name", "numbers", "unit"),
    [
        ("a.npy", HU, "HU"),
        ("a.nii", HU.astype(np.int16), "HU"),
        ("a.npy", np.array([[0.1, 0.9]]), "1"),
        ("a.png", np.array([[0, 60000]], np.uint16), "1"),
        ("a.png", np.array([[3, 9]], np.uint8), "1"),
    ],
)
def test_a_unit_that_only_one_reading_fits_is_taken_and_told(tmp_path, name, numbers, unit):
    found = load_slice(_write(tmp_path / name, numbers))
    assert found.unit == unit
    assert "taken from the range of its values" in found.describe()


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("a.npy", HU + 1024),  # stored from 0
        ("a.npy", np.array([[0, 255]], np.uint8)),
        ("a.npy", np.array([[0, 0.035]])),  # attenuation, or a dark picture
        ("a.npy", np.array([[-3.0, 3.0]])),  # standardized
        ("a.npy", np.array([[40, 41]])),
        ("a.png", (HU + 32768).astype(np.uint16)),  # DeepLesion: all gray would lie around 1/2
        ("a.png", (HU + 1024).astype(np.uint16)),
        ("a.png", np.array([[31768, 47000]], np.uint16)),  # likewise, with metal
        ("a.nii", np.array([[0, 900], [5, 1]], np.int16)),  # an MR, say
        ("a.nii.gz", np.array([[0, 3], [1, 1]], np.int16)),  # labels
    ],
)
def test_a_unit_that_cannot_be_known_is_asked_for(tmp_path, name, numbers):
    with pytest.raises(
        ArgumentError, match=r"unit: got none, and a\..* needs one of HU, HU\+<offset>.*1/mm, 1/cm, gray"
    ):
        load_slice(_write(tmp_path / name, numbers))


@pytest.mark.parametrize("unit", ["hu", "HU+", "HU*2", "mm", "", 1024, True, "HU+1e3", "HU+nan"])
def test_unknown_units_name_the_known_ones(tmp_path, unit):
    with pytest.raises(ArgumentError, match=r"unit: got .* needs one of HU, "):
        load_slice(_write(tmp_path / "a.npy", HU), unit=unit)


@pytest.mark.parametrize(
    ("numbers", "unit"), [(HU, "1/mm"), (HU, "gray"), (HU * 1000, "HU"), (HU, "1/cm"), (np.array([[2.0]]), "gray")]
)
def test_numbers_that_no_such_unit_has(tmp_path, numbers, unit):
    with pytest.raises(DataError):
        load_slice(_write(tmp_path / "a.npy", numbers), unit=unit)


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4, 1), (1, 1, 3, 4), (1, 3, 4, 1), (3, 4, 1, 1)])
def test_axes_of_length_one_around_an_array_are_dropped(tmp_path, shape):
    image = np.arange(12.0).reshape(3, 4)
    found = load_slice(_write(tmp_path / "a.npy", image.reshape(shape)), unit="HU")
    assert np.array_equal(found.image.numpy(), image)


def test_axes_of_length_one_around_a_volume_are_dropped(tmp_path):
    volume = np.arange(24.0).reshape(2, 3, 4)
    for shape in ((1, 2, 3, 4), (2, 3, 4, 1)):
        _write(tmp_path / "a.npy", volume.reshape(shape))
        assert np.array_equal(load_slice(tmp_path / "a.npy", 1, "HU").image.numpy(), volume[1])


def _nifti(path, shape=(4, 3, 2), **fields):
    array = -np.arange(np.prod(shape), dtype=np.int16).reshape(shape) * 20
    image = nibabel.Nifti1Image(array, np.diag([-0.7, -0.8, 3.0, 1.0]))
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return array


@pytest.mark.parametrize("shape", [(4, 3, 2, 1), (4, 3, 2, 1, 1), (4, 3, 1), (4, 3)])
def test_nifti_with_axes_of_length_one(tmp_path, shape):
    array = _nifti(tmp_path / "a.nii", shape)
    found = load_slice(tmp_path / "a.nii", 0, "HU")
    assert np.array_equal(found.image.numpy(), array.reshape(*shape[:2], -1)[..., 0].T)
    assert found.spacing_mm == pytest.approx((0.8, 0.7))


@pytest.mark.parametrize(("code", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 1e-3), (2 + 8, 1), (3 + 16, 1e-3)])
def test_the_length_unit_of_a_nifti_header_is_honored(tmp_path, code, factor):
    _nifti(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[123] = code
    for row in range(3):  # srow_x, srow_y, srow_z
        at = 280 + 16 * row
        data[at : at + 16] = (np.frombuffer(data[at : at + 16], "<f4") / np.float32(factor)).tobytes()
    (tmp_path / "a.nii").write_bytes(data)
    found = load_slice(tmp_path / "a.nii", 1)
    assert found.spacing_mm == pytest.approx((0.8, 0.7))
    assert found.position_mm == pytest.approx(3.0)
    assert ("length unit not stated" in found.describe()) == (code == 0)


@pytest.mark.parametrize(
    ("fields", "blamed"),
    [
        ({"xyzt_units": 5}, "xyzt_units"),
        ({"intent_code": 1002}, "intent_code"),
        ({"descrip": b"TE=2.9;Time=093314.000"}, "descrip, dim_info"),
        ({"descrip": b"t1 MPRAGE sag"}, "descrip, dim_info"),
        ({"dim_info": 0b111001}, "descrip, dim_info"),
    ],
)
def test_nifti_headers_that_are_not_those_of_a_ct(tmp_path, fields, blamed):
    _nifti(tmp_path / "a.nii", **fields)
    with pytest.raises(DataError) as caught:
        load_slice(tmp_path / "a.nii", unit="HU")
    assert caught.value.field == blamed


def test_a_sidecar_names_the_modality(tmp_path):
    _nifti(tmp_path / "a.nii")
    (tmp_path / "a.json").write_text('{"Modality": "CT"}')
    assert load_slice(tmp_path / "a.nii").unit == "HU"
    (tmp_path / "a.json").write_text('{"Modality": "MR"}')
    with pytest.raises(DataError, match=r"Modality: is 'MR' in a\.json"):
        load_slice(tmp_path / "a.nii")


def test_qform_alone_sform_alone_neither_and_both(tmp_path):
    array, affine = -np.arange(24, dtype=np.int16).reshape(4, 3, 2) * 20, np.diag([0.7, 0.8, 3.0, 1.0])
    for forms in ("q", "s", "qs", ""):
        image = nibabel.Nifti1Image(array, None)
        image.header.set_zooms((0.7, 0.8, 3.0))
        image.set_qform(affine if "q" in forms else None, 1 if "q" in forms else 0)
        image.set_sform(affine if "s" in forms else None, 2 if "s" in forms else 0)
        nibabel.save(image, tmp_path / f"a{forms}.nii")
        found = load_slice(tmp_path / f"a{forms}.nii", 0)
        if forms:  # stored from the patient's left to right, from posterior to anterior
            assert np.array_equal(found.image.numpy(), array[::-1, ::-1, 0].T)
            assert "stored toward RAS" in found.describe()
        else:
            assert "orientation not stated" in found.describe()
    image.set_qform(affine, 1)
    image.set_sform(np.diag([-0.7, 0.8, 3.0, 1.0]), 1)
    nibabel.save(image, tmp_path / "b.nii")
    with pytest.raises(DataError, match="qform, sform: state different orientations"):
        load_slice(tmp_path / "b.nii")


def test_a_header_that_nibabel_mends_is_refused_or_told(tmp_path):
    for at, value, said in ((254, 255, "header: sform_code"), (0, 300, "header: sizeof_hdr"), (108, None, "")):
        _nifti(tmp_path / "a.nii")
        data = bytearray((tmp_path / "a.nii").read_bytes())
        if value is None:  # pixdim[1] = -0.7
            data[80:84] = np.float32(-0.7).tobytes()
            (tmp_path / "a.nii").write_bytes(data)
            assert "pixdim[1,2,3] should be positive" in load_slice(tmp_path / "a.nii").describe()
            continue
        data[at : at + 2] = value.to_bytes(2, "little")
        (tmp_path / "a.nii").write_bytes(data)
        with pytest.raises(DataError, match=said):
            load_slice(tmp_path / "a.nii")


@pytest.mark.parametrize("shape", [(4, 1, 3), (1, 4, 3)])
def test_one_sagittal_or_coronal_slice_is_refused(tmp_path, shape):
    _nifti(tmp_path / "a.nii", shape)
    with pytest.raises(DataError, match=r"dim: .*one sagittal or coronal slice"):
        load_slice(tmp_path / "a.nii")


SHIPPED = sorted((Path(nibabel.__file__).parent / "tests/data").glob("*.nii*"))


@pytest.mark.skipif(not SHIPPED, reason="this build of nibabel ships no files")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_no_file_that_nibabel_ships_is_taken_for_a_ct(path):
    """They are MR, maps and labels."""
    with pytest.raises((ArgumentError, DataError)):
        load_slice(path)


def test_a_nifti_header_that_promises_too_much_asks_for_no_memory(tmp_path):
    _nifti(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[42:48] = np.array([4000, 4000, 4000], "<i2").tobytes()
    for name, content in (("a.nii", bytes(data)), ("a.nii.gz", gzip.compress(bytes(data)))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=r"data: need 128000000000 bytes, the file has"):
            load_slice(tmp_path / name)
