"""Curves of trainings: when to look at one, and how far a number still is from where it ends."""

from __future__ import annotations

from collections.abc import Sequence

from ctlib import contract


def look_every(steps: int) -> int:
    """Steps between two looks at a training: 6 to 24 looks, more at longer ones."""
    steps = contract.count("steps", steps, 1)
    return max(1, steps // min(24, max(6, steps // 12)))


def unrest(steps: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """(steps, d): from each step on, how far the values are at most from the last one. It falls to 0 at the end.

        d_i = max over j >= i of |v_j - v_last|

    Its gain in the last third is the largest distance to the end there, so that a number which still moves, up, down
    or both, has not settled.
    """
    values = list(map(float, values))
    far = [abs(v - values[-1]) for v in values]
    return list(steps), [max(far[i:]) for i in range(len(far))]
