"""How well a tissue stands out from what lies around it."""

from torch import Tensor

from ctlib.errors import ArgumentError


def contrast_to_noise(x: Tensor, inside: Tensor, around: Tensor) -> Tensor:
    """Contrast-to-noise ratio [1], |mean inside - mean around| / standard deviation around, over all pixels of each.

    x               (..., Y, X), any unit
    inside, around  bool masks of the same shape, with at least one and two pixels

    The noise is that of the surroundings alone: a tissue that is uneven itself, as bone is, would pass for noisy.
    """
    for name, mask, least in (("inside", inside, 1), ("around", around, 2)):
        if mask.shape != x.shape or int(mask.sum()) < least:
            raise ArgumentError(name, tuple(mask.shape), f"a mask of shape {tuple(x.shape)}, {least} pixel(s) or more")
    return (x[inside].mean() - x[around].mean()).abs() / x[around].std()
