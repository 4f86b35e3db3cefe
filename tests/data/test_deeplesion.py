"""DeepLesion's layout, its preprocessing with the corrected threshold, and splits by patient."""

import math
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lesion_writer import LAYOUTS, PATIENTS, body, rearranged, write_collection, write_png16
from PIL import Image

from ctlib.data.deeplesion import (
    LesionSlice,
    body_crop,
    divide_lesions,
    find_lesions,
    find_slices,
    inscribed_circle,
    load_images,
    official_split,
    prepared,
    read_slice,
    split_slices,
)
from ctlib.data.enclosing_circle import enclosing_circle, mask_circle
from ctlib.errors import ArgumentError, DataError
from ctlib.units import MU_WATER

silent = pytest.mark.usefixtures("silent")


def hu(**options):
    return torch.from_numpy(body(**options)).float().clamp_min(-1000)


@given(st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=1, max_size=14))
@settings(max_examples=60, deadline=None)
def test_the_circle_contains_all_points_and_none_is_smaller(points):
    y, x, radius = enclosing_circle(torch.tensor(points))
    assert all(math.dist(p, (y, x)) <= radius + 1e-6 for p in points)
    best = min((r for r in circles(points) if r is not None), default=0.0)  # of all pairs and triples, brute force
    assert radius == pytest.approx(best, abs=1e-6)


def circles(points):
    """Radii of the circles through two or three points that contain all."""
    n = len(points)
    p = [complex(*q) for q in points]
    yield 0.0 if len(set(points)) == 1 else None
    for i in range(n):
        for j in range(i):
            yield radius_if_all(p, (p[i] + p[j]) / 2, abs(p[i] - p[j]) / 2)
            for k in range(j):
                w = (p[k] - p[i]) / (p[j] - p[i]) if p[j] != p[i] else 0
                if abs(complex(w).imag) > 1e-12:
                    c = (p[j] - p[i]) * (w - abs(w) ** 2) / (2j * w.imag) + p[i]
                    yield radius_if_all(p, c, abs(c - p[i]))


def radius_if_all(points, center, radius):
    return radius if max(abs(q - center) for q in points) <= radius + 1e-9 else None


def test_the_circle_of_a_grid_is_that_of_its_corners():
    grid = torch.tensor([(float(y), float(x)) for y in range(4) for x in range(6)])
    assert enclosing_circle(grid) == pytest.approx((1.5, 2.5, math.hypot(3, 5) / 2))


@pytest.mark.parametrize(
    ("points", "circle"),
    [
        ([(2, 3)], (2, 3, 0)),
        ([(2, 3), (2, 3), (2, 3)], (2, 3, 0)),
        ([(0, 0), (6, 8)], (3, 4, 5)),
        ([(3, 4), (0, 0), (1.5, 2), (6, 8)], (3, 4, 5)),
    ],
)
def test_the_circle_of_points_on_a_line_has_its_ends_as_diameter(points, circle):
    assert enclosing_circle(torch.tensor(points)) == pytest.approx(circle)


def test_the_circle_around_a_mask_contains_whole_pixels():
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[2:5, 3:7] = True
    assert mask_circle(mask) == pytest.approx((3.0, 4.5, math.hypot(3, 4) / 2))
    mask[3, 4] = False  # a hole changes nothing
    assert mask_circle(mask)[2] == pytest.approx(2.5)
    with pytest.raises(ArgumentError):
        mask_circle(mask & False)


def test_files_come_back_as_hounsfield_units(tmp_path):
    write_png16(tmp_path / "a.png", body(inside=57))
    image = read_slice(tmp_path / "a.png")
    assert image.dtype == torch.float32
    assert sorted(image.unique().tolist()) == [-1000.0, 57.0]  # the padding of -2048 is air
    assert torch.equal(image, hu(inside=57))


def test_minus_950_finds_the_body_where_minus_9050_crops_nothing():
    image = hu(size=48, radius=10.0, center=(20.0, 26.0))
    crop = body_crop(image)
    assert 20 <= crop.shape[0] == crop.shape[1] <= 24
    assert int((crop > -950).sum()) == int((image > -950).sum())
    as_printed = body_crop(image, threshold_hu=-9050.0)
    assert as_printed.shape[0] == round(48 * math.sqrt(2))  # the circle around the whole square, air added
    assert body_crop(torch.full((8, 8), -1000.0)) is None


