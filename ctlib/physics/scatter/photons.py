"""Photons in flight as tensors, and the source that sends them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ctlib.physics.scatter.beam import Beam

GOLDEN = 1.2207440846057596  # root of g^4 = g + 1
RATIOS = (1 / GOLDEN, 1 / GOLDEN**2, 1 / GOLDEN**3)  # steps of an even sequence in the unit cube, {cite}`kuipers1974`


@dataclass(frozen=True, eq=False)
class Photons:
    """n photons.

    position, direction  (n, 3) [mm], unit vectors;  energy (n,) [keV]
    order                (n,) number of times each has scattered
    history              (n,) number of the history each belongs to
    """

    position: Tensor
    direction: Tensor
    energy: Tensor
    order: Tensor
    history: Tensor

    def __len__(self) -> int:
        return len(self.energy)

    def take(self, which: Tensor) -> Photons:
        """Those of a mask or of indices."""
        which = torch.nonzero(which).flatten() if which.dtype == torch.bool else which
        return Photons(*(getattr(self, f.name).index_select(0, which) for f in fields(self)))

    def moved(self, distance: Tensor) -> Photons:
        """Farther along their directions by distances (n,) [mm]."""
        return replace(self, position=self.position + distance[:, None] * self.direction)


def join(parts: list[Photons]) -> Photons:
    """All of them."""
    return Photons(*(torch.cat(columns) for columns in zip(*(vars(p).values() for p in parts), strict=True)))


@dataclass(frozen=True, eq=False)
class Histories:
    """How histories are numbered: batch by batch, view by view, `per_slot` photons in each such slot.

    edges_kev, share  the spectrum: bin edges and cumulative share of the photons, (N + 1,) both
    """

    edges_kev: Tensor
    share: Tensor
    num_views: int
    num_batches: int
    per_slot: int

    @classmethod
    def of(cls, spectrum, num_views: int, num_batches: int, photons_per_view: int, like: Tensor) -> Histories:
        """For a spectrum with `edges_kev` and `weights`; photons per view are rounded up to whole batches."""
        edges, share = spectrum.edges_kev, torch.cat([spectrum.weights.new_zeros(1), spectrum.weights.cumsum(0)])
        share = share / share[-1]
        return cls(edges.to(like), share.to(like), num_views, num_batches, -(-photons_per_view // num_batches))

    def __len__(self) -> int:
        return self.num_slots * self.per_slot

    @property
    def num_slots(self) -> int:
        """Batches times views."""
        return self.num_views * self.num_batches

    def slot(self, history: Tensor) -> Tensor:
        """Slot a history belongs to: batch * V + view."""
        return history // self.per_slot

    def view(self, history: Tensor) -> Tensor:
        """View each history is seen in."""
        return self.slot(history) % self.num_views

    def sequence(self, history: Tensor, shift: Tensor) -> Tensor:
        """Numbers (3, n) in [0, 1) that fill each slot evenly: k ratio + shift modulo 1, k counting in the slot.

        shift  (3, slots) random, so that every batch's mean is unbiased and batches are independent; float64
        """
        k = (history % self.per_slot).double()
        return (k * k.new_tensor(RATIOS)[:, None] + shift[:, self.slot(history)]) % 1.0

    def energies(self, level: Tensor) -> Tensor:
        """Energies [keV]: the spectrum's inverse distribution function, uniform within each of its bins."""
        k = torch.searchsorted(self.share, level, right=True).clamp(1, len(self.share) - 1)
        low, high = self.share[k - 1], self.share[k]
        part = ((level - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        return torch.lerp(self.edges_kev[k - 1], self.edges_kev[k], part)


def emit(beam: Beam, histories: Histories, shift: Tensor, first: int, last: int) -> Photons:
    """Photons of histories first to last - 1, from the source to points spread evenly over the detector."""
    history = torch.arange(first, last, device=beam.source.device)
    e, u, w = histories.sequence(history, shift).to(beam.source).contiguous()
    view = histories.view(history)
    source = beam.source[view]
    direction = beam.point(view, u, w) - source
    direction = direction / direction.norm(dim=1, keepdim=True)
    return Photons(source, direction, histories.energies(e), torch.zeros_like(history), history)


def deflected(direction: Tensor, cosine: Tensor, azimuth: Tensor) -> Tensor:
    """Unit vectors (n, 3) turned by angles given by their cosine, around azimuths [rad].

    The frame of {cite}`duff2017`: orthonormal for every direction, without a special case at the poles.
    """
    x, y, z = direction.unbind(1)
    sign = torch.where(z < 0, -1.0, 1.0).to(direction)
    a = -1 / (sign + z)
    b = x * y * a
    first = torch.stack([1 + sign * x * x * a, sign * b, -sign * x], 1)
    second = torch.stack([b, sign + y * y * a, -y], 1)
    sine = (1 - cosine * cosine).clamp_min(0).sqrt()
    turned = (sine * azimuth.cos())[:, None] * first + (sine * azimuth.sin())[:, None] * second
    turned = turned + cosine[:, None] * direction
    return turned / turned.norm(dim=1, keepdim=True)
