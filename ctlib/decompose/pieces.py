"""Pixels in pieces of a size that fits the caches; those with the same spectra lie side by side."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ctlib.decompose.newton import Problem

PIXELS, PIXELS_CUDA = 2048, 1 << 18  # pixels at a time
SPECTRA, SPECTRA_CUDA = 128, 1 << 13  # different spectra at a time: each brings a table of some 20 kB


class Pieces:
    """The pixels of a problem as rows (T, R): T different spectra, R pixels that share each."""

    def __init__(self, problem: Problem):
        lead, shared = tuple(problem.counts.shape[:-1]), tuple(problem.spectra.shape[:-2])
        own = (1,) * (len(lead) - len(shared)) + shared
        self.problem, self.lead = problem, lead
        self.order = [i for i, n in enumerate(own) if n != 1] + [i for i, n in enumerate(own) if n == 1]
        self.size = math.prod(own), math.prod(n for n, o in zip(lead, own, strict=True) if o == 1)
        cuda = problem.counts.device.type == "cuda"
        self.most = (SPECTRA_CUDA, PIXELS_CUDA) if cuda else (SPECTRA, PIXELS)

    def rows(self, t: Tensor) -> Tensor:
        """(T, R, ...) of a tensor that has the problem's leading axes."""
        moved = t.permute((*self.order, *range(len(self.order), t.ndim)))
        return moved.reshape((*self.size, *t.shape[len(self.lead) :]))

    def whole(self, rows: Tensor) -> Tensor:
        """The reverse: the problem's leading axes again."""
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        moved = rows.reshape((*(self.lead[i] for i in self.order), *rows.shape[2:]))
        return moved.permute((*back, *range(len(back), moved.ndim)))

    def __iter__(self) -> Iterator[tuple[tuple[slice, slice], Problem]]:
        """Places in the rows, and the part of the problem that lies there."""
        p, (num, many) = self.problem, self.size
        counts, photons = self.rows(p.counts), self.rows(torch.as_tensor(p.photons).to(p.counts).expand(self.lead))
        spectra = p.spectra if p.spectra.ndim == 2 else p.spectra.reshape(num, 1, *p.spectra.shape[-2:])
        width = min(max(many, 1), self.most[1])
        height = max(1, min(self.most[0], self.most[1] // width))
        for t in range(0, num, height):
            for r in range(0, many, width):
                at = slice(t, t + height), slice(r, r + width)
                part = spectra if p.spectra.ndim == 2 else spectra[at[0]]
                yield at, replace(p, counts=counts[at], spectra=part, photons=photons[at])
