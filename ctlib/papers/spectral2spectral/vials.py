"""A mouse's head beside three vials of heavy elements: the layout of {cite}`ditrapani2022`, made of ellipses."""

import numpy as np
import torch
from torch import Tensor

from ctlib import contract
from ctlib.geometry import Volume
from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.materials import MaterialPhantom
from ctlib.phantoms.texture import tissue_texture

ELEMENTS = ("iodine", "barium", "gadolinium")
BASIS = ("water", *ELEMENTS, "bone")
CENTERS_MM = ((-9.9, 1.4), (-8.2, -4.8), (-2.6, -7.6))  # of the vials, x to the right and y up from the center
RADIUS_MM = 2.9  # inside of a vial
CONTENT = (0.0357, 0.0296, 0.0399)  # of element [g/cm3], as measured in the published slice


def vials_and_head(seed: int) -> MaterialPhantom:
    """Densities [g/cm3] of `BASIS`; seed draws the head: its outline, six bones and eight soft-tissue blobs.

    The vials hold aqueous solutions and stand where they stand in the published slice; the field of view is 31 mm.
    """
    rng = np.random.default_rng(contract.seed("seed", seed))
    soft = [(1.0, *c, RADIUS_MM, RADIUS_MM, 0.0) for c in CENTERS_MM]
    head = np.array([6.0, 3.5]) + rng.uniform(-0.5, 0.5, 2)
    axes = np.array([5.6, 6.4]) * rng.uniform(0.9, 1.1, 2)
    soft.append((1.0, *head, *axes, rng.uniform(0, 3)))
    bone = []
    for num, rows, values, size in ((8, soft, (-0.25, 0.1), (0.5, 1.6)), (6, bone, (0.6, 1.5), (0.25, 0.9))):
        for _ in range(num):
            r, t = rng.uniform(0, 0.65), rng.uniform(0, 2 * np.pi)
            place = head + r * axes * (np.cos(t), np.sin(t))
            rows.append((rng.uniform(*values), *place, *rng.uniform(*size, 2), rng.uniform(0, np.pi)))
    heavy = [[(c, *at, RADIUS_MM, RADIUS_MM, 0.0)] for c, at in zip(CONTENT, CENTERS_MM, strict=True)]
    tables = [np.array(rows) for rows in (soft, *heavy, bone)]
    return MaterialPhantom(tuple(Ellipsoids(t[:, 0], t[:, 1:3], t[:, 3:5], t[:, 5]) for t in tables))


def vial_densities(volume: Volume, seed: int, texture: float = 0.05) -> Tensor:
    """Raster (5, Y, X) [g/cm3], float64, of `vials_and_head(seed)`; the head has texture, the solutions have none.

    texture  relative standard deviation, correlated over 1.5 % of the width
    """
    seed, texture = contract.seed("seed", seed), contract.number("texture", texture, at_least=0)
    x = vials_and_head(seed).densities(volume)
    grain = tissue_texture(volume.shape, (0.015,), torch.Generator().manual_seed(seed), dtype=x.dtype)
    x[[0, 4]] *= 1 + texture * grain * (x[1:4].sum(0) == 0)
    return x
