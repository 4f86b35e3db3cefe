"""Chapters whose cells run on the stand-in device in under a minute; `chapters.py` runs the longer ones."""

from collections import Counter

import pytest
import stand_in
from chapters import run_on_device

pytest.importorskip("xraylib")
pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread", "device")]


@pytest.fixture
def operations(monkeypatch):
    """How often each operation was done on the device."""
    counted, call = Counter(), stand_in._call

    def counting(func, *args, **kwargs):
        counted[func._schema.name] += 1
        return call(func, *args, **kwargs)

    monkeypatch.setattr(stand_in, "_call", counting)
    return counted


@pytest.mark.parametrize("slug", ["04-hqinet", "06-generative-tomography", "lab-dip-fit"])
def test_no_cell_mixes_devices(operations, slug):
    run_on_device(slug)
    assert operations["aten::convolution_backward"] > 100  # networks were trained there