def test_a_body_at_the_border_gets_air_around_it():
    image = torch.full((20, 20), -1000.0)
    image[:3, 4:16] = 0.0
    crop = body_crop(image)
    assert crop.shape[0] == math.ceil(math.hypot(3, 12))
    assert int((crop == 0).sum()) == 36
    assert float(crop[0].max()) == -1000


def test_prepared_images_are_attenuation_inside_the_circle():
    scan = hu(size=40, radius=15.0, inside=100)
    image, crop = prepared(scan, 24), body_crop(scan)
    assert image.shape == (24, 24)
    assert float(image[12, 12]) == pytest.approx(1.1 * MU_WATER, rel=1e-5)
    assert not image[~inscribed_circle(24)].any()
    assert float(image.min()) >= 0
    mass = float(image.sum()) / (1.1 * MU_WATER)  # area and attenuation survive the change of scale
    assert mass == pytest.approx(int((crop > -950).sum()) * (24 / len(crop)) ** 2, rel=0.01)
    assert prepared(hu(radius=10.0), 24) is None  # smaller than the image: discarded
    assert prepared(torch.full((30, 30), -1000.0), 8) is None


def test_the_inscribed_circle_touches_the_sides():
    inside = inscribed_circle(256)
    assert float(inside.float().mean()) == pytest.approx(math.pi / 4, rel=2e-3)
    assert bool(inside[0, 127])
    assert not bool(inside[0, 0])


