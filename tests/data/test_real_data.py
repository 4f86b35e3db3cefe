"""Readers on real data: collected only where CTLIB_SHARED_DATA names a folder that holds some."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ctlib.data.dicom import read_ct_series
from ctlib.data.images import load_slice

ROOT = Path(os.environ["CTLIB_SHARED_DATA"])
SERIES = sorted({p.parent for p in ROOT.rglob("*.dcm")})
VOLUMES = sorted(ROOT.rglob("*.nii.gz"))
LIVER = {"TCGA-09-2043": (20, slice(230, 260), slice(150, 180), 82.0, 20.3)}  # patient: place, mean and sd [HU]

pytestmark = pytest.mark.usefixtures("silent")


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("folder", SERIES, ids=_name)
def test_series(folder):
    s = read_ct_series(folder)
    assert len(s.volume) == len(list(folder.glob("*.dcm")))
    assert np.allclose(np.diff(s.positions_mm), s.spacing_mm[0], rtol=0.01)
    assert float(s.volume.min()) == -1000
    middle = load_slice(folder)
    assert torch.equal(middle.image, s.volume[len(s.volume) // 2])
    if s.patient_id in LIVER:
        z, y, x, mean, deviation = LIVER[s.patient_id]
        liver = s.volume[z, y, x].double()
        assert (round(float(liver.mean()), 1), round(float(liver.std()), 1)) == (mean, deviation)


@pytest.mark.parametrize("path", VOLUMES, ids=_name)
def test_volumes(path):
    found = load_slice(path)
    assert found.unit == "HU"
    assert min(found.spacing_mm) > 0
    assert float(found.image.min()) >= -1000
