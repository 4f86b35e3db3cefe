"""Readers on real data: collected only where CTLIB_SHARED_DATA names a folder that holds some.

Orientation is judged by the body: spine and couch lie posterior, the liver on the patient's right.
"""

import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from ctlib.data.dicom import read_ct_series
from ctlib.data.images import load_slice
from ctlib.errors import ArgumentError

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


def _body(hu):
    """The largest connected part above -300 HU, filled; its first row, last row, middle column, width."""
    parts, _ = ndimage.label(ndimage.binary_opening(hu > -300, iterations=3))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    body = ndimage.binary_fill_holes(parts == sizes.argmax())
    ys, xs = np.nonzero(body)
    return body, ys.min(), ys.max(), round(xs.mean()), np.ptp(xs)


def posterior(hu: np.ndarray) -> float:
    """Above 0 where the bone of the middle lies below the body's center and the widest thing outside, the couch."""
    body, top, bottom, column, width = _body(hu)
    bone = (hu > 250) & body
    bone[:, : column - width // 8] = bone[:, column + width // 8 :] = False
    spine = (np.nonzero(bone)[0].mean() - top) / (bottom - top) - 0.5
    wide = ((hu > -900) & ~ndimage.binary_dilation(body, iterations=5)).sum(1)
    middle = (top + bottom) // 2
    return 2 * spine + (float(wide[middle:].max(initial=0)) - float(wide[:middle].max(initial=0))) / width


def liver_side(hu: np.ndarray) -> float:
    """Above 0 where more solid tissue of a contrast-enhanced liver's HU lies on the side of column 0."""
    body, _, _, column, _ = _body(hu)
    inside = ndimage.binary_erosion(body, iterations=6)
    solid = ndimage.binary_opening((ndimage.gaussian_filter(hu, 1.5) > 35) & (hu < 250) & inside, iterations=5)
    left, right = int(solid[:, :column].sum()), int(solid[:, column:].sum())
    return (left - right) / max(1, left + right)


OVARY, PICKED = ROOT / "tcia-ov-abdomen/dicom", ROOT / "real-ct"


@pytest.mark.skipif(not OVARY.is_dir(), reason="this series is not there")
def test_orientation_of_24_dicom_slices():
    volume = read_ct_series(OVARY).volume.numpy()
    assert [posterior(hu) > 0 for hu in volume] == [True] * 24
    assert [liver_side(hu) > 0 for hu in volume] == [True] * 24


@pytest.mark.skipif(not PICKED.is_dir(), reason="this collection is not there")
def test_orientation_of_351_png_slices():
    """Four chests fail the measure and not the eye: their heart is full of contrast and the couch cut off."""
    rows = list(csv.DictReader((PICKED / "slices.csv").read_text().splitlines()))
    slices = {r["file"]: load_slice(PICKED / r["file"], unit="HU+32768") for r in rows}
    assert len(slices) == 351
    assert all(s.unit == "HU" and -1000 <= s.image.min() < -900 for s in slices.values())
    wrong = sorted(name.split("/")[1] for name, s in slices.items() if posterior(s.image.numpy()) <= 0)
    assert wrong == ["900046_01_01", "900048_01_01", "900054_01_01", "900069_01_01"]
    belly = [slices[r["file"]].image.numpy() for r in rows if r["region"] in ("abdomen", "thorax-abdomen")]
    assert sum(liver_side(hu) > 0 for hu in belly) > 0.85 * len(belly)  # not where kidneys and bowel are all there is
    with pytest.raises(ArgumentError, match="unit"):
        load_slice(PICKED / rows[0]["file"])


@pytest.mark.skipif(not (ROOT / "totalseg-ct-nifti").is_dir(), reason="this volume is not there")
def test_orientation_of_a_nifti_volume_by_its_labels():
    """Liver and right kidney lie to the side of column 0, spleen and left kidney opposite, vertebrae behind."""
    folder = ROOT / "totalseg-ct-nifti"
    ct, labels = (
        [load_slice(folder / f"example_{name}.nii.gz", k, "HU") for k in range(30)] for name in ("ct_sm", "seg")
    )
    assert all(c.position_mm == pytest.approx(s.position_mm) for c, s in zip(ct, labels, strict=True))
    assert all(a.position_mm < b.position_mm for a, b in itertools.pairwise(ct))
    place = {}
    for number in (1, 2, 3, 5, *range(26, 36)):  # spleen, kidney right, kidney left, liver, vertebrae
        found = np.argwhere(np.stack([s.image.numpy() for s in labels]) == number)
        if len(found) > 20:
            place[number] = found.mean(0)
    middle = np.argwhere(np.stack([s.image.numpy() for s in ct]) > -300).mean(0)
    assert place[5][2] < middle[2] < place[1][2]
    if 2 in place and 3 in place:
        assert place[2][2] < place[3][2]
    spine = [p for number, p in place.items() if number >= 26]
    assert spine
    assert all(p[1] > middle[1] for p in spine)


@pytest.mark.parametrize("path", VOLUMES, ids=_name)
def test_volumes(path):
    found = load_slice(path, unit="HU")
    assert found.unit == "HU"
    assert min(found.spacing_mm) > 0
    assert float(found.image.min()) >= -1000