@pytest.mark.parametrize("threshold", [-950.0, -960.0, -940.0])
def test_the_body_is_what_lies_above_minus_950(threshold):
    """Skin and clothes half filled with air, -700 and -940 HU, are body; air with noise, -960 HU, is none."""
    y, x = np.mgrid[:80, :80] - 39.5
    far, image = np.hypot(y, x), np.full((80, 80), -1000.0)
    for radius, value in ((36, -960), (30, -940), (24, -700), (20, 40)):
        image[far <= radius] = value
    crop = body_crop(torch.from_numpy(image).float(), *[threshold] * (threshold != -950))
    assert abs(len(crop) - {-950.0: 62, -960.0: 62, -940.0: 50}[threshold]) <= 1  # not above its own value
    assert float(crop[len(crop) // 2, 2]) == {-940.0: -700.0}.get(threshold, -940.0)


def test_slices_are_cropped_before_they_are_scaled_and_scaled_before_they_are_cut_to_the_circle():
    """Partial volume of the scaling stays: the body's edge pixel is a mean of body and air, in HU."""
    scan = torch.full((96, 96), -1000.0)
    scan[16:80, 16:80] = 0.0  # a square of 64; the circle around it has 64 sqrt(2) = 90.5 pixels: 91
    crop, image = body_crop(scan), prepared(scan, 32)
    assert len(crop) == 91
    want = torch.nn.functional.interpolate(crop[None, None], (32, 32), mode="area")[0, 0]
    inside = inscribed_circle(32)
    assert float((image / MU_WATER - (1 + want / 1000).clamp_min(0))[inside].abs().mean()) < 0.03
    assert not image[~inside].any()
    mass = float(image.sum()) / MU_WATER * (91 / 32) ** 2
    assert mass == pytest.approx(64**2, rel=0.01)  # no tissue is lost or won
    assert prepared(scan, 91) is not None
    assert prepared(scan, 92) is None  # the crop decides, not the image


def test_fine_texture_is_averaged_not_aliased():
    """A checkerboard of +-300 HU at twice the size of the image comes out gray."""
    y, x = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    disk = (y - 63.5).square() + (x - 63.5).square() <= 60**2
    scan = torch.where(disk, 300.0 * (1 - 2.0 * ((y + x) % 2)), -1000.0)
    image = prepared(scan, 40)
    assert float((image[15:25, 15:25] / MU_WATER - 1).abs().max()) < 0.05


def test_attenuation_is_never_negative_and_air_is_none():
    scan = hu(size=40, radius=15.0, inside=-900)
    image = prepared(scan, 20)
    assert float(image[10, 10]) == pytest.approx(0.1 * MU_WATER, rel=1e-4)
    assert float(image.min()) == 0
    scan[18:22, 18:22] = -2048.0  # padding that nobody raised
    assert float(prepared(scan, 20).min()) == 0


@silent
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_collection_is_found_in_every_layout_with_patients_and_order(tmp_path, layout):
    write_collection(tmp_path / "a")
    root = rearranged(tmp_path / "a", tmp_path / "b", layout)
    slices = find_slices(root)
    assert [(s.patient, s.study, s.series, s.number) for s in slices] == [
        (p, "01", "02", n) for p in sorted(PATIENTS) for n in (35, 37)
    ]
    found = find_lesions(root)
    assert found.describe() == f"{root}: 5 patients, 5 series, 10 slices; 0 copies, 0 files skipped"
    assert found.table == root / "DL_info.csv"
    assert find_lesions(slices[0].path.parent.parent).table is not None  # beside the folder
    images, kept = load_images(slices, 16)
    assert images.shape == (10, 16, 16)
    assert kept == slices
    want = [MU_WATER * (1 + v / 1000) for v in (35, 37, 45)]
    assert images[:3, 8, 8].tolist() == pytest.approx(want, rel=1e-5)
    with pytest.raises(ArgumentError):
        load_images(slices, 64)


@silent
def test_copies_are_counted_once_and_links_followed_once(tmp_path):
    write_collection(tmp_path / "a")
    (tmp_path / "a" / "Key_slices").mkdir()
    image = (tmp_path / "a" / "Images_png" / "000001_01_02" / "035.png").read_bytes()
    (tmp_path / "a" / "Key_slices" / "000001_01_02_035.png").write_bytes(image)
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    found = find_lesions(tmp_path / "a")
    assert (len(found.slices), found.copies) == (10, 1)


@silent
def test_a_draw_is_balanced_by_patient_and_the_seed_is_the_draw(tmp_path):
    write_collection(tmp_path, slices=range(1, 21))
    slices = find_slices(tmp_path)
    assert len(slices) == 100
    for seed in (0, 1):
        kept = load_images(slices, 16, 20, seed)[1]
        assert set(Counter(s.patient for s in kept).values()) == {4}
        assert kept == load_images(reversed(slices), 16, 20, seed)[1] == tuple(sorted(kept))
    assert load_images(slices, 16, 20, 0)[1] != load_images(slices, 16, 20, 1)[1]
    assert {len({s.patient for s in load_images(slices, 16, 3, k)[1]}) for k in range(3)} == {3}
    few = [s for s in slices if s.patient != "000001" or s.number < 3]  # two slices of one: others take its place
    assert sorted(Counter(s.patient for s in load_images(few, 16, 20)[1]).values()) == [2, 4, 4, 5, 5]


def test_bad_files_are_skipped_and_told(tmp_path):
    write_collection(tmp_path)
    folder = tmp_path / "Images_png" / "000001_01_02"
    (folder / "._035.png").write_bytes(b"\0\5\x16\7")
    whole = (folder / "037.png").read_bytes()
    (folder / "037.png").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match=r"10 slices; 0 copies, 1 files skipped \(first: .*\._035.png: file name"):
        slices = find_slices(tmp_path)
    with pytest.warns(UserWarning, match=r"1 slices skipped, first: .*037.png: PNG"):
        kept = load_images(slices, 16)[1]
    assert len(kept) == 9
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "037.png")
    with pytest.raises(ArgumentError, match=r"none of use; 1 slices skipped, first: .*bits: are 8"):
        load_images([s for s in slices if s.path == folder / "037.png"], 16)


def test_another_offset_is_noticed(tmp_path):
    Image.fromarray((body() + 2048).astype(np.uint16)).save(tmp_path / "a.png")  # HU + 2048, as scanners store
    with pytest.raises(DataError, match=r"all -1000 HU or less: needs stored values of HU \+ 32768"):
        read_slice(tmp_path / "a.png")


@silent
def test_the_official_split_is_by_patient(tmp_path):
    write_collection(tmp_path)
    parts = split_slices(find_slices(tmp_path), tmp_path / "DL_info.csv")
    got = {part: sorted({s.patient for s in names}) for part, names in parts.items()}
    assert got == {"train": ["000001", "000002", "004000"], "val": ["000007"], "test": ["000012"]}
    assert sum(map(len, parts.values())) == 10


