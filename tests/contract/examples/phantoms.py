"""Phantoms and their texture."""

import torch

from ctlib.geometry import ParallelBeam, Volume
from ctlib.phantoms.ellipsoids import Ellipsoids
from ctlib.phantoms.materials import ellipse_phantom

PLANE = Volume((4, 5), 60.0)
PARALLEL = ParallelBeam(PLANE, 3, 6, 20.0)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def disc():
    return Ellipsoids([0.02], [[10.0, 5.0]], [[70.0, 40.0]], [0.3])


def mu():
    return 0.01 + 0.02 * torch.rand(6, 7, generator=stream(), dtype=torch.float64)


def columns():
    """Two ellipsoids, as tensors: arrays and lists are as welcome."""
    t = torch.rand(2, 8, generator=stream(), dtype=torch.float64) + 0.1
    return dict(values=t[:, 0], centers_mm=t[:, 1:4], axes_mm=t[:, 4:7], angles_rad=t[:, 7])


EXAMPLES = {
    "ctlib.phantoms.ellipsoids.Ellipsoids": columns,
    "ctlib.phantoms.ellipsoids.Ellipsoids.line_integrals": lambda: dict(
        call=disc().line_integrals, geometry=PARALLEL, rays_per_bin=2
    ),
    "ctlib.phantoms.ellipsoids.Ellipsoids.raster": lambda: dict(call=disc().raster, volume=PLANE, supersample=2),
    "ctlib.phantoms.shepp_logan.shepp_logan": lambda: dict(size_mm=200.0, ndim=3, mu_per_mm=0.02),
    "ctlib.phantoms.materials.ellipse_phantom": lambda: dict(size_mm=200.0, calcium=0.5),
    "ctlib.phantoms.materials.abdomen": lambda: dict(seed=1, size_mm=200.0),
    "ctlib.phantoms.materials.abdomen_densities": lambda: dict(volume=PLANE, seed=1, dtype=torch.float64),
    "ctlib.phantoms.materials.MaterialPhantom.paths": lambda: dict(
        call=ellipse_phantom().paths, geometry=PARALLEL, rays_per_bin=2
    ),
    "ctlib.phantoms.materials.MaterialPhantom.densities": lambda: dict(
        call=ellipse_phantom().densities, volume=PLANE, supersample=2
    ),
    "ctlib.phantoms.texture.band_limited_texture": lambda: dict(
        shape=(6, 7), correlation_px=0.5, generator=stream(), dtype=torch.float64
    ),
    "ctlib.phantoms.texture.tissue_texture": lambda: dict(
        shape=(6, 7), lengths=(0.1, 0.05), generator=stream(), weight=0.7, turn=0.3
    ),
    "ctlib.phantoms.texture.soft_mask": lambda: dict(x=mu(), low=0.015, high=0.025, width=0.002),
    "ctlib.phantoms.torso.torso": lambda: dict(seed=1, size_mm=200.0),
    "ctlib.phantoms.torso.torso_slice": lambda: dict(volume=PLANE, seed=1, dtype=torch.float64),
    "ctlib.phantoms.torso.torso_texture": lambda: dict(mu=mu(), seed=1),
    "ctlib.phantoms.torso.soft_tissue": lambda: dict(mu=mu()),
}
SKIP = {
    "ctlib.phantoms.anatomy.*": "collects the rows of a table; Ellipsoids checks the finished one",
}
STREAM = "the random field of a larger image is another one"
ALLOW = {
    "ctlib.phantoms.torso.torso_texture": {"axis 0 + 1": STREAM, "axis 1 + 1": STREAM},
    "ctlib.phantoms.texture.tissue_texture": {"turn: huge": "an angle modulo 2 pi"},
}
