"""NIfTI axes, PNG bits, NumPy headers: cases beyond the common ones, and damaged files of every format."""

import itertools

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from ctlib.data.images import load_slice
from ctlib.errors import DataError

pytestmark = pytest.mark.usefixtures("silent")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1), (-1, 1, -1)])
def test_every_way_to_store_a_nifti_volume_gives_the_same_slice(tmp_path, order, signs):
    """(slice, height, width) from the top, as KiTS stores it, is one of these 24."""
    ras = np.random.default_rng(0).integers(-900, 2000, (5, 4, 3)).astype(np.int16)  # to the right, front, head
    sizes = np.array([0.7, 0.8, 3.0])
    affine = np.eye(4)
    stored = np.transpose(ras, order)
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:, axis] = 0
        affine[world, axis] = sign * sizes[world]
        stored = np.flip(stored, axis) if sign < 0 else stored
        affine[world, 3] = (0 if sign > 0 else stored.shape[axis] - 1) * sizes[world]  # the lowest corner is the origin
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "a.nii")
    for k in (None, 0, 2):
        found = load_slice(tmp_path / "a.nii", index=k)
        expected = ras[::-1, ::-1, 1 if k is None else k].T  # row 0 anterior, column 0 the patient's right
        assert np.array_equal(found.image.numpy(), expected.astype(np.float32))
        assert found.image.is_contiguous()
        assert found.spacing_mm == pytest.approx((0.8, 0.7))
        assert found.position_mm == pytest.approx(3.0 * (1 if k is None else k))
        assert found.unit == "HU"


def _nifti(path, shape=(4, 4, 2), value=0.0, **patches):
    """A NIfTI file with some header fields overwritten: (offset, numbers) by name."""
    nibabel.save(nibabel.Nifti1Image(np.full(shape, value, np.float32), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    for offset, numbers in patches.values():
        data[offset : offset + 4 * len(numbers)] = np.array(numbers, "<f4").tobytes()
    path.write_bytes(data)


def test_nifti_slope_and_intercept_are_applied(tmp_path):
    _nifti(tmp_path / "a.nii", value=2000, scaling=(112, (0.5, -1024)))
    assert load_slice(tmp_path / "a.nii", unit="HU").image.unique().tolist() == [-24.0]


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("dim", lambda p: _nifti(p, (4, 4, 2, 3))),
        ("dim", lambda p: _nifti(p, (4, 4, 2, 1, 3))),
        ("affine", lambda p: _nifti(p, srow_z=(312, (0, 0, 0, 0)))),
        ("affine", lambda p: _nifti(p, srow_z=(312, (0, 0, np.inf, 0)))),
        ("affine", lambda p: _nifti(p, srow_x=(280, (1, 0.1, 0, 0)))),  # sheared, as by a tilted gantry
        ("affine", lambda p: _nifti(p, srow_z=(312, (0, 0, 1e-6, 0)))),
        ("pixels", lambda p: _nifti(p, value=np.nan)),
        ("pixels", lambda p: _nifti(p, value=1e30)),
    ],
)
def test_nifti_files_that_hold_no_ct_volume(tmp_path, field, make):
    make(tmp_path / "a.nii")
    with pytest.raises(DataError) as caught:
        load_slice(tmp_path / "a.nii", unit="HU")
    assert caught.value.field == field


def test_sixteen_bits_stay_exact(tmp_path):
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(every).save(tmp_path / "a.png")
    gray = load_slice(tmp_path / "a.png")
    assert (gray.unit, gray.spacing_mm, gray.source) == ("1", None, "a.png")
    assert np.array_equal((gray.image.double() * 65535).round().numpy(), every)
    hu = load_slice(tmp_path / "a.png", unit="HU+32768")
    assert np.array_equal(hu.image.numpy(), np.maximum(every.astype(np.float32) - 32768, -1000))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_pictures_that_are_not_gray(tmp_path, mode):
    Image.new(mode, (3, 3)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="mode: is"):
        load_slice(tmp_path / "a.png")


def test_a_jpeg_is_no_png_whatever_its_name(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png", format="JPEG")
    with pytest.raises(DataError, match="PNG"):
        load_slice(tmp_path / "a.png")


def test_a_header_that_promises_too_much_asks_for_no_memory(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((8, 8)))
    path.write_bytes(path.read_bytes().replace(b"(8, 8), ", b"(8000000, 8000000), ").replace(b" " * 12, b"", 1))
    with pytest.raises(DataError, match="array"):
        load_slice(path)
    Image.new("L", (6000, 6000)).save(tmp_path / "bomb.png")
    with pytest.raises(DataError, match="size"):
        load_slice(tmp_path / "bomb.png")


@pytest.mark.parametrize("kind", ["int16", "uint8", "float16", "float32", ">i4", ">f8"])
def test_numpy_kinds(tmp_path, kind):
    np.save(tmp_path / "a.npy", np.array([[0, 1, 2], [60, 70, 80]], dtype=kind))
    found = load_slice(tmp_path / "a.npy", unit="HU")
    assert found.image.dtype == torch.float32
    assert found.image.tolist() == [[0, 1, 2], [60, 70, 80]]
    found.image[0, 0] = 5  # a copy: the file is not written to
    assert load_slice(tmp_path / "a.npy", unit="HU").image[0, 0] == 0


@pytest.mark.parametrize("path", ["a.tif", "a", "a.nii.xz", ".npy.bak"])
def test_unknown_extensions_name_the_known_ones(tmp_path, path):
    (tmp_path / path).write_bytes(b"")
    with pytest.raises(DataError, match=r"extension: is not one of \.dcm, \.ima, \.png, \.npy, \.nii, \.nii\.gz"):
        load_slice(tmp_path / path)


@pytest.mark.parametrize("path", ["none.npy", "x" * 5000 + ".npy", "a\0.npy", "/dev/null.png"])
def test_missing_files(path):
    with pytest.raises(DataError, match="file: does not exist"):
        load_slice(path)
