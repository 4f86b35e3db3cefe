"""Slices that ship with the library, and a folder of the same layout, through one call."""

import csv
import hashlib
import os
import re
import shutil
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import torch
from torch.nn.functional import avg_pool2d

import ctlib
from ctlib.data.anatomy import REGIONS, SAMPLE, adjacent_triplets, real_slices
from ctlib.data.deeplesion import divide_lesions, find_lesions, read_slice
from ctlib.errors import ArgumentError, DataError

FULL = Path(os.environ.get("CTLIB_SHARED_DATA", "none"), "real-ct")
LIMIT = 4 * 2**20  # bytes of all that ships


def table(root, name):
    with (root / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def sample():
    return real_slices()


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(SAMPLE, tmp_path / "copy"))


def test_every_file_is_the_one_that_was_chosen():
    listed = dict(reversed(line.split("  ")) for line in (SAMPLE / "SHA256SUMS").read_text().splitlines())
    images = {p.relative_to(SAMPLE).as_posix() for p in SAMPLE.rglob("*.png")}
    assert set(listed) == images | {"tooth.npz"}
    assert {name: hashlib.sha256((SAMPLE / name).read_bytes()).hexdigest() for name in listed} == listed
    assert sum(p.stat().st_size for p in SAMPLE.rglob("*") if p.is_file()) < LIMIT


def test_rows_and_images_are_the_same(sample):
    rows = {row["file"]: row for row in table(SAMPLE, "slices.csv")}
    assert [s.file for s in sample] == sorted(rows)
    assert {s.file for s in sample} == {p.relative_to(SAMPLE).as_posix() for p in SAMPLE.rglob("*.png")}
    for s in sample:
        row = rows[s.file]
        assert (s.patient, s.split, s.region, s.kernel) == tuple(
            row[n] for n in ("patient", "split", "region", "kernel")
        )
        assert (s.spacing_mm, s.thickness_mm) == (float(row["spacing_mm"]), float(row["thickness_mm"]))
        assert s.step_mm == (float(row["step_mm"]) if row["run"] else None)


def test_images_are_bodies_in_hu(sample):
    for s in sample:
        assert s.image.shape == (512, 512)
        assert s.image.dtype == torch.float32
        assert float(s.image.min()) == -1000
        assert 300 < float(s.image.max()) <= 3071  # bone
        assert float(s.image[:4].mean()) < -950  # air above the body
        tissue = s.image[(s.image > -200) & (s.image < 200)]
        assert tissue.numel() * s.spacing_mm**2 > 2e4  # mm^2 of soft tissue and fat
        assert -60 < float(tissue.median()) < 90
        assert not s.cut_by_field


def test_no_person_is_in_two_splits(sample):
    assert Counter(s.split for s in sample) == {"train": 6, "val": 4, "test": 4}
    splits = defaultdict(set)
    for s in sample:
        splits[s.patient].add(s.split)
    assert len(splits) == 8
    assert all(len(found) == 1 for found in splits.values())
    parts, said = divide_lesions(find_lesions(SAMPLE))  # the same in DeepLesion's layout
    assert said.startswith("split (official")
    assert {p: len(found) for p, found in parts.items()} == {"train": 6, "val": 4, "test": 4}


def test_every_image_has_its_attribution(sample):
    text = (SAMPLE / "ATTRIBUTION.md").read_text(encoding="utf-8")
    credited = [line for line in text.splitlines() if line.startswith("| 900")]
    for s in sample:
        (line,) = (line for line in credited if s.patient in line)
        assert f"| {s.collection} | {s.license} |" in line
        assert s.doi.lower() in line
        assert all(part in s.attribution for part in (s.collection, s.doi, s.license, "Cancer Imaging Archive"))
        assert (SAMPLE / f"LICENSE.TCIA-{s.license.replace(' ', '-')}").is_file()
    assert len(re.findall(r"\b9000\d\d\b", "".join(credited))) == len({s.patient for s in sample})


def test_all_of_it_is_packaged(sample):
    project = tomllib.loads((Path(ctlib.__file__).parents[1] / "pyproject.toml").read_text())
    root = Path(ctlib.__file__).parent
    packed = {p for pattern in project["tool"]["setuptools"]["package-data"]["ctlib"] for p in root.glob(pattern)}
    assert {p for p in SAMPLE.rglob("*") if p.is_file()} <= packed
    for s in sample:
        assert s.license.replace(" ", "-") in project["project"]["license"]


