"""Axial slices of an abdomen from ellipses: fat, muscle, organs, vessels, gas and bone, different for every seed."""

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError
from ctlib.geometry import Volume
from ctlib.phantoms.anatomy import Anatomy, abdomen_of
from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.texture import soft_mask, tissue_texture

TEXTURE = 0.012  # relative standard deviation of soft tissue, about 12 HU
LENGTHS = (0.02, 0.008)  # correlation lengths of the texture, shares of the width


def torso(seed: int, size_mm: float = 400.0) -> Ellipsoids:
    """Abdominal slice of ellipses in a field of view of size_mm, attenuation at 60 keV [1/mm]; one body per seed."""
    size_mm = contract.number("size_mm", size_mm, above=0)
    a = Anatomy(np.random.default_rng(contract.seed("seed", seed)), size_mm / 2)
    abdomen_of(a)
    return a.ellipsoids()


def torso_slice(volume: Volume, seed: int, texture: bool = True, dtype: torch.dtype = torch.float32) -> Tensor:
    """Raster of `torso(seed)` that fills the volume's width: (Y, X) [1/mm], with fine texture in soft tissue.

    The texture mixes two correlation lengths, 2 % and 0.8 % of the field of view; air and bone have none.
    """
    dtype = contract.dtype("dtype", dtype)
    x = torso(seed, volume.extent_mm[-1]).raster(volume, dtype=torch.float64)
    return (x * torso_texture(x, seed) if texture else x).to(dtype)


def torso_texture(mu: Tensor, seed: int) -> Tensor:
    """Factor (Y, X) near 1 by which the texture of `torso_slice(seed)` changes the plain slice mu [1/mm]."""
    if contract.tensor("mu", mu, ("Y", "X")).ndim != 2 or not mu.numel():
        raise ArgumentError("mu", f"shape {tuple(mu.shape)}", "one slice (Y, X)")
    generator = torch.Generator().manual_seed(contract.seed("seed", seed))
    grain = tissue_texture(mu.shape, LENGTHS, generator, weight=0.7).to(mu.device)
    return 1 + TEXTURE * soft_tissue(mu) * grain


def soft_tissue(mu: Tensor) -> Tensor:
    """1 in soft tissue of an attenuation mu [1/mm] at 60 keV, 0 in air and bone, between them on their edges."""
    return soft_mask(contract.tensor("mu", mu), 0.017, 0.026, 0.001)
