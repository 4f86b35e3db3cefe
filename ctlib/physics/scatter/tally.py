"""Counting what reaches the detector: photons that hit it, or what every collision is expected to send there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ctlib.errors import ArgumentError
from ctlib.physics.scatter.angles import kept_fraction
from ctlib.physics.scatter.beam import TABLE_KEV, Beam
from ctlib.physics.scatter.media import Media
from ctlib.physics.scatter.paths import attenuation_along, material_paths
from ctlib.physics.scatter.photons import Histories, Photons, deflected
from ctlib.physics.scatter.tracking import COMPTON, RAYLEIGH

KINDS = ("primary", "single", "multiple")
ABSORBED, ESCAPED, EMITTED = range(3)


@dataclass(frozen=True, eq=False)
class ScatterTally:
    """Counts per photon that the open beam sends to a cell, in batches that are independent of each other.

    batches           (B, 3, E, V, R, U) of primary, single and multiple scatter, float64
    energy_kev        (B, V, 3) absorbed in the object, carried out of it, and emitted, by all histories
    photons_per_view  histories in each view, all batches together
    """

    batches: Tensor
    energy_kev: Tensor
    photons_per_view: int

    @classmethod
    def of(cls, sums: Tensor, ledger: Tensor, histories: Histories, beam: Beam) -> ScatterTally:
        """From the engines' sums (slots, 3, E, cells) and energies (slots, 3), slots being batch * V + view."""
        slots = histories.num_batches, histories.num_views
        sums = sums.reshape(*slots, *sums.shape[1:3], beam.rows, beam.cols).permute(0, 2, 3, 1, 4, 5)
        per_photon = beam.rows * beam.cols / histories.per_slot
        return cls(sums * per_photon, ledger.reshape(*slots, 3), histories.per_slot * histories.num_batches)

    def _of(self, kind: str) -> Tensor:
        if kind == "scatter":
            return self.batches[:, 1:].sum(1)
        if kind not in KINDS:
            raise ArgumentError("kind", repr(kind), f"'scatter' or one of {', '.join(KINDS)}")
        return self.batches[:, KINDS.index(kind)]

    def mean(self, kind: str = "scatter") -> Tensor:
        """Mean signal (E, V, R, U); "scatter" is single and multiple."""
        return self._of(kind).mean(0)

    def error(self, kind: str = "scatter") -> Tensor:
        """Standard error of the mean (E, V, R, U), from the spread of the batches."""
        return self._of(kind).std(0) / math.sqrt(len(self.batches))


class Counter:
    """Sums of counts by slot (batch and view), kind, energy bin and cell; of energies by slot.

    table   (E, K) counts per photon, see `response_table`
    sums    (slots * 3 * E * cells,), ledger (slots * 3,)
    """

    def __init__(self, histories: Histories, table: Tensor, num_cells: int):
        self.histories, self.table, self.num_cells = histories, table, num_cells
        slots = histories.num_slots
        self.sums = torch.zeros(slots * 3 * len(table) * num_cells, dtype=torch.float64, device=table.device)
        self.ledger = torch.zeros(slots * 3, dtype=torch.float64, device=table.device)

    def add(self, history: Tensor, order: Tensor, energy: Tensor, cell: Tensor, weight: Tensor) -> None:
        """Photons (n,) of these energies in these cells, each standing for `weight` photons."""
        node = (energy / TABLE_KEV).long().clamp_max(self.table.shape[1] - 1)
        base = self.histories.slot(history) * 3 + order.clamp_max(2)
        for b, row in enumerate(self.table):
            value = (row[node] * weight).double()
            self.sums.index_add_(0, (base * len(self.table) + b) * self.num_cells + cell, value)

    def add_energy(self, what: int, history: Tensor, energy: Tensor) -> None:
        """Energies [keV] of histories (n,) absorbed (0), carried out (1) or emitted (2)."""
        self.ledger.index_add_(0, self.histories.slot(history) * 3 + what, energy.double())

    def result(self) -> tuple[Tensor, Tensor]:
        """Sums (slots, 3, E, cells) and ledger (slots, 3)."""
        return self.sums.reshape(-1, 3, len(self.table), self.num_cells), self.ledger.reshape(-1, 3)


