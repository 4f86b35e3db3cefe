"""What bounds and what biases the histogram estimate of mutual information."""

import torch
from torch import Tensor

from ctlib import contract
from ctlib.metrics.image import histogram_bin, mutual_information


def entropy(x: Tensor, bins: int = 64, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Entropy [nat] of an image's gray levels, -sum p log p over the bins: (..., Y, X) -> (...).

    The mutual information of the image with itself, and the most it can have with any other.
    """
    return mutual_information(x, x, bins, value_range)


def occupied_bins(x: Tensor, bins: int = 64, value_range: tuple[float, float] = (0.0, 1.0)) -> Tensor:
    """Number of histogram bins that hold a pixel: (..., Y, X) -> (...), integers."""
    x = contract.tensor("x", x, ("Y", "X"), promote=True)
    index = histogram_bin(x, bins, value_range).flatten(-2)
    counts = torch.zeros(*index.shape[:-1], bins, dtype=torch.long, device=x.device)
    return (counts.scatter_add_(-1, index, torch.ones_like(index)) > 0).sum(-1)


def mutual_information_bias(
    x: Tensor, ref: Tensor, bins: int = 64, value_range: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """First-order upward bias [nat] of `mutual_information`, (B_x - 1)(B_ref - 1) / (2 N): (..., Y, X) -> (...).

    B are the occupied bins and N the pixels, {cite}`roulston1999`. Exact to first order for independent images; where
    many pairs of levels never occur together, less.
    """
    x, ref = contract.together(("Y", "X"), promote=True, x=x, ref=ref)
    pixels = x.shape[-2] * x.shape[-1]
    b_x, b_ref = occupied_bins(x, bins, value_range), occupied_bins(ref, bins, value_range)
    return ((b_x - 1) * (b_ref - 1)).to(x.dtype) / (2 * pixels)
