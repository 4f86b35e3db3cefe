"""The made specimen of vials and head: where its vials stand, what they hold, and what carries texture."""

import numpy as np
import torch

from ctlib.geometry import Volume
from ctlib.papers.spectral2spectral.vials import BASIS, CENTERS_MM, CONTENT, RADIUS_MM, vial_densities, vials_and_head


def test_every_vial_holds_water_and_its_own_element():
    volume = Volume((128, 128), 31.3 / 128)
    x = vial_densities(volume, seed=3)
    assert x.shape == (len(BASIS), 128, 128)
    for k, (cx, cy) in enumerate(CENTERS_MM):
        r = np.hypot(volume.axis(1)[None, :] - cx, volume.axis(0)[:, None] - cy)
        inside = torch.from_numpy(r < RADIUS_MM - 0.5)
        expected = torch.zeros(5, dtype=x.dtype)
        expected[0], expected[1 + k] = 1.0, CONTENT[k]
        assert torch.allclose(x[:, inside].mean(-1), expected, atol=1e-12)
        assert float(x[:, inside].std(-1).max()) < 1e-12
        area = float((x[1 + k] / CONTENT[k]).sum()) * volume.voxel_mm[0] ** 2
        assert abs(area / (np.pi * RADIUS_MM**2) - 1) < 0.01


def test_texture_stays_in_the_head_and_seeds_differ():
    volume = Volume((96, 96), 31.3 / 96)
    plain, rough, again = (vial_densities(volume, 5, t) for t in (0.0, 0.05, 0.05))
    assert torch.equal(rough, again)
    changed = (plain != rough).any(0)
    assert changed.any()
    assert not changed[plain[1:4].sum(0) > 0].any()
    ratio = (rough[0] / plain[0])[changed]
    assert abs(float(ratio.std()) - 0.05) < 0.015
    assert not torch.equal(plain, vial_densities(volume, 6, 0.0))
    assert len(vials_and_head(5).maps) == len(BASIS)
