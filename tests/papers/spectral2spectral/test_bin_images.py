"""Bin images from TIFF files: values, order, and one error for every way such a folder can be broken."""

import numpy as np
import pytest
import torch
from PIL import Image

from ctlib.errors import ArgumentError, DataError
from ctlib.papers.spectral2spectral.bin_images import load_bin_images

pytestmark = pytest.mark.usefixtures("silent")


@pytest.fixture
def folder(tmp_path):
    """Eleven bins of one slice, each filled with ten times its number; the eleventh sorts before the second by name."""
    for k in range(1, 12):
        Image.fromarray(np.full((4, 6), 10.0 * k, dtype=np.float32)).save(tmp_path / f"bin{k}_slice0007.tif")
    (tmp_path / "README.md").write_text("not an image")
    return tmp_path


def test_bins_come_in_order_of_their_numbers_and_in_units(folder):
    x = load_bin_images(folder, per_mm=5.0)
    assert (x.shape, x.dtype) == ((11, 4, 6), torch.float32)
    assert torch.equal(x[:, 0, 0], 2.0 * torch.arange(1, 12))
    Image.fromarray(np.ones((4, 6), dtype=np.float32)).save(folder / "bin1_slice0008.tif")
    with pytest.raises(ArgumentError, match=r"slice_number.*7, 8"):
        load_bin_images(folder, 1.0)
    assert len(load_bin_images(folder, 1.0, slice_number=8)) == 1
    with pytest.raises(ArgumentError, match="slice_number"):
        load_bin_images(folder, 1.0, slice_number=9)
    with pytest.raises(ArgumentError, match="per_mm"):
        load_bin_images(folder, 0.0)


def wrong_size(path):
    Image.fromarray(np.zeros((4, 5), dtype=np.float32)).save(path)


def integers(path):
    Image.fromarray(np.zeros((4, 6), dtype=np.uint8)).save(path)


def not_a_number(path):
    Image.fromarray(np.full((4, 6), np.nan, dtype=np.float32)).save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    ("damage", "field"),
    [(wrong_size, "shape"), (integers, "pixels"), (not_a_number, "values"), (cut, "TIFF")],
)
def test_a_broken_file_is_named(folder, damage, field):
    damage(folder / "bin3_slice0007.tif")
    with pytest.raises(DataError, match=rf"bin3_slice0007\.tif: {field}"):
        load_bin_images(folder, 1.0)


def test_a_missing_bin_a_missing_folder_and_an_empty_one(folder, tmp_path):
    (folder / "bin4_slice0007.tif").unlink()
    with pytest.raises(DataError, match="bin 4"):
        load_bin_images(folder, 1.0)
    with pytest.raises(DataError, match="does not exist"):
        load_bin_images(tmp_path / "nowhere", 1.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="none is named"):
        load_bin_images(tmp_path / "empty", 1.0)
