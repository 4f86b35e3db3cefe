"""Which samples a step sees and what it draws: functions of seed and step alone, so that a step can be repeated."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

from ctlib.contract import count


def stream(*keys: int | str) -> int:
    """A seed of 63 bits from any keys, whole numbers and texts: other keys, other streams."""
    keys = tuple(key if isinstance(key, str) else count("keys", key, -math.inf) for key in keys)
    return int.from_bytes(hashlib.sha256(repr(keys).encode()).digest()[:8], "big") >> 1


def batch_indices(num_samples: int, batch: int, step: int, seed: int) -> Tensor:
    """Sample numbers of one step (batch,): random permutations of all samples one after another, cut into batches.

    Every sample occurs once before any occurs again. Nothing is kept between steps.
    """
    num_samples, batch = count("num_samples", num_samples, at_least=1), count("batch", batch, at_least=1)
    step, seed = count("step", step), count("seed", seed, -math.inf)
    first, last = step * batch, (step + 1) * batch - 1
    epochs = range(first // num_samples, last // num_samples + 1)
    orders = torch.cat([_permutation(num_samples, seed, epoch) for epoch in epochs])
    start = first - epochs[0] * num_samples
    return orders[start : start + batch]


def _permutation(num: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(num, generator=torch.Generator().manual_seed(stream("epoch", seed, epoch)))
