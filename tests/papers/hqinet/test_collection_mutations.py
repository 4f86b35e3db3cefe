"""Damaged collections: every reader gives images in their range, or one error of its own; nothing else is raised."""

import shutil
import warnings

import numpy as np
import pytest
import torch
from ldct_writer import write_collection
from lesion_writer import write_collection as write_lesions
from projection_writer import write_frames, write_views

from ctlib.data.deeplesion import divide_lesions, find_lesions, load_images
from ctlib.errors import ArgumentError, CtlibError, DataError
from ctlib.papers.hqinet.cohort import exam_cases
from ctlib.papers.hqinet.dicom_projections import read_projections
from ctlib.papers.hqinet.ldct import find_cohort, read_cohort
from ctlib.papers.hqinet.ldct_split import describe_cohort


def read_doses(root):
    cohort = find_cohort(root)
    assert str(root) in describe_cohort(cohort)
    pairs = read_cohort(cohort)
    pairs += tuple(c.gray() for of in exam_cases(cohort, 8, 3)[0].values() for c in of)
    for p in pairs:
        assert p.low.shape == p.full.shape
        for x in (p.low, p.full):
            assert bool(((x >= 0) & (x <= 1)).all())


def read_scan(root):
    p = read_projections(root)
    assert bool(torch.isfinite(p.line_integrals).all())
    assert len(p.angle_rad) == len(p.line_integrals) == len(p.numbers)
    assert "views" in p.describe()


def read_lesions(root):
    lesions = find_lesions(root)
    for found in divide_lesions(lesions)[0].values():
        images, kept = load_images(found, 16, 3)
        assert len(images) == len(kept) <= 3
        assert bool(torch.isfinite(images).all())
        assert float(images.min()) >= 0


COLLECTIONS = {
    "doses": (lambda root: write_collection(root, ("L004", "L006", "C095"), num_slices=3, size=8), read_doses),
    "projections": (lambda root: write_views(root / "a", 6), read_scan),
    "projections, implicit": (lambda root: write_views(root / "a", 6, "implicit"), read_scan),
    "projections by frames": (lambda root: write_frames(root / "a"), read_scan),
    "lesions": (lambda root: write_lesions(root, slices=(1, 2)), read_lesions),
}


def flipped(path, rng):
    raw = bytearray(path.read_bytes())
    for k in rng.integers(0, len(raw), 1 + rng.integers(20)):
        raw[k] = rng.integers(256)
    path.write_bytes(raw)


def cut(path, rng):
    path.write_bytes(path.read_bytes()[: rng.integers(0, path.stat().st_size)])


def stretched(path, rng):
    at = int(rng.integers(0, path.stat().st_size))
    raw = path.read_bytes()
    path.write_bytes(raw[:at] + rng.bytes(int(rng.integers(1, 40))) + raw[at:])


def renamed(path, rng):
    path.rename(path.with_name(("._" if rng.integers(2) else "x") + path.name))


def swapped(path, rng):
    """Another file in its place, as a name taken twice leaves behind."""
    others = sorted(p for p in path.parent.parent.rglob("*") if p.is_file() and p.suffix == path.suffix)
    path.write_bytes(others[rng.integers(len(others))].read_bytes())


def emptied(path, rng):
    for other in path.parent.iterdir():
        if rng.integers(2) and other.is_file():
            other.write_bytes(b"")


def retagged(path, rng):
    """A field without a value, or with one of another kind."""
    import pydicom

    if path.suffix == ".png":
        return flipped(path, rng)
    data = pydicom.dcmread(path, force=True)
    tags = list(data.keys())
    if not tags:
        return None
    element = data[tags[rng.integers(len(tags))]]
    choices = [None, "", "nan", "-1", "1e99", "0", ["1", "2", "3"], "\0x"]
    try:
        element.value = choices[rng.integers(len(choices))]
        data.save_as(path)
    except Exception:
        return cut(path, rng)
    return None


def tabled(path, rng):
    """A table that belongs to something else, or is broken."""
    for name in ("metadata.csv", "DL_info.csv"):
        (path.parents[1] / name).write_bytes(rng.bytes(200) if rng.integers(2) else b"File_name,Series UID\n,,,\n1\n")


DAMAGES = (flipped, cut, stretched, renamed, swapped, emptied, retagged, tabled)
PER_COLLECTION = 40


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_damaged_collection_is_read_or_refused_in_one_way(tmp_path, name, hurry):
    write, read = COLLECTIONS[name]
    write(tmp_path / "whole")
    ends = {"read": 0, "refused": 0}
    for seed in range(PER_COLLECTION):
        root, rng = tmp_path / f"{seed}", np.random.default_rng(seed)
        shutil.copytree(tmp_path / "whole", root)
        for _ in range(rng.integers(1, 4)):
            files = sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".csv" and p.stat().st_size)
            if files:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    DAMAGES[seed % len(DAMAGES)](files[rng.integers(len(files))], rng)
        hurry(30)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(root)
                ends["read"] += 1
            except (ArgumentError, DataError):
                ends["refused"] += 1
            except CtlibError as error:
                pytest.fail(f"{seed}: {error}")
            except Exception as error:
                pytest.fail(f"{seed}, {DAMAGES[seed % len(DAMAGES)].__name__}: {type(error).__name__}: {error}")
        shutil.rmtree(root)
    assert ends["read"] >= 5  # one bad file does not spoil a folder
