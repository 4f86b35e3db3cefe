"""How the GPU engine keeps images and sinograms: in their own precision, half precision by pairs.

In float16 and bfloat16 a place in memory holds two images of the batch side by side, one word of 32 bits: the kernels
are bound by the number of loads, and one load then serves two images. An odd
batch leaves the place beside its last image unused.
"""

import torch
import triton
from torch import Tensor

from ctlib.backends.gpu.tables import BLOCK
from ctlib.backends.tables.runs import TILE
from ctlib.errors import ArgumentError

SHARED = 4  # images of a program, which share positions and weights
PIXELS = 1024  # images times pixels of a program of 128 threads: what fits into its registers


def real(dtype: torch.dtype) -> torch.dtype:
    """What positions, weights and sums are computed in."""
    return torch.float32 if dtype.itemsize == 2 else dtype


def each(t: Tensor) -> int:
    """Images in a word."""
    return 2 if t.dtype.itemsize == 2 else 1


def half(t: Tensor) -> triton.language.dtype | None:
    """The kernels' name of the type of a pair."""
    return {torch.float16: triton.language.float16, torch.bfloat16: triton.language.bfloat16}.get(t.dtype)


def shared(t: Tensor) -> int:
    """Images of a program that share weights: equal groups of at most 4, of whole words."""
    return each(t) * triton.cdiv(triton.cdiv(len(t), each(t)), triton.cdiv(len(t), SHARED))


def tile(size: int, pixels: int) -> tuple[int, int]:
    """(pixels along a line, lines) of a program that computes about `pixels` of them."""
    along = min(max(triton.next_power_of_2(size), 16), BLOCK)
    return along, min(pixels // along, TILE)


def words(t: Tensor) -> Tensor:
    """int32 (B / 2, ...) from pairs (B / 2, ..., 2) of half precision; (B, ...) from wider numbers (B, ..., 1)."""
    return (t.view(torch.int32) if each(t) == 2 else t)[..., 0]


def room(like: Tensor, *shape: int) -> Tensor:
    """Memory for a batch of as many as `like`, uninitialized: what `words` takes."""
    return like.new_empty(triton.cdiv(len(like), each(like)), *shape, each(like))


def stored(x: Tensor, pad: tuple[int, ...] = ()) -> Tensor:
    """x as the kernels read it: contiguous words, with two zeros at each end of some axes."""
    if not pad and each(x) == 1:
        return x.contiguous()
    inside = [slice(2, -2) if i in pad else slice(None) for i in range(1, x.ndim)]
    copy = room(x, *(n + 4 * (i in pad) for i, n in enumerate(x.shape) if i)).zero_()
    for i in range(each(x)):
        part = x[i :: each(x)]
        copy[(slice(len(part)), *inside, i)] = part
    return words(copy)


def addressable(name: str, entries: int) -> None:
    """Refuse an image, or a sinogram in the order of the runs, whose entries 32 bits cannot number."""
    if entries >= 2**31:
        raise ArgumentError(name, f"{entries:,} entries with padding", "fewer than 2^31: split the scan")
