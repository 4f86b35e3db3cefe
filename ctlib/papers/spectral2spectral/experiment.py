"""One experiment: a scene with its data, every prior that is compared in the loop, and the loop itself.

Random streams belong to a use (`stream`), so that no method's draws depend on which methods ran before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import process_time

import torch
from torch import Tensor

from ctlib import metrics
from ctlib.decompose import decompose_images
from ctlib.nets.unet import make_unet
from ctlib.papers.spectral2spectral.binned import bin_line_integrals
from ctlib.papers.spectral2spectral.losses import loss_weights, paired_loss, similar_loss, spectral2spectral_loss
from ctlib.papers.spectral2spectral.low_rank import nonlocal_lowrank
from ctlib.papers.spectral2spectral.matrix_fit import fit_matrix
from ctlib.papers.spectral2spectral.noise2noise import ThinnedPairs, half_views
from ctlib.papers.spectral2spectral.noise2sim import similar_slices
from ctlib.papers.spectral2spectral.noise_level import noise_level
from ctlib.papers.spectral2spectral.prior import SelfTrainedPrior, bin_scale
from ctlib.papers.spectral2spectral.scan import SpectralScan, simulate
from ctlib.papers.spectral2spectral.splitting import Prior, split_reconstruct
from ctlib.papers.spectral2spectral.subspace import MaterialSubspace, projected, within
from ctlib.projector import Projector
from ctlib.prox import prox_tv
from ctlib.recon.sirt import sirt

TV_ITERS = 40  # of the proximal map of TV
CALIBRATION = 4  # SIRT iterations of the calibration images, in units of those of the first image


@dataclass(frozen=True)
class Settings:
    """The loop and the networks trained in it; the same for every method."""

    outer: int  # outer steps: prior, then data
    sirt_inner: int  # data steps in each outer step
    rho: float  # coupling, relative to the mean of A^T 1
    steps: int  # training steps in each outer step
    lr: float  # learning rate of Adam
    width: int  # feature channels of the U-Net
    depth: int = 2  # its halvings
    batch: int = 1  # slices in a training step
    bregman: bool = False  # with the Bregman variable


@dataclass(frozen=True)
class Acquisition:
    """A simulated scan and its first reconstruction."""

    n: int  # image size [pixels]
    views: int  # views over 360 degrees
    n_slices: int  # slices of a specimen
    counts: float  # photons of an open-beam reading, all bins together
    sirt_start: int  # SIRT iterations of the first image
    bin_mode: str = "poisson"  # see `bin_counts`
    device: str = "cpu"


def stream(use: int, seed: int) -> torch.Generator:
    """A random stream of its own for every use of a seed."""
    return torch.Generator().manual_seed(100_000 * use + seed)


@dataclass(frozen=True, eq=False)
class Scene:
    """What priors and the loop are given: slices Z, bins E, images in 1/mm.

    A, y    X-ray transform of a slice; log data (Z, E, V, U)
    x0      first images (Z, E, Y, X)
    full    image of all bins together (Z, 1, Y, X)
    seed    of network weights and samplers
    matrix  effective mass attenuation (E, M) [cm2/g] of the materials, on the CPU
    truth   (Z, E, Y, X), where it is known
    """

    A: Projector
    y: Tensor
    x0: Tensor
    full: Tensor
    seed: int
    matrix: Tensor | None = None
    truth: Tensor | None = None

    def error(self, x: Tensor) -> Tensor:
        """Relative error of each bin over the whole volume, (E,)."""
        return ((x - self.truth).square().sum((0, 2, 3)) / self.truth.square().sum((0, 2, 3))).sqrt().cpu()

    def noise(self, x: Tensor) -> Tensor:
        """Standard deviation of the noise in every bin, mean over slices, (E,) [1/mm]."""
        return noise_level(x).mean(0).flatten().cpu()

    def maps(self, x: Tensor) -> Tensor:
        """Densities (Z, M, Y, X) [g/cm3] of the materials, pixel by pixel."""
        return decompose_images(x, self.matrix)


@dataclass(frozen=True, eq=False)
class ScannedScene(Scene):
    """A scene with the counts behind it; `taught` keeps the Noise2Noise priors that were trained on it."""

    scan: SpectralScan | None = None
    sirt_start: int = 50
    taught: dict = field(default_factory=dict, repr=False)

    @property
    def window(self) -> Tensor:
        """Three times the attenuation of water in each bin, (E, 1, 1) [1/mm]: the top of the gray scale."""
        return 3 * self.matrix[:, 1].to(self.x0)[:, None, None] / 10

    def similarity(self, x: Tensor, ref: Tensor | None = None) -> Tensor:
        """SSIM of each bin in the window, against the truth or another image, mean over slices, (E,)."""
        shown, ref = ((t / self.window).clamp(0, 1) for t in (x, self.truth if ref is None else ref))
        return metrics.ssim(shown, ref, data_range=1.0).mean(0).cpu()

    def half(self, half_counts: Tensor) -> Tensor:
        """SIRT image of half the photons."""
        return sirt(self.A, bin_line_integrals(half_counts, self.scan.open_beam / 2), self.sirt_start)

    def by_views(self) -> list[Tensor]:
        """SIRT images of the even and of the odd views."""
        halves = half_views(self.scan.geometry)
        return [sirt(Projector(g), self.y[..., k::2, :], self.sirt_start) for k, g in enumerate(halves)]


def scanned(scan: SpectralScan, sirt_start: int, seed: int = 0, matrix: Tensor | None = None) -> ScannedScene:
    """A scan with its first images; the true images are those of its densities by the matrix."""
    y = scan.line_integrals()
    x0, full = sirt(scan.A, y, sirt_start), sirt(scan.A, scan.full_spectrum(), sirt_start)
    known = matrix is not None and scan.truth is not None
    truth = torch.einsum("em,zmyx->zeyx", matrix.to(x0), scan.truth) / 10 if known else None
    return ScannedScene(scan.A, y, x0, full, seed, matrix, truth, scan, sirt_start)


def simulated(
    kind: str, seed: int, acquisition: Acquisition, drift: float = 0.0, matrix: Tensor | None = None
) -> ScannedScene:
    """A simulated scan of the "rods" or the "mouse"; without a matrix, calibrated on its own noiseless images.

    seed   of specimen, noise, network weights and samplers
    drift  slice-to-slice change of the specimen
    """
    a = acquisition
    scan = simulate(kind, a.n, a.views, a.n_slices, a.counts, seed, drift, a.bin_mode).to(a.device)
    if matrix is None:
        clean = sirt(scan.A, scan.line_integrals(scan.expected), CALIBRATION * a.sirt_start)
        matrix = fit_matrix(clean, scan.truth).cpu()
    return scanned(scan, a.sirt_start, seed, matrix)


def tv(strength: float) -> Prior:
    """Total variation in every bin and slice, its strength in units of that bin's noise."""
    return lambda x, outer: prox_tv(x, strength * noise_level(x), TV_ITERS)


