"""Every way to store an axial slice comes back with row 0 anterior and column 0 the patient's right; others refused."""

import itertools

import numpy as np
import pytest
import torch
from dicom_writer import write_ct

from ctlib.data.dicom import read_ct_series, read_ct_slice
from ctlib.data.images import load_slice
from ctlib.errors import ArgumentError, DataError

pytestmark = pytest.mark.usefixtures("silent")
IMAGE = np.random.default_rng(0).integers(100, 3000, (6, 5)).astype(np.uint16)  # row 0 anterior, column 0 right
ROW_MM, COLUMN_MM = 0.8, 0.7
ORIGIN = np.array([-10.0, -20.0, 5.0])  # of its pixel (0, 0): right and anterior of the rest


def stored(swap: bool, flip_rows: bool, flip_columns: bool):
    """(pixels, header) of IMAGE as a scanner might store it."""
    down, along, origin = np.array([0, 1.0, 0]), np.array([1.0, 0, 0]), ORIGIN.copy()
    pixels, spacing = IMAGE, [ROW_MM, COLUMN_MM]
    if flip_rows:
        pixels, origin, down = pixels[::-1], origin + down * ROW_MM * 5, -down
    if flip_columns:
        pixels, origin, along = pixels[:, ::-1], origin + along * COLUMN_MM * 4, -along
    if swap:
        pixels, down, along, spacing = pixels.T, along, down, spacing[::-1]
    header = {"ImageOrientationPatient": [f"{v:g}" for v in (*along, *down)], "PixelSpacing": [f"{s}" for s in spacing],
              "ImagePositionPatient": [f"{v:g}" for v in origin]}  # fmt: skip
    return np.ascontiguousarray(pixels), header


WORDS = {
    (False, False, False): "as stored", (False, True, True): "turned by 180 degrees",  # prone
    (False, False, True): "mirrored left to right", (False, True, False): "mirrored top to bottom",
    (True, False, False): "mirrored at a diagonal", (True, True, True): "mirrored at a diagonal",
    (True, True, False): "turned by 90 degrees", (True, False, True): "turned by 90 degrees",
}  # fmt: skip


@pytest.mark.parametrize("way", list(itertools.product([False, True], repeat=3)), ids=lambda w: WORDS[w] + str(w))
def test_eight_ways_to_store_a_slice(tmp_path, way):
    pixels, header = stored(*way)
    path = write_ct(tmp_path / "a.dcm", pixels, **header)
    s, found = read_ct_slice(path), load_slice(path)
    assert np.array_equal(s.image.numpy(), IMAGE.astype(np.float32) - 1024)
    assert torch.equal(found.image, s.image)
    assert s.image.is_contiguous()
    assert s.spacing_mm == found.spacing_mm == (ROW_MM, COLUMN_MM)
    assert s.origin_mm == pytest.approx(tuple(ORIGIN))
    assert s.orientation == pytest.approx((1, 0, 0, 0, 1, 0))
    assert s.position_mm == found.position_mm == pytest.approx(5.0)
    assert WORDS[way] in s.understood
    assert WORDS[way] in found.describe()


@pytest.mark.parametrize("way", list(itertools.product([False, True], repeat=3)), ids=str)
def test_a_series_ascends_from_feet_to_head_however_it_is_stored(tmp_path, way):
    """Feet-first and mirrored series too, in which the normal of the stored slices points to the feet."""
    pixels, header = stored(*way)
    for k, z in enumerate((7, 1, 4)):
        place = [*header["ImagePositionPatient"][:2], str(z)]
        write_ct(tmp_path / f"{k}.dcm", pixels + np.uint16(z), z, **{**header, "ImagePositionPatient": place})
    s = read_ct_series(tmp_path)
    assert s.positions_mm == pytest.approx((1, 4, 7))
    for z, image in zip((1, 4, 7), s.volume.numpy(), strict=True):
        assert np.array_equal(image, IMAGE + np.float32(z) - 1024)
    assert WORDS[way] in s.describe()
    assert load_slice(tmp_path, 0).position_mm == pytest.approx(1)


def axes(about: str, degrees: float) -> list[str]:
    """ImageOrientationPatient turned about one of the patient's axes."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = {"x": (1, 0, 0, 0, c, s), "y": (c, 0, s, 0, 1, 0), "z": (c, s, 0, -s, c, 0)}
    return [f"{v:.6f}" for v in turned[about]]


@pytest.mark.parametrize(
    ("about", "degrees", "said"),
    [
        ("x", 0.3, "as stored"), ("x", 3, "tilted by 3.0"), ("x", -20, "tilted by 20.0"), ("x", 29, "tilted by 29.0"),
        ("y", 5, "tilted by 5.0"), ("z", 0.2, "as stored"), ("z", 4, "rotated by 4.0"), ("z", -9, "rotated by 9.0"),
        ("z", 94, "rotated by 4.0"), ("z", 184, "rotated by 4.0"),
    ],
)  # fmt: skip
def test_small_angles_are_left_and_told(tmp_path, about, degrees, said):
    found = load_slice(write_ct(tmp_path / "a.dcm", IMAGE, ImageOrientationPatient=axes(about, degrees)))
    assert said in found.describe()


@pytest.mark.parametrize(
    ("orientation", "said"),
    [
        ([*list("01000"), "-1"], "sagittal"), (list("010001"), "sagittal"), ([*list("10000"), "-1"], "coronal"),
        (axes("x", 31), "tilted by 31"), (axes("x", 80), "coronal"), (axes("y", 60), "sagittal"),
        (axes("z", 11), "rotated by 11"), (axes("z", 45), "rotated by 45|oblique"), (axes("x", 45), ""),
    ],
)  # fmt: skip
def test_what_is_not_axial_is_refused(tmp_path, orientation, said):
    with pytest.raises(DataError, match=f"ImageOrientationPatient: .*({said})"):
        load_slice(write_ct(tmp_path / "a.dcm", IMAGE, ImageOrientationPatient=orientation))


def test_a_slice_that_states_no_orientation_says_so(tmp_path):
    found = load_slice(write_ct(tmp_path / "a.dcm", IMAGE, ImageOrientationPatient=None))
    assert "orientation not stated, taken as stored" in found.describe()
    assert found.position_mm is None


def test_one_line_says_what_was_understood(tmp_path):
    pixels, header = stored(False, True, True)
    found = load_slice(write_ct(tmp_path / "a.dcm", pixels, RescaleType="US", SOPInstanceUID="1.9", **header))
    assert found.describe() == (
        "1.9: 6 x 5, pixels of 0.8 x 0.7 mm; z = 5 mm; in HU; HU (RescaleType US, unspecified); turned by 180 degrees"
    )


def test_a_gantry_tilt_that_the_orientation_does_not_show_is_told(tmp_path):
    found = load_slice(write_ct(tmp_path / "a.dcm", IMAGE, GantryDetectorTilt="-15"))
    assert "GantryDetectorTilt of -15 degrees is not in the orientation" in found.describe()
    shown = {"GantryDetectorTilt": "-15", "ImageOrientationPatient": axes("x", -15)}
    assert "GantryDetectorTilt" not in load_slice(write_ct(tmp_path / "b.dcm", IMAGE, **shown)).describe()


@pytest.mark.parametrize("path", [None, 3, b"a.dcm", ["a.dcm"]])
@pytest.mark.parametrize("read", [load_slice, read_ct_slice, read_ct_series])
def test_what_is_no_path(read, path):
    with pytest.raises(ArgumentError, match=r"(path|folder): got .*, needs a path"):
        read(path)
