"""One experiment: every prior that is compared on a scene, and the loop they are compared in.

Random streams belong to a use (`stream`), so that no method's draws depend on which methods ran before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import process_time

import torch
from torch import Tensor

from ctlib.nets.unet import make_unet
from ctlib.papers.spectral2spectral.losses import loss_weights, paired_loss, similar_loss, spectral2spectral_loss
from ctlib.papers.spectral2spectral.low_rank import nonlocal_lowrank
from ctlib.papers.spectral2spectral.noise2noise import ThinnedPairs
from ctlib.papers.spectral2spectral.noise2sim import similar_slices
from ctlib.papers.spectral2spectral.noise_level import noise_level
from ctlib.papers.spectral2spectral.prior import SelfTrainedPrior, bin_scale
from ctlib.papers.spectral2spectral.scene import ScannedScene, Scene
from ctlib.papers.spectral2spectral.splitting import Prior, split_reconstruct
from ctlib.papers.spectral2spectral.subspace import MaterialSubspace, projected, within
from ctlib.prox import prox_tv

TV_ITERS = 40  # of the proximal map of TV


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


def stream(use: int, seed: int) -> torch.Generator:
    """A random stream of its own for every use of a seed."""
    return torch.Generator().manual_seed(100_000 * use + seed)


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
