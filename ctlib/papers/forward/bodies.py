"""What the chapter scans: real and synthetic bodies, each with its truth on the grid and finer line integrals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

from ctlib import contract
from ctlib.data.anatomy import RealSlice
from ctlib.data.deeplesion import body_crop, inscribed_circle
from ctlib.errors import ArgumentError
from ctlib.geometry import FanBeam, Volume
from ctlib.phantoms import Ellipsoids, shepp_logan, torso
from ctlib.projector import Projector
from ctlib.units import hu_from_mu, mu_from_hu

DISTANCES = {"source_origin_mm": 570.0, "source_detector_mm": 1040.0}
AROUND_MM = 15.0  # a pixel lies in the body where most of the square of this side around it is no air
SOFT_HU = (-50.0, 150.0)


@dataclass(frozen=True, eq=False)
class Body:
    """An object to scan.

    truth   (Y, X) float64 attenuation on the grid of the reconstructions [1/mm]
    region  (Y, X) bool: inside the body, without couch and the air around
    exact   geometry -> line integrals, from something finer than the grid
    """

    name: str
    volume: Volume
    truth: Tensor
    region: Tensor
    exact: Callable[[object], Tensor]


def real_body(s: RealSlice, size: int) -> Body:
    """A measured slice, cropped to the circle around it, averaged to (size, size); scanned at its own resolution."""
    size, crop = contract.count("size", size, 8), body_crop(s.image.double())
    if crop is None:
        raise ArgumentError("s", s.file, "a slice with a body in it")
    side = crop.shape[-1]
    mu = mu_from_hu(crop).clamp_min(0) * inscribed_circle(side)
    fine = Volume((side, side), s.spacing_mm)
    volume = Volume((size, size), side * s.spacing_mm / size)
    truth = adaptive_avg_pool2d(mu[None, None], size)[0, 0]

    def exact(geometry):
        return Projector(replace(geometry, volume=fine), rays_per_bin=max(1, -(-side // size)))(mu)

    return Body(s.file, volume, truth, body_region(truth, volume), exact)


def synthetic_body(seed: int, size: int, field_mm: float = 400.0) -> Body:
    """An abdomen of ellipses: its line integrals are exact, averaged over each detector cell."""
    size, field_mm = contract.count("size", size, 8), contract.number("field_mm", field_mm, above=0)
    phantom, volume = torso(seed, field_mm), Volume((size, size), field_mm / size)
    truth = phantom.raster(volume, dtype=torch.float64)
    region = body_region(truth, volume)
    return Body(f"torso {seed}", volume, truth, region, lambda geometry: phantom.line_integrals(geometry, 4))


def head_body(size: int, field_mm: float = 256.0) -> Body:
    """The Shepp-Logan head, of which everything inside the skull counts."""
    size, phantom = contract.count("size", size, 8), shepp_logan(field_mm)
    volume = Volume((size, size), field_mm / size)
    truth = phantom.raster(volume, supersample=8, dtype=torch.float64)
    skull = Ellipsoids([1.0], phantom.centers_mm[:1], phantom.axes_mm[:1], phantom.angles_rad[:1])
    region = skull.raster(volume, dtype=torch.float64) > 0.5
    return Body("Shepp-Logan", volume, truth, region, lambda geometry: phantom.line_integrals(geometry, 4))


def body_region(mu: Tensor, volume: Volume) -> Tensor:
    """Where most of the 15 mm around a pixel lies above -500 HU: the body without couch, clothes and large lungs."""
    width = 2 * round(AROUND_MM / volume.voxel_mm[-1] / 2) + 1
    dense = (hu_from_mu(contract.tensor("mu", mu, ("Y", "X"))) > -500).double()
    around = avg_pool2d(pad(dense[None, None], (width // 2,) * 4), width, 1)[0, 0]
    return (around > 0.5) & (dense > 0)


def clinical_fan(volume: Volume, num_views: int) -> FanBeam:
    """A fan beam whose cells are one pixel wide at the axis and cover the field of view."""
    pitch_mm = volume.voxel_mm[1] * DISTANCES["source_detector_mm"] / DISTANCES["source_origin_mm"]
    return FanBeam(volume, num_views, int(1.1 * volume.shape[1]), pitch_mm, **DISTANCES)


def disc(radius_mm: float, center_mm: tuple[float, float] = (0.0, 0.0), value: float = 1.0) -> Ellipsoids:
    """A uniform disc, the object whose chords everybody knows."""
    radius_mm = contract.number("radius_mm", radius_mm, above=0)
    return Ellipsoids([value], [center_mm], [[radius_mm, radius_mm]], [0.0])


def noise_hu(image: Tensor) -> float:
    """Noise of a slice in HU (Y, X): median of the deviation in 7 x 7 pixels where 9 x 9 are soft tissue.

    Texture of the tissue counts too, so that it is an upper bound.
    """
    image = contract.tensor("image", image, ("Y", "X")).double()
    if image.ndim != 2 or min(image.shape) < 9:
        raise ArgumentError("image", f"shape {tuple(image.shape)}", "one slice of at least 9 x 9 pixels")
    mean, square = (avg_pool2d(a[None, None], 7, 1)[0, 0] for a in (image, image**2))
    inside = ((image > SOFT_HU[0]) & (image < SOFT_HU[1])).double()
    soft = avg_pool2d(inside[None, None], 9, 1, 4)[0, 0] > 0.99
    found = (square - mean**2).clamp_min(0).sqrt()[soft[3:-3, 3:-3]]
    if not found.numel():
        raise ArgumentError("image", "no 9 x 9 pixels of soft tissue", "a slice in HU that has some")
    return float(found.median())
