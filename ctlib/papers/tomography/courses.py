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
    return drawn_out(steps, [max(far[i:]) for i in range(len(far))])


def drawn_out(steps: Sequence[float], values: Sequence[float], least: int = 6) -> tuple[list[float], list[float]]:
    """A curve of `least` points or more: where there are fewer looks, the first value is held up to the second.

    least  what a claim that asks whether a curve has settled wants to see
    """
    at, v = list(steps), list(map(float, values))
    if len(at) == 1 and at[0] > 0:
        at, v = [0, *at], [*v, *v]
    more = least - len(at)
    if more <= 0 or len(at) < 2:
        return at, v
    held = [at[0] + (at[1] - at[0]) * k / (more + 1) for k in range(1, more + 1)]
    return [at[0], *held, *at[1:]], [v[0], *[v[0]] * more, *v[1:]]
