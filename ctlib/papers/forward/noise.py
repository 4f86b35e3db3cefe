"""The noise of measured line integrals, simulated and by the expansions of the chapter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from ctlib.physics.counts import line_integral_variance, line_integrals_from_counts, transmission_counts

OPEN_BEAM, ELECTRONIC, STEP = 2e4, 10.0, 16.0  # photons
DETECTORS: Mapping[str, tuple[dict, float]] = MappingProxyType(  # options, deviation besides that of the count
    {
        "photon counting": ({}, 0.0),
        "with electronic noise": ({"electronic_std": ELECTRONIC}, ELECTRONIC),
        "and a converter": (
            {"electronic_std": ELECTRONIC, "gain": 1 / STEP, "bits": 11},
            math.sqrt(ELECTRONIC**2 + STEP**2 / 12),
        ),
    }
)


def log_variances(levels: Tensor, seeds: Sequence[int], draws: int = 50_000) -> dict[str, tuple[Tensor, Tensor]]:
    """{detector: (measured (S, L), by {eq}`fm-logvar` (L,))} variances at line integrals (L,), one row a seed."""
    found, many = {}, levels[:, None].expand(-1, draws)
    for name, (options, std) in DETECTORS.items():
        measured = []
        for seed in seeds:
            readings = transmission_counts(many, OPEN_BEAM, torch.Generator().manual_seed(seed), **options)
            measured.append(line_integrals_from_counts(readings, OPEN_BEAM).var(-1))
        found[name] = (torch.stack(measured), line_integral_variance(levels, OPEN_BEAM, std))
    return found


def log_bias(seed: int, arriving: float = 25.0, draws: int = 400_000) -> float:
    """Measured bias of the logarithm over half the relative variance, where so many photons arrive [1]."""
    level = torch.tensor(math.log(OPEN_BEAM / arriving), dtype=torch.float64)
    counts = transmission_counts(level.expand(draws), OPEN_BEAM, torch.Generator().manual_seed(seed))
    return float(line_integrals_from_counts(counts, OPEN_BEAM).mean() - level) * 2 * arriving
