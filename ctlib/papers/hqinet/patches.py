"""Samples to train and validate with: patches of adjacent slices at low dose, the middle one at full dose as target."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ctlib import contract
from ctlib.data.images import turn
from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.cases import WINDOW_HU, Case
from ctlib.train.sampling import stream


class CasePatches:
    """Every inner slice of every case is a sample, of which a patch is cut around a random pixel of the body.

    size        side of a patch
    num_slices  adjacent slices of an input, odd
    turned      mirror and turn the patches, one of the eight ways at random
    margin      slices left out at either end, whatever num_slices is, so that one slice and three see the same targets

    patches(indices, seeds) is the `fetch` of `ctlib.train.fit`: inputs (B, num_slices, size, size), full dose
    (B, 1, size, size), both gray values of the window; len(patches) their number.
    """

    def __init__(
        self, cases: Sequence[Case], size: int, num_slices: int = 3, turned: bool = True, margin: int = 1,
        window_hu: tuple[float, float] = WINDOW_HU, device: str = "cpu",
    ):  # fmt: skip
        self.half, self.turned, self.device = contract.count("num_slices", num_slices, 1) // 2, turned, device
        margin = contract.count("margin", margin)
        if num_slices % 2 == 0 or self.half > margin:
            raise ArgumentError("num_slices, margin", (num_slices, margin), "an odd number of at most 2 margin + 1")
        self.pairs = [c.gray(window_hu) for c in cases]
        self.inside = [c.inside for c in cases]
        self.samples = [(i, k) for i, c in enumerate(cases) for k in range(margin, len(c.full) - margin)]
        if not self.samples:
            raise ArgumentError("cases", f"{len(cases)} of them", f"one of more than {2 * margin} slices")
        self.size = contract.count("size", size, 1, min(min(c.full.shape[1:]) for c in cases))

    def __len__(self) -> int:
        return len(self.samples)

    def __call__(self, indices: Sequence[int], seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        drawn = [self.patch(int(i), seed) for i, seed in zip(indices, seeds, strict=True)]
        return tuple(torch.stack(v).to(self.device) for v in zip(*drawn, strict=True))

    def patch(self, index: int, seed: int) -> tuple[Tensor, Tensor]:
        """One sample: (num_slices, size, size) and (1, size, size)."""
        i, k = self.samples[index]
        pair, generator = self.pairs[i], torch.Generator().manual_seed(seed)
        top, left = self.corner(i, k, generator)
        rows, columns = slice(top, top + self.size), slice(left, left + self.size)
        low = pair.low[k - self.half : k + self.half + 1, rows, columns]
        both = low, pair.full[k : k + 1, rows, columns]
        way = int(torch.randint(8, (), generator=generator)) if self.turned else 0
        return tuple(turn(t, way) for t in both)

    def corner(self, i: int, k: int, generator: torch.Generator) -> tuple[int, int]:
        """Corner of a patch around a random pixel of the body, moved into the image."""
        shape = self.inside[i].shape[1:]
        body = self.inside[i][k].flatten().nonzero()[:, 0]
        if not len(body):
            return tuple(int(torch.randint(n - self.size + 1, (), generator=generator)) for n in shape)
        pixel = int(body[torch.randint(len(body), (), generator=generator)])
        middle = divmod(pixel, shape[1])
        return tuple(min(max(m - self.size // 2, 0), n - self.size) for m, n in zip(middle, shape, strict=True))


def fixed_patches(patches: CasePatches, num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(inputs, targets) of `num` samples spread evenly over all, always the same."""
    num, seed = contract.count("num", num, 1), contract.count("seed", seed)
    chosen = [k * len(patches) // num for k in range(num)]
    return patches(chosen, [stream("fixed", seed, place) for place in range(num)])
