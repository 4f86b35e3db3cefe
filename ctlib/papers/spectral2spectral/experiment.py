"""One experiment: every prior that is compared on a scene, and the loop they are compared in.

Random streams belong to a use (`stream`), so that no method's draws depend on which methods ran before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import process_time

import torch
from torch import Tensor

from ctlib import contract
from ctlib.nets.unet import make_unet
from ctlib.papers.spectral2spectral.losses import loss_weights, paired_loss, similar_loss, spectral2spectral_loss
from ctlib.papers.spectral2spectral.low_rank import nonlocal_lowrank
from ctlib.papers.spectral2spectral.noise2noise import ThinnedPairs
from ctlib.papers.spectral2spectral.noise2sim import similar_slices
from ctlib.papers.spectral2spectral.noise_level import noise_level
from ctlib.papers.spectral2spectral.pairs import bins_loss, fill_bins
from ctlib.papers.spectral2spectral.prior import SelfTrainedPrior, bin_scale
from ctlib.papers.spectral2spectral.scene import ScannedScene, Scene
from ctlib.papers.spectral2spectral.splitting import Prior, split_reconstruct
from ctlib.papers.spectral2spectral.subspace import MaterialSubspace, within
from ctlib.prox import prox_tv

PAIRS = ("neighbors", "distant", "bins")
TV_ITERS = 40  # of the proximal map of TV


@dataclass(frozen=True)
class Settings:
    """The loop and the networks trained in it; the same for every method but where a method says otherwise."""

    outer: int  # outer steps: prior, then data
    rho: float  # coupling, relative to the mean of A^T 1
    steps: int  # training steps in each outer step
    lr: float  # learning rate of Adam
    width: int  # feature channels of the U-Net
    depth: int = 2  # its halvings
    batch: int = 1  # slices in a training step
    tol: float | None = 0.01  # data steps end where their gradient has fallen to this share; None: sirt_inner of them
    sirt_inner: int = 8  # data steps in each outer step, where tol is None
    bregman: bool = False  # with the Bregman variable
    huang: bool = False  # Neighbor2Neighbor's network, its width and depth aside
    printed_width: int = 48  # channels and halvings of the network as printed, which needs images of a multiple of ...
    printed_depth: int = 5  # ... 2^(printed_depth + 1) pixels
    epochs: int = 50  # of its training, as printed
    classical_outer: int = 8  # outer steps of priors that are not trained
    decay: float = 0.9  # the learning rate is multiplied by it five times
    precision: str = "float32"  # of the networks, see `ctlib.train.precision`
    watch_every: int = 0  # training steps between two points of the validation curve; 0: none


def stream(use: int, seed: int) -> torch.Generator:
    """A random stream of its own for every use of a seed."""
    return torch.Generator().manual_seed(100_000 * use + seed)


def tv(strength: float) -> Prior:
    """Total variation in every bin and slice, its strength in units of that bin's noise."""
    return lambda x, outer: prox_tv(x, strength * noise_level(x), TV_ITERS)


def low_rank(strength: float) -> Prior:
    """The non-local spectral low-rank prior, its strength in units of the noise."""
    return lambda x, outer: nonlocal_lowrank(x, strength)


