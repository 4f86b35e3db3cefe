"""Is simulated noise like a scanner's? Level, texture and dependence on the dose, beside those of measured slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib.papers.hqinet.cases import Case
from ctlib.papers.hqinet.noise_power import flat_tiles, mean_frequency, noise_of, noise_power, tile_pixels


@dataclass(frozen=True, eq=False)
class NoiseOf:
    """Noise of one person's or body's slices.

    full_hu, added_hu    standard deviation at full dose, and of what the low dose adds
    asked_hu             of what it has to add: sqrt(1 / dose - 1) of the noise that the photons were set to
    spectrum, added      radial noise-power spectra (frequencies [1/mm], power) of the full dose as it is, and of what
                         the low dose adds, both as shares of their sum
    """

    patient: str
    real: bool
    dose: float
    full_hu: float
    added_hu: float
    asked_hu: float
    spectrum: tuple[Tensor, Tensor]
    added: tuple[Tensor, Tensor]

    @property
    def frequencies(self) -> tuple[float, float]:
        """Mean frequency [1/mm] of the full dose's noise and of what is added."""
        return mean_frequency(*self.spectrum), mean_frequency(*self.added)


def shape_of(tiles: Tensor, pixel_mm: float) -> tuple[Tensor, Tensor]:
    """A noise-power spectrum as shares of its sum."""
    f, power = noise_power(tiles, pixel_mm)
    return f, power / power.sum()


def noise_study(cases: Sequence[Case]) -> list[NoiseOf]:
    """One entry a person or body whose slices have flat tissue and whose dose is known, all its stretches together."""
    of: dict[tuple[str, float], list[Case]] = {}
    for c in cases:
        if not math.isnan(c.dose):
            of.setdefault((c.patient, c.dose), []).append(c)
    found = []
    for (patient, dose), own in of.items():
        full, low, inside = (torch.cat([getattr(c, name) for c in own]) for name in ("full", "low", "inside"))
        size = tile_pixels(own[0].pixel_mm)
        tiles = flat_tiles(full, size)
        added = flat_tiles(torch.where(inside, 50 + low - full, -1000.0), size)
        if min(len(tiles), len(added)) < 1:
            continue
        known = [c.noise_hu for c in own if not math.isnan(c.noise_hu)] or [noise_of(full, size)]
        asked = sum(known) / len(known) * math.sqrt(1 / dose - 1)
        noise = (noise_of(full, size), float(added.square().mean((1, 2)).median().sqrt()), asked)
        shapes = (shape_of(t, own[0].pixel_mm) for t in (tiles, added))
        found.append(NoiseOf(patient, own[0].truth is None, dose, *noise, *shapes))
    return found


def noise_rows(study: Sequence[NoiseOf]) -> list[list]:
    """Rows of a table: whose, dose, noise at full dose, added, asked for [HU], mean frequencies [1/mm]."""
    rows = []
    for s in study:
        who = f"{'person' if s.real else 'body'} {s.patient}"
        rows.append([who, f"{s.dose:.0%}", s.full_hu, s.added_hu, s.asked_hu, *s.frequencies])
    return rows
