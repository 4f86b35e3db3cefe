"""How well a tissue stands out from what lies around it."""

from torch import Tensor

from ctlib import contract
from ctlib.errors import ArgumentError


def contrast_to_noise(x: Tensor, inside: Tensor, around: Tensor) -> Tensor:
    """Contrast-to-noise ratio [1], |mean inside - mean around| / standard deviation around, over all pixels of each.

    x               (..., Y, X), any unit; integers and half precision are promoted
    inside, around  bool masks of the same shape, with at least one and two pixels

    The noise is that of the surroundings alone: a tissue that is uneven itself, as bone is, would pass for noisy.
    """
    x = contract.tensor("x", x, promote=True)
    for name, mask, least in (("inside", inside, 1), ("around", around, 2)):
        contract.mask(name, mask, x.shape)
        if mask.shape != x.shape or mask.device != x.device or int(mask.sum()) < least:
            given = f"{int(mask.sum())} pixels of {tuple(mask.shape)} on {mask.device}"
            raise ArgumentError(name, given, f"{least} or more, of x's shape {tuple(x.shape)} and on its device")
    return (x[inside].mean() - x[around].mean()).abs() / x[around].std()