def test_triplets_are_adjacent(sample):
    triplets = adjacent_triplets(sample)
    assert Counter(b.split for _, b, _ in triplets) == {"train": 1, "val": 1, "test": 1}
    place = {row["file"]: float(row["slice_mm"] or "nan") for row in table(SAMPLE, "slices.csv")}
    for a, b, c in triplets:
        for low, high in ((a, b), (b, c)):
            assert abs(abs(place[high.file] - place[low.file]) - b.step_mm) < 0.02
            assert 0.5 < float(torch.corrcoef(torch.stack([low.image.flatten(), high.image.flatten()]))[0, 1]) < 1
    assert adjacent_triplets(s for s in sample if not s.file.endswith("006.png")) == triplets[1:]


def test_a_split_or_a_region_alone(sample):
    assert [s.file for s in real_slices(split="val")] == [s.file for s in sample if s.split == "val"]
    assert {s.region for s in real_slices(region="pelvis")} == {"pelvis"}
    for wrong in ({"split": "all"}, {"region": "head"}, {"region": 3}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            real_slices(**wrong)
    with pytest.raises(ArgumentError, match="split, region"):
        real_slices(split="test", region="pelvis")


def test_a_folder_is_read_by_the_same_call(copy, sample):
    assert [s.file for s in real_slices(copy)] == [s.file for s in sample]
    assert all(torch.equal(a.image, b.image) for a, b in zip(real_slices(str(copy)), sample, strict=True))


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("slices.csv", ",train,", ",learn,", "split"),
        ("slices.csv", "chest,val,,", "chest,val,1,", "step_mm"),  # a run without a distance
        ("slices.csv", "0.648438", "none", "spacing_mm"),
        ("slices.csv", "0.648438", "-1", "spacing_mm"),
        ("slices.csv", "0.648438", "", "spacing_mm"),
        ("slices.csv", ",kernel,", ",seed,", "kernel"),
        ("slices.csv", "900046_02_01/001.png,900046", "900046_02_01/001.png,900047", "split: train|split: .*900047"),
        ("slices.csv", "900046_02_01/001", "900046_02_01/007", "does not exist"),
        ("patients.csv", "900046", "900044", "900046"),
        ("patients.csv", ",doi,", ",url,", "doi"),
    ],
)
def test_a_broken_folder_is_told(copy, file, old, new, named):
    path = copy / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=named):
        real_slices(copy)


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match=r"slices\.csv"):
        real_slices(tmp_path / "none")
    with pytest.raises(ArgumentError, match="folder"):
        real_slices(3)


def noise_hu(image):
    """Median of the standard deviation in 7 x 7 pixels, where 9 x 9 are soft tissue."""
    mean, square = (avg_pool2d(a[None, None].double(), 7, 1)[0, 0] for a in (image, image.double() ** 2))
    soft = avg_pool2d(((image > -50) & (image < 150)).double()[None, None], 9, 1, 4)[0, 0] > 0.99
    return float((square - mean**2).clamp_min(0).sqrt()[soft[3:-3, 3:-3]].median())


def is_soft(kernel):
    tube = re.fullmatch(r"B(\d\d)\D?", kernel)
    return kernel in ("STANDARD", "SOFT", "B", "FC17") or (tube and 20 <= int(tube[1]) <= 41)


@pytest.mark.skipif(not FULL.is_dir(), reason="no real-ct")
def test_the_sample_is_what_its_rules_choose(sample):
    """Of the 351 slices: thick, soft, whole, and at every place the person with the least noise."""
    rows = [r for r in table(FULL, "slices.csv") if r["cut_by_field"] == "0" and float(r["thickness_mm"] or 0) >= 2.5]
    rows = [r | {"noise": noise_hu(read_slice(FULL / r["file"]))} for r in rows if is_soft(r["kernel"])]
    taken, chosen = set(), []

    def place(split, region, adjacent):
        blocks = defaultdict(list)
        for r in rows:
            if (
                (r["split"], r["region"]) == (split, region)
                and r["patient"] not in taken
                and (r["run"] or not adjacent)
            ):
                blocks[(r["patient"], r["run"]) if adjacent else r["file"]].append(r)
        best = min(blocks.values(), key=lambda b: sorted(r["noise"] for r in b)[len(b) // 2])
        best = sorted(best, key=lambda r: r["file"])[1:4] if adjacent else best
        taken.add(best[0]["patient"])
        chosen.extend(r["file"] for r in best)

    for split in ("train", "val", "test"):
        place(split, "abdomen", True)
    for split in ("train", "train", "val", "test"):
        place(split, "chest", False)
    place("train", "pelvis", False)
    assert sorted(chosen) == [s.file for s in sample]


@pytest.mark.skipif(not FULL.is_dir(), reason="no real-ct")
def test_the_whole_folder():
    pelvis = real_slices(FULL, split="train", region="pelvis")
    assert len(pelvis) == 19
    assert len({s.patient for s in pelvis}) == 5
    assert {row["region"] for row in table(FULL, "slices.csv")} <= set(REGIONS)
