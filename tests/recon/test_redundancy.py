"""Weights of rays that are measured twice: as symmetric as the scan, one together."""

import math

import numpy as np
import pytest
import torch

from ctlib.geometry import FanBeam, Volume
from ctlib.recon.redundancy import scan_weights

SHORT = np.arange(120) * math.radians(2.0)  # half a turn, the fan of 47 degrees and some more


def weights(angles, offset=0.0):
    places = {"source_origin_mm": 100.0, "source_detector_mm": 150.0}
    return scan_weights(
        FanBeam(Volume((8, 8)), len(angles), 65, 2.0, angles=angles, detector_offset_mm=offset, **places)
    )


@pytest.mark.parametrize("angles", [SHORT, np.delete(np.arange(180) * math.radians(2.0), range(80, 90))])
def test_a_scan_and_its_mirror_image_have_mirrored_weights(angles):
    rays = weights(angles).rays
    torch.testing.assert_close(rays, weights(-angles).rays.flip(1), atol=1e-12, rtol=0)
    assert rays.min() < 0.1
    assert rays.max() > 0.9


def test_a_ray_and_its_partner_count_once_together():
    """In the central column the partner of a view lies half a turn on."""
    rays = weights(SHORT).rays[:, 32]
    torch.testing.assert_close(rays[:30] + rays[90:], torch.ones(30).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(rays[30:90], torch.ones(60).double())
