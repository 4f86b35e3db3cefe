"""The 351 slices of `real-ct`, in DeepLesion's layout: only where CTLIB_SHARED_DATA names a folder that has them."""

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from ctlib.data.deeplesion import divide_lesions, find_lesions, load_images, prepared, read_slice

ROOT = Path(os.environ.get("CTLIB_SHARED_DATA", "none"), "real-ct")
pytestmark = [pytest.mark.skipif(not ROOT.is_dir(), reason="no real-ct"), pytest.mark.usefixtures("silent")]


def rows(name):
    with (ROOT / name).open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_slices_are_found_and_divided_as_their_table_says():
    lesions = find_lesions(ROOT)
    assert (len(lesions.slices), len({s.patient for s in lesions.slices}), lesions.skipped) == (351, 79, ())
    parts, text = divide_lesions(lesions)
    assert text.startswith("split (official, DL_info.csv): train 54 patients with 227 slices, val 12 patients")
    part_of = {r["patient"]: r["split"] for r in rows("slices.csv")}
    assert {s.patient: part for part, found in parts.items() for s in found} == part_of
    assert {p: len(found) for p, found in parts.items()} == Counter(r["split"] for r in rows("slices.csv"))
    assert len(rows("patients.csv")) == 79


def test_every_slice_is_read_and_none_is_discarded():
    for s in find_lesions(ROOT).slices:
        hu = read_slice(s.path)
        assert hu.shape == (512, 512)
        assert float(hu.min()) == -1000
        image = prepared(hu, 256)
        assert 0.015 < float(image.max()) < 0.1  # bone or metal [1/mm]


def test_a_draw_takes_one_of_each_patient_first():
    slices = find_lesions(ROOT).slices
    assert len({s.patient for s in load_images(slices, 64, 79)[1]}) == 79