def count_hits(beam: Beam, counter: Counter, photons: Photons) -> None:
    """Analogue tally: photons that leave the object and meet the detector count once."""
    cell, hit = beam.cell(counter.histories.view(photons.history), photons.position, photons.direction)
    p = photons.take(hit)
    counter.add(p.history, p.order, p.energy, cell[hit], torch.ones_like(p.energy))


def expect_hits(
    beam: Beam, media: Media, counter: Counter, num_points: int, generator: torch.Generator, photons: Photons,
    rates: Tensor,
) -> None:  # fmt: skip
    """Next-event estimation: what every collision is expected to send to the detector, {cite}`kalos1963`.

    Both kinds of scattering are expected of every collision, each with its share of the attenuation, rates (M, 3, n);
    Compton towards num_points points of the detector; Rayleigh, which peaks forward, into as many directions drawn
    from its own distribution.
    """
    events = torch.arange(len(photons), device=rates.device).repeat_interleave(num_points)
    share = rates / rates.sum((0, 1)) / num_points
    strip = torch.arange(num_points, device=rates.device).repeat(len(photons)) / num_points
    photons, share = photons.take(events), share[..., events]
    draw = torch.rand(5, len(photons), generator=generator, device=rates.device, dtype=rates.dtype)
    _expect_compton(beam, media, counter, photons, share[:, COMPTON], strip + draw[0] / num_points, draw[1])
    _expect_rayleigh(beam, media, counter, photons, share[:, RAYLEIGH], *draw[2:])


def _expect_compton(beam: Beam, media: Media, counter: Counter, photons: Photons, share: Tensor, u: Tensor, w: Tensor):
    """Counts A cos(incidence) / r^2 exp(-optical depth) sum over materials of share p(angle), p in 1/sr.

    u, w  (n,) detector points, uniform in a strip of columns and over the height, as fractions of the detector's area A
    """
    view = counter.histories.view(photons.history)
    ray = beam.point(view, u, w) - photons.position
    distance = ray.norm(dim=1)
    ray = ray / distance[:, None]
    cosine = (ray * photons.direction).sum(1).clamp(-1, 1)
    energy = photons.energy * kept_fraction(photons.energy, cosine)
    rows = [torch.full_like(view, 2 * m) for m in range(len(share))]
    odds = sum(p * media.sections.density(row, photons.energy, cosine) for p, row in zip(share, rows, strict=True))
    depth = attenuation_along(media, material_paths(media, photons.position, ray), energy)
    aperture = beam.width * beam.height * (ray * beam.normal[view]).sum(1).clamp_min(0) / distance**2
    cell, hit = beam.cell(view, photons.position, ray)
    counter.add(photons.history, photons.order + 1, energy, cell, hit * aperture * odds * torch.exp(-depth))


def _expect_rayleigh(beam: Beam, media: Media, counter: Counter, photons: Photons, share: Tensor, *draw: Tensor):
    """Counts share exp(-optical depth) where a direction drawn from a material's distribution meets the detector."""
    running = share.cumsum(0)
    material = (draw[0] * running[-1] >= running[:-1]).sum(0)
    cosine = media.sections.sample_cosine(2 * material + 1, photons.energy, draw[1])
    sent = replace(photons, direction=deflected(photons.direction, cosine, 2 * math.pi * draw[2]))
    cell, hit = beam.cell(counter.histories.view(sent.history), sent.position, sent.direction)
    sent, cell, weight = sent.take(hit), cell[hit], running[-1][hit]
    depth = attenuation_along(media, material_paths(media, sent.position, sent.direction), sent.energy)
    counter.add(sent.history, sent.order + 1, sent.energy, cell, weight * torch.exp(-depth))
