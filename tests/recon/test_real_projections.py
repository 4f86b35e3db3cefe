"""FBP of two measured scans: a tooth at a synchrotron, and a disc with holes over 60 degrees. Skipped without them."""

import math
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from ctlib.errors import ArgumentError, IncompleteScanWarning, TruncationWarning
from ctlib.geometry import FanBeam, ParallelBeam, Volume
from ctlib.projector import Projector
from ctlib.recon import fbp

FOLDER = Path(os.environ.get("CTLIB_SHARED_DATA", "nowhere")) / "projections"
TOOTH, HELSINKI = FOLDER / "tooth.h5", FOLDER / "htc2022_ta_sparse_example.mat"
AXIS = 296  # column of the rotation axis; the middle of the detector is 319.5
VOLUME = Volume((200, 200), 2.0)  # in columns

needs_tooth = pytest.mark.skipif(not TOOTH.is_file(), reason="needs the scan of a tooth")
needs_helsinki = pytest.mark.skipif(not HELSINKI.is_file(), reason="needs the scan of the Helsinki challenge")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tooth():
    """Line integrals (181, 640) and angles; the file's arrays are contiguous and lie at these places."""

    def read(at, *shape, dtype="<f4"):
        return np.fromfile(TOOTH, dtype, math.prod(shape), offset=at).reshape(shape).astype(np.float64)

    dark, white = (read(at, 10, 2, 640).mean(0) for at in (936472, 987672))
    y = -np.log((read(8304, 181, 2, 640) - dark) / (white - dark))
    return torch.from_numpy(y[:, 0].copy()), np.deg2rad(read(935024, 181, dtype="<f8"))


def image(y, angles, axis=AXIS, **options):
    """The tooth, told of nothing."""
    offset = (y.shape[1] - 1) / 2 - axis
    scan = ParallelBeam(VOLUME, len(angles), y.shape[1], 1.0, angles=angles, detector_offset_mm=offset)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return fbp(Projector(scan), y, "hann", **options)


def apart(x, ref):
    return float((x - ref).norm() / ref.norm())


@needs_tooth
def test_the_tooth_is_sharpest_about_its_axis(tooth):
    """About a wrong axis every edge is doubled, and half of each double is negative."""
    negative = {axis: float(image(*tooth, axis).clamp_max(0).square().mean()) for axis in range(288, 305, 2)}
    assert min(negative, key=negative.get) == AXIS
    x = image(*tooth)
    assert float(x[145:155, 84:94].mean()) > 0.006  # in 1 / column
    assert abs(float(x[:30].mean())) < 2e-4  # air


@needs_tooth
def test_the_tooth_from_fewer_views_and_about_a_displaced_detector_is_the_same(tooth):
    y, angles = tooth
    full = image(y, angles)
    tenth = np.arange(181) % 10 > 0
    assert apart(image(y[tenth], angles[tenth]), full) < 0.15
    turn = torch.cat([y[:, : 2 * AXIS + 1], y[:, : 2 * AXIS + 1].flip(1)])  # the other half turn, by symmetry
    twice = np.concatenate([angles, angles + math.pi])
    assert apart(image(turn, twice), full) < 0.01
    assert apart(image(turn[:, 236:], twice, AXIS - 236), full) < 0.06  # sees 60 columns on one side of the axis
    assert apart(image(turn[:, :356], twice), full) < 0.01


@needs_tooth
def test_a_gap_and_a_narrow_detector_are_told(tooth):
    y, angles = tooth
    full, kept = image(y, angles), np.r_[:60, 65:181]
    scan = ParallelBeam(VOLUME, 176, 640, 1.0, angles=angles[kept], detector_offset_mm=319.5 - AXIS)
    with pytest.warns(IncompleteScanWarning, match="5.97 degrees after the view at 58.67"):
        assert apart(fbp(Projector(scan), y[kept], "hann"), full) < 0.3
    near = slice(AXIS - 70, AXIS + 71)
    scan = ParallelBeam(VOLUME, 181, 141, 1.0, angles=angles)
    with pytest.warns(TruncationWarning, match="first and last"):
        plain = fbp(Projector(scan), y[:, near], "hann")
    continued = fbp(Projector(scan), y[:, near], "hann", truncation="extrapolate")
    inside = slice(70, 130), slice(70, 130)
    assert 3 * apart(continued[inside], full[inside]) < apart(plain[inside], full[inside])


@needs_helsinki
def test_60_degrees_are_told_and_show_the_holes_on_demand():
    from scipy.io import loadmat

    data = loadmat(HELSINKI, simplify_cells=True)["CtDataLimited"]
    given, y = data["parameters"], torch.from_numpy(data["sinogram"])
    scan = FanBeam(
        Volume((256, 256), 0.3), *y.shape, given["pixelSizePost"], given["distanceSourceOrigin"],
        given["distanceSourceDetector"], angles=-np.deg2rad(given["angles"]),
    )  # fmt: skip
    with pytest.raises(ArgumentError, match="angles: got views that miss 66 % of the lines"):
        fbp(Projector(scan), y)
    with pytest.warns(IncompleteScanWarning, match="300 degrees"):
        x = fbp(Projector(scan), y, incomplete="warn")
    holes = [(61, 160), (90, 98), (146, 100), (116, 180)]  # row and column
    walls = [(112, 128), (148, 145), (110, 150), (75, 130)]
    dark, bright = ([float(x[i - 3 : i + 4, j - 3 : j + 4].mean()) for i, j in places] for places in (holes, walls))
    assert np.mean(dark) < 0.75 * np.mean(bright)