def self_trained(
    scene: Scene, settings: Settings, loss: Callable, retrain: bool = True, inputs: int | None = None,
    apply: Callable | None = None,
) -> SelfTrainedPrior:  # fmt: skip
    """A U-Net to all bins as a prior; `loss` and `apply` as in `SelfTrainedPrior`, inputs all bins by default.

    Where the truth is known its `course` is [(step, mean error of the bins in the middle slice), ...].
    """
    bins, s = scene.x0.shape[1], settings
    theirs = {"decoder_width": 2 * s.width, "input_skips": True, "deep_convs": 1} if s.huang else {}
    net = make_unet(scene.seed, inputs or bins, bins, width=s.width, depth=s.depth, **theirs).to(scene.x0.device)
    middle, course = [len(scene.x0) // 2], []

    def watch(step: int, make: Callable) -> None:
        image = make(middle) * bin_scale(scene.x0)
        course.append((step, float(scene.error(image, middle).mean())))

    prior = SelfTrainedPrior(
        net, loss, s.outer, s.steps, stream(1, scene.seed), s.lr, s.batch, retrain, s.decay, apply, s.precision,
        watch if s.watch_every and scene.truth is not None else None, max(1, s.watch_every),
    )  # fmt: skip
    prior.course = course
    return prior


def noise2sim(scene: Scene, settings: Settings, limit: float) -> Prior:
    """A network taught by neighboring slices, where they are similar up to the limit; trained once."""
    images, generator = scene.x0 / bin_scale(scene.x0), stream(2, scene.seed)

    def loss(net, x, index, progress):
        return similar_loss(net, x, *similar_slices(images, index, generator, limit=limit))

    return self_trained(scene, settings, loss, retrain=False)


def noise2noise(scene: ScannedScene, settings: Settings, every: int, photons: bool = True) -> Prior:
    """A network taught by pairs of dealt photons, or of views: differences of scans cannot be dealt out.

    every    training steps between two deals of the photons

    Trained once for each scene, kind of pair and settings: asked again, the same prior comes back.
    """
    kind = photons, every, settings
    if kind not in scene.taught:
        views = None if photons else scene.by_views()
        deal = ThinnedPairs(scene.scan.counts, scene.half, stream(3, scene.seed), int(every)) if photons else None
        scale = bin_scale(scene.x0)

        def loss(net, x, index, progress):
            return paired_loss(net, *(h[index] / scale for h in (deal() if photons else views)))

        scene.taught[kind] = self_trained(scene, settings, loss, retrain=False)
    return scene.taught[kind]


def spectral2spectral(
    scene: Scene, settings: Settings, lam_s: float, lam_r: float = 1.0, schedule: str = "paper", retrain: bool = True,
    pairs: str = "neighbors", scaling: str = "quantiles", most: int = 2,
) -> Prior:  # fmt: skip
    """The paper's prior: neighbor pairs, regularizer and similarity, weighted by `loss_weights`; or other pairs.

    pairs    "neighbors" as printed; "distant": two pixels apart; "bins": energy bins teach one another, `bins_loss`
    scaling  of L_ss, see `spectral_similarity_loss`;  most: bins that are hidden at once
    """
    generator = stream(4, scene.seed)
    if contract.choice("pairs", pairs, PAIRS) == "bins":
        loss = lambda net, x, index, progress: bins_loss(net, x, generator, most)  # noqa: E731
        return self_trained(scene, settings, loss, retrain, 2 * scene.x0.shape[1], fill_bins)

    def loss(net, x, index, progress):
        weights = loss_weights(schedule, progress, lam_r, lam_s)
        return spectral2spectral_loss(net, x, scene.full[index], generator, *weights, scaling, pairs == "distant")

    return self_trained(scene, settings, loss, retrain)


def material_space(scene: Scene) -> MaterialSubspace:
    """What the scene's materials span, weighted by the noise of its first images."""
    return MaterialSubspace.spanned_by(scene.matrix, scene.noise(scene.x0).double())


def in_span(scene: Scene, strength: float) -> Prior:
    """TV of the coordinates in the span of the materials, whose noise has unit variance in all of them."""
    return within(material_space(scene), tv(strength))


@dataclass(frozen=True, eq=False)
class Run:
    """Images (Z, E, Y, X) of one reconstruction.

    x, z     after the last data step; what the prior made before it
    seconds  of CPU time
    gaps     |x - z| / |x| after every outer step
    """

    x: Tensor
    z: Tensor
    seconds: float
    gaps: tuple[float, ...] = ()


def solve(scene: Scene, prior: Prior, settings: Settings) -> Run:
    """The loop for every bin and slice at once."""
    start, s = process_time(), settings
    out = split_reconstruct(scene.A, scene.y, prior, scene.x0, s.outer, s.sirt_inner, s.rho, s.bregman, None, s.tol)
    return Run(out.x, out.z, process_time() - start, tuple(out.gaps))
