"""The scatter test on panels: what networks are trained with, what is measured, all image losses as one form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose import counts_jacobian, decompose_mle, fisher_information
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.geometry import ConeBeam
from ctlib.papers.pcct.scatter_net import cross_loss, direct_loss
from ctlib.phantoms.materials import MATERIALS
from ctlib.physics import SpectralModel, mass_attenuation
from ctlib.projector import Projector
from ctlib.recon import fbp

ROWS = ("water-proj", "ca-proj", "spr", "water", "ca", "vmi")
LOSSES = ("printed", "whitened", "with 60 keV")
BEHIND = 1.0  # [g/cm2] of water: rays with less do not count as behind the body
INSIDE = 0.5  # [g/cm3] of water and more is body


def image_mix(kind: str, model: SpectralModel, paths: Tensor) -> Tensor:
    """Rows (K, 2) by which images of water and calcium [g/cm3] are weighted before their mean absolute error.

    printed      e_w, e_c
    whitened     C e,  C^T C = mean Fisher information of the path lengths (P, 2), of trace 2
    with 60 keV  e_w, e_c and mu_60(e) / mu_60(water)
    """
    contract.choice("kind", kind, LOSSES)
    eye = torch.eye(2, dtype=torch.float64)
    if kind == "printed":
        return eye
    if kind == "with 60 keV":
        water, calcium = (float(mass_attenuation(m, 60.0)) for m in MATERIALS)
        return torch.cat([eye, torch.tensor([[1.0, calcium / water]], dtype=torch.float64)])
    mean = fisher_information(model, paths.double()).reshape(-1, 2, 2).mean(0)
    return torch.linalg.cholesky(2 * mean / mean.trace()).mT


def mixed(images: Tensor, rows: Tensor) -> Tensor:
    """Weighted images (N, K, ...) of material images (N, 2, ...)."""
    return torch.einsum("km,nm...->nk...", rows.to(images), images)


@dataclass(frozen=True, eq=False)
class Scanner:
    """Model, box and geometry of a scan; signals (N, E, V, R, U) are relative to the open beam."""

    model: SpectralModel
    box: tuple
    geometry: ConeBeam
    start: Tensor  # of the solver in trainings (2,) [g/cm2]: little calcium

    @property
    def open_beam(self) -> Tensor:
        """Counts (E,) without an object."""
        return self.model(torch.zeros(2))

    def decompose(self, relative: Tensor, start: Tensor | None = None) -> Tensor:
        """Path lengths (..., M) of relative counts (..., E); where a reading does not converge, its last step."""
        solve = partial(decompose_mle, self.model, relative * self.open_beam.to(relative), self.box, start=start)
        try:
            return solve()
        except ConvergenceError:  # rare, and what tells of single readings costs more than the solution
            return solve(return_info=True)[0]

    def paths(self, relative: Tensor) -> Tensor:
        """Path lengths (N, M, V, R, U) [g/cm2] of relative counts (N, E, V, R, U)."""
        return self.decompose(relative.movedim(1, -1)).movedim(-1, 1)

    def images(self, paths: Tensor) -> Tensor:
        """Densities (N, M, Z, Y, X) [g/cm3] of path lengths (N, M, V, R, U)."""
        flat = paths.flatten(0, 1)  # what scatter leaves beside the body is no truncated object
        return 10 * fbp(Projector(self.geometry), flat, truncation="ignore").unflatten(0, paths.shape[:2])

    def loss(self, kind: str, rows: Tensor | None = None, limit: float | None = None, decompose=None) -> Callable:
        """loss(ratio, counts, target): "direct" with the scatter as target, or "cross" with `mixed` images."""
        if contract.choice("kind", kind, ("direct", "cross")) == "direct":
            return direct_loss
        solve = decompose or partial(self.decompose, start=self.start.float())  # without, scatter asks for restarts
        make = lambda p: mixed(self.images(p), rows)  # noqa: E731
        return partial(cross_loss, decompose=solve, reconstruct=make, gradient_limit=limit)


def truth_of(scanner: Scanner, primary: Tensor) -> tuple[Tensor, Tensor]:
    """Path lengths (2, V, R, U) [g/cm2] and images (2, Z, Y, X) [g/cm3] that a scan without scatter gives."""
    paths = scanner.paths(primary[None])
    return paths[0], scanner.images(paths)[0]


def errors(
    scanner: Scanner, primary: Tensor, scatter: Tensor, guess: Tensor, cm: Tensor, truth: tuple | None = None
) -> dict[str, Tensor]:
    """What is wrong in one body's scan (E, V, R, U) when `guess` is taken for its scatter.

    {"rows": (6,) in the order of ROWS [cm, cm, %, mg/mL, mg/mL, HU], "center", "off": errors of the scatter-to-primary
     ratio [%] in the middle third of the columns and outside, "images": (2, Y, X) of the middle slice [g/cm3],
     "vmi": (Y, X) off [HU], "paths": (2, R, U) of the first view, "view": rms error of the water in every view [cm]}
    Rays behind the body and voxels inside it count. The reference is `truth_of` the scan, made here where not given.
    """
    true, reference = truth or truth_of(scanner, primary)
    found = scanner.paths((primary + scatter - guess).clamp_min(1e-9)[None])
    behind = true[0] > BEHIND
    if not bool(behind.any()):
        raise ArgumentError("primary", "rays that pass nothing", "a body in the beam")
    images, found = scanner.images(found)[0], found[0]
    off = (found - true).movedim(0, -1) / cm.to(true)
    inside, wrong = reference[0] > INSIDE, images - reference
    ratio = 100 * (guess - scatter).abs() / primary
    water, calcium = (float(mass_attenuation(m, 60.0)) for m in MATERIALS)
    hu = 1000 * (wrong[0] + wrong[1] * calcium / water)
    rms = lambda x: x.square().mean().sqrt()  # noqa: E731
    rows = [
        *(rms(off[..., k][behind]) for k in (0, 1)), ratio[:, behind].mean(),
        *(1000 * rms(w[inside]) for w in wrong), rms(hu[inside]),
    ]  # fmt: skip
    cols = behind.shape[-1]
    middle = torch.zeros(cols, dtype=torch.bool)
    middle[cols // 3 : cols - cols // 3] = True
    z = images.shape[1] // 2
    return {
        "rows": torch.stack(rows).double(),
        "center": ratio[:, behind & middle].mean(), "off": ratio[:, behind & ~middle].mean(),
        "images": images[:, z].float(), "vmi": hu[z].float(), "paths": found[:, 0].float(),
        "view": (off[..., 0].square() * behind).sum((1, 2)).div(behind.sum((1, 2)).clamp_min(1)).sqrt(),
    }  # fmt: skip


def amplification(scanner: Scanner, primary: Tensor, rows: Tensor) -> Tensor:
    """Singular values (P, 2) of what a relative error of the counts does to the weighted path lengths, per reading.

        C dA* / dlog gamma

    How unequal they are is how slowly a gradient method on the loss learns the weak direction.
    """
    flat = primary.movedim(0, -1).reshape(-1, len(primary)).double() * scanner.open_beam.double()
    at = scanner.decompose(flat / scanner.open_beam.double())
    kept = at[:, 0] > BEHIND
    slope = counts_jacobian(scanner.model, flat[kept], at[kept], scanner.box) * flat[kept][:, None]
    return torch.linalg.svdvals(rows.double() @ slope)[:, :2]


def floor_of(scanner: Scanner, primary: Tensor, scatter: Tensor, cm: Tensor, cells: Sequence[int]) -> Tensor:
    """Errors (6,) that are left by the best scatter of so many cells (rows, cols), spread as the networks' is."""
    coarse = torch.nn.functional.adaptive_avg_pool2d(scatter.movedim(1, 0), tuple(cells))
    fine = torch.nn.functional.interpolate(coarse, scatter.shape[-2:], mode="bilinear", align_corners=False)
    return errors(scanner, primary, scatter, fine.movedim(0, 1), cm)["rows"]
