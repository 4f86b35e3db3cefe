"""Calibration without a reference: thresholds from bins that agree and rings that vanish, in an object nobody knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose import decompose_mle, fisher_information
from ctlib.errors import ArgumentError
from ctlib.papers.pcct.calibration import corrected
from ctlib.physics.model import SpectralModel

FEWEST = 5.0  # counts of a bin below which its part of the misfit is weighted as if it had these


def neighbor_paths(paths: Tensor, column: int, bad: Sequence[int], reach: int = 2) -> Tensor:
    """What the pixels beside one (V, U, M) say its path lengths are (V, M): a line through `reach` good ones a side."""
    contract.tensor("paths", paths, (None, None, None))
    good = [u for u in range(paths.shape[1]) if u not in set(bad) | {column}]
    near = sorted(good, key=lambda u: (abs(u - column), u))[: 2 * reach]
    if len(near) < 2:
        raise ArgumentError("bad", list(bad), "two good pixels at least")
    x = torch.tensor([u - column for u in near], dtype=paths.dtype)
    design = torch.stack([torch.ones_like(x), x], 1)
    return torch.einsum("n,vnm->vm", torch.linalg.pinv(design)[0].to(paths), paths[:, near])


def neighbor_covariance(paths: Tensor, bad: Sequence[int], reach: int = 2) -> Tensor:
    """Second moments (M, M) of path lengths less those that neighbors say, over all good pixels behind the object."""
    off = []
    for u in range(reach, paths.shape[1] - reach):
        if all(abs(u - b) > reach for b in bad):
            off.append(paths[:, u] - neighbor_paths(paths, u, bad, reach))
    d = torch.cat(off)
    d = d[(d.abs() > 1e-9).any(1)]
    return d.T @ d / len(d)


def threshold_information(model: SpectralModel, paths: Tensor, covariance: Tensor | None = None) -> Tensor:
    """Fisher information (E, E) [1/keV2] of a pixel's thresholds in readings whose path lengths (P, M) are not known.

        I = sum over readings of  F_DD - F_DA (F_AA + C^-1)^-1 F_AD

    covariance  C (M, M): how well the path lengths are known beside the counts, as by a pixel's neighbors; None: not at
                all. C = 0 is a reference. The top threshold is left out.
    Directions of eigenvalue 0 cannot be identified; the others have a standard deviation of at least I^-1/2.
    """
    edges = model.thresholds_kev.detach().double()
    paths = contract.tensor("paths", paths, (model.num_materials,)).detach().double()
    expected, by_paths, _ = model.derivatives(paths)

    def slope(step: Tensor) -> Tensor:
        return torch.func.jvp(lambda e: model(paths, thresholds_kev=e), (edges,), (step,))[1]

    by_edges = torch.stack([slope(e) for e in torch.eye(len(edges)).double()[:-1]], -1)  # (P, E, E)
    weight = 1 / expected[..., None]
    dd, da = by_edges.mT @ (weight * by_edges), by_edges.mT @ (weight * by_paths)
    aa = fisher_information(model, paths)
    if covariance is not None:
        contract.tensor("covariance", covariance, (model.num_materials, model.num_materials))
        aa = aa + torch.linalg.inv(covariance.double())
    return (dd - da @ torch.linalg.solve(aa, da.mT)).sum(0)


@dataclass(frozen=True)
class Unknown:
    """A scan of an unknown object: counts (V, U, E) of pixels that have the model's thresholds, but for some.

    believed  thresholds (E + 1,) [keV] that those in doubt are held to have
    ring      how much the agreement with neighbors counts; 0: bins alone
    readings  noisy readings of which the counts are the mean: the more, the more the bins count
    """

    model: SpectralModel
    counts: Tensor
    believed: Tensor
    box: tuple
    ring: float = 1.0
    readings: float = 1.0

    def paths(self) -> Tensor:
        """Path lengths (V, U, M) with the model's thresholds."""
        return decompose_mle(self.model, self.counts, self.box)

    def residual(self, bad: Sequence[int]) -> Callable[[Tensor], Tensor]:
        """What is wrong (V, C, E + M) as a function of the shift (C, E) of the thresholds of the C pixels in doubt.

            (gamma - lambda(A*)) / Var(gamma)^(1/2)  of every bin, and  W^(1/2) (A* - what neighbors say)

        Bins that agree with no path lengths, and rings. W is the inverse of `neighbor_covariance`.
        """
        paths, counts = self.paths().detach(), self.counts[:, list(bad)]
        beside = torch.stack([neighbor_paths(paths, u, bad) for u in bad], 1)  # (V, C, M)
        root = torch.linalg.cholesky(torch.linalg.inv(neighbor_covariance(paths, bad)))
        scale = (counts.clamp_min(FEWEST) / self.readings).sqrt()

        def misfit(shift: Tensor) -> Tensor:
            edges = corrected(self.believed, shift)
            found = decompose_mle(self.model, counts, self.box, thresholds_kev=edges)
            bins = (counts - self.model(found, thresholds_kev=edges)) / scale
            return torch.cat([bins, self.ring * (found - beside) @ root], -1)

        return misfit


def suspects(model: SpectralModel, paths: Tensor, num: int) -> list[int]:
    """The pixels whose path lengths (V, U, M) are off from their neighbors' in the same direction in most views."""
    contract.tensor("paths", paths, (None, None, model.num_materials))
    found: list[int] = []
    for _ in range(contract.count("num", num, 1)):
        score = torch.zeros(paths.shape[1])
        for u in range(2, paths.shape[1] - 2):
            if u in found:
                continue
            d = paths[:, u] - neighbor_paths(paths, u, found)
            spread = d.std(0).clamp_min(1e-9)
            score[u] = float((d.median(0).values / spread).abs().max()) * float(d.abs().sum() > 0)
        found.append(int(score.argmax()))
    return sorted(found)
