"""Is one method better than another on the same data? Intervals of paired differences."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def paired_interval(
    difference: Tensor, generator: torch.Generator, level: float = 0.95, draws: int = 2000
) -> tuple[float, float]:
    """Bootstrap interval of a mean difference over trainings and patients, both drawn anew, {cite}`efron1993`.

    difference  (seeds, patients): method minus method, same seed, same patient, the mean over the patient's slices
    draws       resamplings: seeds with replacement and, independently, patients with replacement

    The two ends of the middle `level` of the resampled means. With three seeds it says little about other seeds:
    it is meant to stop small differences from being read as effects.
    """
    difference = contract.tensor("difference", difference, ("seeds", "patients"), promote=True)
    level, draws = contract.number("level", level, above=0, below=1), contract.count("draws", draws, 1)
    if difference.ndim != 2 or 0 in difference.shape or not bool(torch.isfinite(difference).all()):
        raise ArgumentError("difference", tuple(difference.shape), "finite numbers (seeds, patients)")
    seeds, patients = difference.shape
    d = difference.double()
    i = torch.randint(seeds, (draws, seeds, 1), generator=generator)
    j = torch.randint(patients, (draws, 1, patients), generator=generator)
    means = d[i, j].mean((1, 2))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(means, ends).tolist()
    return low, high
