"""Patients at two doses, and their division into parts that share nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


@dataclass(frozen=True)
class DosePair:
    """One patient at low and full dose, and the truth where it is known: (Z, Y, X) gray, all in one window."""

    patient: str
    low: Tensor
    full: Tensor
    truth: Tensor | None = None

    def __post_init__(self):
        contract.tensor("full", self.full, ("Z", "Y", "X"))
        if self.full.ndim != 3:
            raise ArgumentError("full", f"shape {tuple(self.full.shape)}", "(Z, Y, X)")
        for name in ("low", "truth"):
            if (other := getattr(self, name)) is not None or name == "low":
                contract.alike(name, contract.tensor(name, other), "full", self.full)
                if other.shape != self.full.shape:
                    raise ArgumentError(name, tuple(other.shape), f"(Z, Y, X) as `full` has, {tuple(self.full.shape)}")


def split_patients(
    ids: Sequence[str], shares: Mapping[str, float], seed: int, stratum=lambda name: name[:1]
) -> dict[str, tuple[str, ...]]:
    """{part: patients}: disjoint, complete, drawn from the sorted ids with a seed, each stratum by itself.

    shares   {part: fraction}, summing to 1; a part's count is rounded down and the first part takes the rest; a part
             that would be empty gets one of the largest's
    stratum  what must be shared out evenly: by default the first letter, the anatomy in LDCT-and-Projection-data
    """
    if len(set(ids)) != len(ids):
        raise ArgumentError("ids", [i for i in set(ids) if list(ids).count(i) > 1], "every patient once")
    seed, shares = contract.count("seed", seed), {p: contract.number("shares", v) for p, v in shares.items()}
    if not shares or abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) < 0:
        raise ArgumentError("shares", dict(shares), "fractions >= 0 that sum to 1")
    rng, (first, *others) = np.random.default_rng(seed), shares
    parts: dict[str, list[str]] = {part: [] for part in shares}
    for kind in sorted({stratum(i) for i in ids}):
        members = [i for i in sorted(ids) if stratum(i) == kind]
        order = [members[k] for k in rng.permutation(len(members))]
        for part in others:
            count = int(shares[part] * len(members) + 1e-9)
            parts[part] += order[:count]
            order = order[count:]
        parts[first] += order
    for part in others:
        largest = max(parts.values(), key=len)
        if shares[part] and not parts[part] and len(largest) > 1:
            parts[part].append(largest.pop(int(rng.integers(len(largest)))))
    return {part: tuple(sorted(names)) for part, names in parts.items()}


def require_disjoint(parts: Mapping[str, Sequence[str]]) -> None:
    """ArgumentError when a patient is in two parts: its slices would be known before the test."""
    owner: dict[str, str] = {}
    for part, names in parts.items():
        for name in set(names):
            if name in owner:
                raise ArgumentError(part, f"{name}, which is in {owner[name]} too", "parts without a shared patient")
            owner[name] = part
