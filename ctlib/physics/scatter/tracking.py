"""Photon transport by Woodcock tracking: flights through a grid of voxels without looking for their walls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctlib.physics.scatter.angles import kept_fraction
from ctlib.physics.scatter.cross_sections import LOWEST_KEV
from ctlib.physics.scatter.media import Media
from ctlib.physics.scatter.photons import Photons, deflected, join

PHOTO, COMPTON, RAYLEIGH = 0, 1, 2


def _ignore(*_) -> None:
    return None


@dataclass(frozen=True)
class Observer:
    """What to do where something happens; each function gets the photons concerned.

    on_collide(photons, rates)  real collisions of any kind, before their outcome; rates (M, 3, n) [1/mm] of the
                                materials' photoelectric, Compton and Rayleigh attenuation there
    on_scatter(before, after)   Compton and Rayleigh events
    on_absorb(photons)          photoelectric events, and Compton scattering to less than 10 keV
    on_escape(photons)          photons that leave the grid, or miss it, where they were last
    """

    on_collide: Callable = _ignore
    on_scatter: Callable = _ignore
    on_absorb: Callable = _ignore
    on_escape: Callable = _ignore


def track(photons: Photons, media: Media, generator: torch.Generator, observer: Observer) -> None:
    """Follow photons from where they are to their ends, {cite}`woodcock1965`.

    Free paths follow the majorant M(E); a tentative collision in a voxel of attenuation mu is real with mu / M.
    """
    photons = _enter(photons, media, observer)
    while len(photons):
        u, level, cosine, azimuth = torch.rand(
            4, len(photons), generator=generator, device=photons.energy.device, dtype=photons.energy.dtype
        )
        majorant = media.sections.interpolate(media.majorant[None], photons.energy)[0]
        moved = photons.moved(-torch.log1p(-u) / majorant)
        voxel, inside = media.voxel(moved.position)
        observer.on_escape(photons.take(~inside))
        photons, voxel, level = moved.take(inside), voxel[inside], (level * majorant)[inside]
        rates = attenuations(photons, media, voxel)
        photons = _after(photons, media, rates, level, cosine[inside], azimuth[inside], observer)


def _enter(photons: Photons, media: Media, observer: Observer) -> Photons:
    """Photons moved to the grid; those that miss it have escaped."""
    near, far = media.crossing(photons.position, photons.direction)
    hit = far > near
    observer.on_escape(photons.take(~hit))
    inwards = near + 1e-5 * (far - near)  # beyond rounding: the wall itself may round to the outside
    return photons.moved(torch.where(near > 0, inwards, near)).take(hit)


def attenuations(photons: Photons, media: Media, voxel: Tensor) -> Tensor:
    """Attenuation (M, 3, n) [1/mm] by material and process in the photons' voxels, at their energies."""
    rates = media.sections.interpolate(media.sections.rates, photons.energy).unflatten(0, (-1, 3))
    return rates * media.densities[:, None, voxel]


def _after(photons, media, rates, level, cosine, azimuth, observer) -> Photons:
    """Photons that go on: the untouched, and the scattered in their new directions.

    level  (n,) uniform in (0, majorant) [1/mm]: the channel is where it falls in the running sum of attenuations
    """
    channel = (level >= rates.flatten(0, 1).cumsum(0)).sum(0)  # 3 material + process, or 3 M for none
    virtual = channel == 3 * media.sections.num_materials
    real = torch.nonzero(~virtual).flatten()
    hit, channel, cosine, azimuth = photons.take(real), channel[real], cosine[real], azimuth[real]
    observer.on_collide(hit, rates[..., real])
    kept = torch.nonzero(channel % 3 != PHOTO).flatten()
    observer.on_absorb(hit.take(channel % 3 == PHOTO))
    row = 2 * (channel[kept] // 3) + channel[kept] % 3 - 1
    after = scatter(hit.take(kept), media, row, cosine[kept], azimuth[kept])
    observer.on_scatter(hit.take(kept), after)
    alive = after.energy >= LOWEST_KEV
    observer.on_absorb(after.take(~alive))
    return join([photons.take(virtual), after.take(alive)])


def scatter(photons: Photons, media: Media, row: Tensor, uniform: Tensor, azimuth: Tensor) -> Photons:
    """Photons after an event of table rows (n,): turned, and after Compton scattering (even rows) with less energy.

    uniform, azimuth  (n,) uniform numbers for angle and azimuth; photons are not polarized
    """
    cosine = media.sections.sample_cosine(row, photons.energy, uniform)
    energy = photons.energy * scattered_share(row, photons.energy, cosine)
    direction = deflected(photons.direction, cosine, 2 * math.pi * azimuth)
    return replace(photons, direction=direction, energy=energy, order=photons.order + 1)


def scattered_share(row: Tensor, energy: Tensor, cosine: Tensor) -> Tensor:
    """Share of the energy that the photon keeps: all in coherent scattering, odd rows."""
    return torch.where(row % 2 == 0, kept_fraction(energy, cosine), torch.ones_like(energy))
