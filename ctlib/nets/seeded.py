"""Networks from a seed, how many numbers a network has, and the width that gives it as many as another."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError

T = TypeVar("T")


def seeded(seed: int, make: Callable[..., T], *args, **options) -> T:
    """make(*args, **options) with weights from their own random stream; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(contract.seed("seed", seed))
        return make(*args, **options)


def draw_weights(net: nn.Module, draw: Callable[[Tensor], object]) -> nn.Module:
    """Draw the weights of all 2-D convolutions anew by draw(weight), in place; biases 0. Returns the network."""
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)):
            draw(m.weight)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
    return net


def he_normal(weight: Tensor, slope: float = 0.0, gain: float = 1.0) -> None:
    """Kaiming's normal distribution for what a (Leaky)ReLU of this slope follows, {cite}`he2015`, times `gain`."""
    nn.init.kaiming_normal_(weight, a=slope)
    weight.data.mul_(gain)


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
    target, tolerance = (
        contract.count("target", target, 1),
        contract.number("tolerance", tolerance, at_least=0, finite=False),
    )
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
