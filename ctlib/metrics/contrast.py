"""How well two tissues stand apart from each other."""

from torch import Tensor

from ctlib.errors import ArgumentError


def contrast_to_noise(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Contrast-to-noise ratio [1] of two tissues, |m1 - m2| / sqrt((v1 + v2) / 2), over all pixels of each.

    x              (..., Y, X), any unit
    first, second  bool masks of the same shape, with at least two pixels each; m are means, v variances
    """
    for name, mask in (("first", first), ("second", second)):
        if mask.shape != x.shape or int(mask.sum()) < 2:
            raise ArgumentError(name, tuple(mask.shape), f"a mask of shape {tuple(x.shape)} with two pixels or more")
    a, b = x[first], x[second]
    return (a.mean() - b.mean()).abs() / ((a.var() + b.var()) / 2).sqrt()