def low_rank(strength: float) -> Prior:
    """The non-local spectral low-rank prior, its strength in units of the noise."""
    return lambda x, outer: nonlocal_lowrank(x, strength)


def self_trained(scene: Scene, settings: Settings, loss: Callable, retrain: bool = True) -> SelfTrainedPrior:
    """A U-Net from all bins to all bins as a prior; `loss` as in `SelfTrainedPrior`."""
    bins, s = scene.x0.shape[1], settings
    net = make_unet(scene.seed, bins, bins, width=s.width, depth=s.depth).to(scene.x0.device)
    return SelfTrainedPrior(net, loss, s.outer, s.steps, stream(1, scene.seed), s.lr, s.batch, retrain)


def noise2sim(scene: Scene, settings: Settings, limit: float) -> Prior:
    """A network taught by neighboring slices, where they are similar up to the limit; trained once."""
    images, generator = scene.x0 / bin_scale(scene.x0), stream(2, scene.seed)

    def loss(net, x, index, progress):
        return similar_loss(net, x, *similar_slices(images, index, generator, limit=limit))

    return self_trained(scene, settings, loss, retrain=False)


def noise2noise(scene: ScannedScene, settings: Settings, every: int, photons: bool = True) -> Prior:
    """A network taught by pairs of dealt photons, or of views: differences of scans cannot be dealt out.

    every    training steps between two deals of the photons

    Trained once for each scene and kind of pair: asked again, the same prior comes back.
    """
    if (photons, every) not in scene.taught:
        views = None if photons else scene.by_views()
        deal = ThinnedPairs(scene.scan.counts, scene.half, stream(3, scene.seed), int(every)) if photons else None
        scale = bin_scale(scene.x0)

        def loss(net, x, index, progress):
            return paired_loss(net, *(h[index] / scale for h in (deal() if photons else views)))

        scene.taught[photons, every] = self_trained(scene, settings, loss, retrain=False)
    return scene.taught[photons, every]


def spectral2spectral(
    scene: Scene, settings: Settings, lam_s: float, lam_r: float = 1.0, schedule: str = "paper", retrain: bool = True
) -> Prior:
    """The paper's prior: neighbor pairs, regularizer and similarity, weighted by `loss_weights`."""
    generator = stream(4, scene.seed)

    def loss(net, x, index, progress):
        weights = loss_weights(schedule, progress, lam_r, lam_s)
        return spectral2spectral_loss(net, x, scene.full[index], generator, *weights)

    return self_trained(scene, settings, loss, retrain)


def material_space(scene: Scene) -> MaterialSubspace:
    """What the scene's materials span, weighted by the noise of its first images."""
    return MaterialSubspace.spanned_by(scene.matrix, scene.noise(scene.x0).double())


def in_span(scene: Scene, strength: float, taught: Callable[[], Prior] | None = None) -> Prior:
    """In the span of the materials: TV of the coordinates; at strength 0 the prior made by `taught`, projected."""
    space = material_space(scene)
    return projected(space, taught()) if strength == 0 and taught else within(space, tv(strength))


@dataclass(frozen=True, eq=False)
class Run:
    """Images (Z, E, Y, X) of one reconstruction.

    x, z     after the last data step; what the prior made before it
    early    "x" and "z" of the first outer step
    seconds  of CPU time
    """

    x: Tensor
    z: Tensor
    early: dict[str, Tensor]
    seconds: float


def solve(scene: Scene, prior: Prior, settings: Settings) -> Run:
    """The loop for every bin and slice at once."""
    early = {}

    def first(outer: int, x: Tensor, z: Tensor) -> None:
        if outer == 0:
            early.update(x=x, z=z)

    start, s = process_time(), settings
    out = split_reconstruct(scene.A, scene.y, prior, scene.x0, s.outer, s.sirt_inner, s.rho, s.bregman, first)
    return Run(out.x, out.z, early, process_time() - start)


def errors_on_grid(
    scene: Scene, make: Callable[[Scene, float], Prior], grid: list[float], settings: Settings
) -> dict[tuple[float, str], float]:
    """Mean relative error of the bins for every strength and both images: {(strength, "x" or "z"): error}."""
    runs = ((strength, solve(scene, make(scene, strength), settings)) for strength in grid)
    return {(v, part): float(scene.error(getattr(run, part)).mean()) for v, run in runs for part in ("x", "z")}
