"""Axial slices of an abdomen from ellipses: fat, muscle, organs, vessels, gas and bone, different for every seed."""

import numpy as np
import torch
from torch import Tensor

from ctlib.geometry import Volume
from ctlib.phantoms.anatomy import Anatomy, abdomen_of
from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.texture import band_limited_texture

TEXTURE = 0.012  # relative standard deviation of soft tissue, about 12 HU


def torso(seed: int, size_mm: float = 400.0) -> Ellipsoids:
    """Abdominal slice of ellipses in a field of view of size_mm, attenuation at 60 keV [1/mm]; one body per seed."""
    a = Anatomy(np.random.default_rng(seed), size_mm / 2)
    abdomen_of(a)
    return a.ellipsoids()


def torso_slice(volume: Volume, seed: int, texture: bool = True, dtype: torch.dtype = torch.float32) -> Tensor:
    """Raster of `torso(seed)` that fills the volume's width: (Y, X) [1/mm], with fine texture in soft tissue.

    The texture mixes two correlation lengths, 2 % and 0.8 % of the field of view; air and bone have none.
    """
    x = torso(seed, volume.extent_mm[-1]).raster(volume, dtype=torch.float64)
    if texture:
        generator = torch.Generator().manual_seed(seed)
        n = volume.shape[-1]
        coarse, fine = (band_limited_texture(volume.shape, n * r, generator, torch.float64) for r in (0.02, 0.008))
        soft = ((x - 0.017) / 0.001).clamp(0, 1) * ((0.026 - x) / 0.001).clamp(0, 1)
        x = x * (1 + TEXTURE * soft * (0.7 * coarse + 0.7 * fine))
    return x.to(dtype)