def test_a_drawn_split_keeps_patients_whole(tmp_path):
    write_collection(tmp_path, {f"{k:06d}": "1" for k in range(1, 21)}, slices=(3, 4, 5))
    slices = find_slices(tmp_path)
    parts = split_slices(slices, shares={"train": 0.5, "val": 0.25, "test": 0.25}, seed=1)
    owners = {part: {s.patient for s in names} for part, names in parts.items()}
    assert [len(owners[p]) for p in ("train", "val", "test")] == [10, 5, 5]
    assert not owners["train"] & owners["test"]
    assert sorted(s for names in parts.values() for s in names) == list(slices)
    shares = {"train": 0.7, "val": 0.15, "test": 0.15}
    with pytest.warns(UserWarning, match="no DL_info.csv: 20 patients are divided at random, seed 1"):
        assert (
            split_slices(slices, seed=1)
            == split_slices(slices, None, shares, 1)
            != split_slices(slices, None, shares, 2)
        )
    listed = [s for s in slices if s.patient != "000003"]
    info = tmp_path / "DL_info.csv"
    info.write_text("".join(t for t in info.read_text().splitlines(True) if not t.startswith("000003")))
    with pytest.warns(UserWarning, match="1 patients are not in it and in no part"):
        assert sorted(s for found in split_slices(slices, info).values() for s in found) == listed
    with pytest.raises(ArgumentError):
        split_slices(slices, tmp_path / "DL_info.csv", {"train": 1.0})


@silent
def test_how_slices_are_divided_is_said_and_no_part_is_empty(tmp_path):
    write_collection(tmp_path)
    parts, text = divide_lesions(find_lesions(tmp_path))
    assert parts == split_slices(find_slices(tmp_path), tmp_path / "DL_info.csv")
    assert text == (
        "split (official, DL_info.csv): train 3 patients with 6 slices, val 1 patients with 2 slices, "
        "test 1 patients with 2 slices"
    )
    (tmp_path / "DL_info.csv").write_text((tmp_path / "DL_info.csv").read_text().replace('5",2', '5",1'))
    parts, text = divide_lesions(find_lesions(tmp_path), 3)
    assert "drawn by patient, seed 3: DL_info.csv leaves a part empty" in text
    assert min(map(len, parts.values())) >= 2
    (tmp_path / "DL_info.csv").unlink()
    assert divide_lesions(find_lesions(tmp_path), 3)[1] == text.replace(
        "DL_info.csv leaves a part empty", "no DL_info.csv"
    )
    with pytest.raises(ArgumentError, match="at least 3"):
        divide_lesions(find_lesions(tmp_path / "Images_png" / "000001_01_02"))


def test_the_whole_collection_is_divided_in_seconds():
    path = Path("x.png")
    slices = [LesionSlice(f"{p:06d}", "01", "01", n, path) for p in range(4427) for n in range(210)]
    start = time.perf_counter()
    parts = split_slices(slices, None, {"train": 0.7, "val": 0.15, "test": 0.15})
    assert sum(map(len, parts.values())) == len(slices) == 929_670
    assert time.perf_counter() - start < 30  # measured: about 1 s; 64 s before


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda t: t.replace("Train_Val_Test", "Part"), "Train_Val_Test"),
        (lambda t: t.replace("File_name", "Name"), "File_name"),
        (lambda t: t.replace('5",3', '5",4'), "Train_Val_Test"),
        (lambda t: t + '000001_02_01_009.png,0,9,"0.8, 0.8, 5",3\n', "Train_Val_Test"),
        (lambda t: t.splitlines()[0] + "\n", "rows"),
    ],
)
def test_a_broken_table_is_named(tmp_path, edit, field):
    write_collection(tmp_path)
    info = tmp_path / "DL_info.csv"
    info.write_text(edit(info.read_text()))
    with pytest.raises(DataError) as caught:
        official_split(info)
    assert caught.value.field == field
    assert "DL_info.csv" in str(caught.value)


def test_what_is_not_there_or_not_16_bit_is_named(tmp_path):
    for call in (lambda: find_slices(tmp_path / "none"), lambda: find_slices(tmp_path)):
        with pytest.raises(DataError):
            call()
    with pytest.raises(DataError):
        official_split(tmp_path / "DL_info.csv")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(DataError) as caught:
        read_slice(tmp_path / "b.png")
    assert caught.value.field == "bits"
    (tmp_path / "000001_01_01").mkdir()
    (tmp_path / "b.png").rename(tmp_path / "000001_01_01" / "key.png")
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"folders.*unzip"):
        find_slices(tmp_path)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_no_body_pixel_is_cut_off(seed):
    rng = np.random.default_rng(seed)
    image = torch.full((24, 30), -1000.0)
    for y, x in zip(rng.integers(0, 24, 4), rng.integers(0, 30, 4), strict=True):
        image[y, x] = 10.0
    assert int((body_crop(image) > -950).sum()) == int((image > -950).sum())
