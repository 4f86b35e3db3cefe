"""Chapters whose cells run on the stand-in device in under a minute; `chapters.py` runs the longer ones."""

import math

import pytest
from chapters import run_on_device

pytest.importorskip("xraylib")
pytestmark = pytest.mark.usefixtures("one_thread", "device")


@pytest.mark.parametrize("slug", ["04-hqinet", "06-generative-tomography", "lab-dip-fit"])
def test_no_cell_mixes_devices(slug):
    found = run_on_device(slug)
    assert found.figures or slug.startswith("lab")
    assert all(math.isfinite(v) for claim in found.claims.values() for v in claim["values"])
