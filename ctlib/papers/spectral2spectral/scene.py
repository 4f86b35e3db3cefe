"""A scene: what priors and the loop are given, with the scan behind it and the truth to measure against."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ctlib.decompose import decompose_images
from ctlib.papers.spectral2spectral.binned import bin_line_integrals
from ctlib.papers.spectral2spectral.matrix_fit import fit_matrix
from ctlib.papers.spectral2spectral.noise2noise import half_views
from ctlib.papers.spectral2spectral.noise_level import noise_level
from ctlib.papers.spectral2spectral.scan import SpectralScan, simulate
from ctlib.papers.spectral2spectral.scores import body_mask, flat_mask, image_scores
from ctlib.papers.spectral2spectral.start import first_images
from ctlib.projector import Projector
from ctlib.recon.sirt import sirt

CALIBRATION = 200  # SIRT iterations of the noiseless images that the matrix is fitted to


@dataclass(frozen=True)
class Acquisition:
    """A simulated scan and its first reconstruction."""

    n: int  # image size [pixels]
    views: int  # views over 360 degrees
    n_slices: int  # slices of a specimen
    counts: float  # photons of an open-beam reading, all bins together
    sirt_start: int = 0  # SIRT iterations of the first image; 0: solved, see `first_images`
    bin_mode: str = "poisson"  # see `bin_counts`
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Scene:
    """What priors and the loop are given: slices Z, bins E, images in 1/mm.

    A, y    X-ray transform of a slice; log data (Z, E, V, U)
    x0      first images (Z, E, Y, X)
    full    image of all bins together (Z, 1, Y, X)
    seed    of network weights and samplers
    matrix  effective mass attenuation (E, M) [cm2/g] of the materials, on the CPU
    truth   (Z, E, Y, X), where it is known
    body    bool (Z, 1, Y, X): where errors count; None: everywhere
    """

    A: Projector
    y: Tensor
    x0: Tensor
    full: Tensor
    seed: int
    matrix: Tensor | None = None
    truth: Tensor | None = None
    body: Tensor | None = None

    def error(self, x: Tensor, which: slice | list[int] = slice(None)) -> Tensor:
        """Relative error of each bin inside the body, (E,), of some slices (all by default)."""
        truth = self.truth[which]
        off = x - truth
        if self.body is not None:
            off, truth = off * self.body[which], truth * self.body[which]
        return (off.square().sum((0, 2, 3)) / truth.square().sum((0, 2, 3))).sqrt().cpu()

    def noise(self, x: Tensor) -> Tensor:
        """Standard deviation of the noise in every bin, mean over slices, (E,) [1/mm]."""
        return noise_level(x).mean(0).flatten().cpu()

    def maps(self, x: Tensor) -> Tensor:
        """Densities (Z, M, Y, X) [g/cm3] of the materials, pixel by pixel."""
        return decompose_images(x, self.matrix)


@dataclass(frozen=True, eq=False)
class ScannedScene(Scene):
    """A scene with the counts behind it.

    sirt_start  SIRT iterations of the first images; 0: solved
    kind        of specimen, "rods" or "mouse"; "" where it is another
    taught      keeps the Noise2Noise priors that were trained on it
    """

    scan: SpectralScan | None = None
    sirt_start: int = 0
    kind: str = ""
    taught: dict = field(default_factory=dict, repr=False)

    @property
    def window(self) -> Tensor:
        """Three times the attenuation of water in each bin, (E, 1, 1) [1/mm]: the top of the gray scale."""
        return 3 * self.matrix[:, 1].to(self.x0)[:, None, None] / 10

    @cached_property
    def flat(self) -> Tensor:
        """Pixels of the body far from every edge, bool (Z, 1, Y, X)."""
        return flat_mask(self.truth, self.body)

    def scores(self, x: Tensor, ref: Tensor | None = None) -> dict[str, list[float]]:
        """`image_scores` of images inside the body, against the truth or other images."""
        return image_scores(x, self.truth if ref is None else ref, self.body, self.window, self.flat)

    def half(self, half_counts: Tensor) -> Tensor:
        """First images of half the photons."""
        return first_images(self.A, bin_line_integrals(half_counts, self.scan.open_beam / 2), self.sirt_start)

    def by_views(self) -> list[Tensor]:
        """First images of the even and of the odd views."""
        halves = half_views(self.scan.geometry)
        return [first_images(Projector(g), self.y[..., k::2, :], self.sirt_start) for k, g in enumerate(halves)]

    def noiseless(self) -> Tensor:
        """First images of the same scan without noise: the floor of what a method starts from."""
        return first_images(self.A, self.scan.line_integrals(self.scan.expected), self.sirt_start)


def scanned(scan: SpectralScan, sirt_start: int = 0, seed: int = 0, matrix: Tensor | None = None) -> ScannedScene:
    """A scan with its first images; the true images are those of its densities by the matrix."""
    y = scan.line_integrals()
    x0, full = (first_images(scan.A, each, sirt_start) for each in (y, scan.full_spectrum()))
    known = matrix is not None and scan.truth is not None
    truth = torch.einsum("em,zmyx->zeyx", matrix.to(y), scan.truth) / 10 if known else None
    body = body_mask(scan.truth) if scan.truth is not None else None
    return ScannedScene(scan.A, y, x0, full, seed, matrix, truth, body, scan, sirt_start)


def simulated(
    kind: str, seed: int, acquisition: Acquisition, drift: float = 0.0, matrix: Tensor | None = None
) -> ScannedScene:
    """A simulated scan of the "rods" or the "mouse"; without a matrix, calibrated on its own noiseless images.

    seed   of specimen, noise, network weights and samplers
    drift  slice-to-slice change of the specimen
    """
    a = acquisition
    scan = simulate(kind, a.n, a.views, a.n_slices, a.counts, seed, drift, a.bin_mode).to(a.device)
    return replace(scanned(scan, a.sirt_start, seed, calibrated(scan) if matrix is None else matrix), kind=kind)


def calibrated(scan: SpectralScan) -> Tensor:
    """The matrix (E, M) [cm2/g] of a scan's own noiseless images and densities."""
    clean = sirt(scan.A, scan.line_integrals(scan.expected), CALIBRATION)
    return fit_matrix(clean, scan.truth).cpu()
