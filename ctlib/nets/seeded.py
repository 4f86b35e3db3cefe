"""Networks of equal size: how many numbers a network has, and the width that gives it as many as another."""

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ctlib.errors import ArgumentError


def num_parameters(net: nn.Module) -> int:
    """Trained numbers of a network."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def matched_width(
    make: Callable[[int], nn.Module], target: int, tolerance: float = 0.1, widths: Iterable[int] = range(2, 257)
) -> int:  # fmt: skip
    """The width whose network make(width) has the number of parameters closest to the target's.

    make       its networks grow with the width; built without memory, so their values do not matter
    tolerance  ArgumentError where the closest is further off than this share of the target
    """
    if target < 1 or not tolerance >= 0:
        raise ArgumentError("target, tolerance", (target, tolerance), "numbers >= 1 and >= 0")
    best, least = 0, float("inf")
    with torch.device("meta"):
        for width in widths:
            off = abs(num_parameters(make(width)) - target)
            if off >= least:
                break
            best, least = width, off
    if least > tolerance * target:
        raise ArgumentError("target", target, f"a size that some width meets to {tolerance:.0%}; {best} is {least} off")
    return best
