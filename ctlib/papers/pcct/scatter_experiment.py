"""The wiring of the scatter test: scans with scatter, networks trained on it or on images, and their errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ctlib import contract
from ctlib.decompose import counts_jacobian, decompose_mle
from ctlib.errors import ConvergenceError
from ctlib.geometry import FanBeam
from ctlib.nets.seeded import seeded
from ctlib.papers.pcct.scatter_net import MOST, ScatterNet, cross_loss, direct_loss, scatter_ratio
from ctlib.papers.pcct.training import fit_scatter_net
from ctlib.phantoms.materials import MATERIALS, abdomen_densities
from ctlib.physics import SpectralModel, Spectrum, mass_attenuation, virtual_monoenergetic
from ctlib.physics.scatter import VoxelPhantom, simulate_scatter, single_scatter, with_height
from ctlib.projector import Projector
from ctlib.recon import fbp

ROWS = ("water-proj", "ca-proj", "spr", "water", "ca", "vmi")


def bin_response(model: SpectralModel) -> Callable[[Tensor], Tensor]:
    """Counts per photon (E, K) of every bin of a model at K energies [keV], as `simulate_scatter` asks for it."""
    return model.counts_per_photon


def single_against_quadrature(
    fan: FanBeam, spectrum: Spectrum, response: Callable, photons: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Differences of simulated single scatter from the integral, over their standard errors, per cell and bin.

    And the median relative standard error of a cell. One view of one abdomen, eight cells.
    """
    one = with_height(FanBeam(fan.volume, 1, 8, 92.0, 625.0, 1097.0), 40.0)
    body = VoxelPhantom.extruded(fan.volume, MATERIALS, abdomen_densities(fan.volume, 500 + seed), 300.0)
    tally = simulate_scatter(body, one, spectrum, response, photons, seed=seed)
    options = {"num_rays": (4, 64), "points_per_cell": 2}
    exact = sum(single_scatter(body, one, spectrum, response, process=p, **options) for p in ("compton", "rayleigh"))
    error = tally.error("single")
    return (tally.mean("single") - exact) / error, (error / exact).median()


def rms(x: Tensor, axes) -> Tensor:
    """Root mean square over some axes."""
    return x.square().mean(axes).sqrt()


@dataclass(frozen=True)
class Training:
    """How the scatter networks are trained.

    channels  features of the encoder's stages;  epochs  passes over the training bodies
    lr        of Adam, a tenth of it after half of the epochs;  gradient_limit  of the Cross loss, None for none
    """

    channels: tuple[int, ...]
    epochs: int
    lr: float
    gradient_limit: float | None = None


class ScatterTest:
    """N scans of different bodies; signals (N, E, V, U) are relative to the open beam.

    primary, scatter   without scatter, and the scatter alone
    parts              indices of the bodies to train on, to choose the weights with, and to test on
    The reference of every method is what the same scanner makes of the counts without scatter.
    """

    def __init__(self, model: SpectralModel, box, fan: FanBeam, primary: Tensor, scatter: Tensor, parts, cm: Tensor):
        self.model, self.box, self.cm = model, box, cm
        self.project = Projector(fan)
        self.open_beam = model(torch.zeros(2))  # counts (E,) without an object
        self.start = (cm * cm.new_tensor([5.0, 0.1])).to(self.open_beam)  # of the solver in trainings: little calcium
        self.primary, self.scatter, self.total = primary, scatter, primary + scatter
        self.train_set, self.validate_set, self.test_set = parts
        self.true_paths = self.material_paths(primary)
        self.true_images = self.material_images(self.true_paths)

    def by_solver(self, relative: Tensor, start: Tensor | None = None) -> Tensor:
        """Path lengths (..., M) [g/cm2] of relative counts (..., E); start as in `decompose_mle`.

        Where a pixel does not converge, its last step, with gradient 0.
        """
        solve = partial(decompose_mle, self.model, relative * self.open_beam, self.box, start=start)
        try:
            return solve()
        except ConvergenceError:  # rare, and what tells of single pixels costs more than the solution
            return solve(return_info=True)[0]

    def material_paths(self, relative: Tensor) -> Tensor:
        """Path lengths (N, M, V, U) [g/cm2] of relative counts (N, E, V, U)."""
        return self.by_solver(relative.movedim(1, -1)).movedim(-1, 1)

    def material_images(self, paths: Tensor) -> Tensor:
        """Densities (N, M, Y, X) [g/cm3] from path lengths (N, M, V, U) [g/cm2]."""
        flat = paths.flatten(0, 1)  # what scatter leaves beside the body is no truncated object
        return 10 * fbp(self.project, flat, truncation="ignore").unflatten(0, paths.shape[:2])

    def train(self, kind: str, seed: int, how: Training, decompose: Callable | None = None) -> tuple[ScatterNet, float]:
        """A trained network in evaluation mode, and its validation loss; the seed sets weights and order of bodies.

        kind       "direct", {eq}`pcct-direct`, or "cross", {eq}`pcct-cross`
        decompose  in place of the solver, for the Cross loss
        """
        if kind == "direct":
            loss, target = direct_loss, self.scatter
        else:
            by_solver = partial(self.by_solver, start=self.start)  # without, scatter is a misfit that asks for more
            operators = {"decompose": decompose or by_solver, "reconstruct": self.material_images}
            loss = partial(cross_loss, **operators, gradient_limit=how.gradient_limit)
            target = self.true_images
        net = seeded(seed, ScatterNet, self.model.num_bins, tuple(how.channels), ndim=1, last_stride=1)
        sets = (self.train_set, self.validate_set)
        return net, fit_scatter_net(net, loss, self.total, target, *sets, how.epochs, how.lr, seed)

    @torch.no_grad()
    def estimate(self, net: ScatterNet) -> Tensor:
        """Scatter (N, E, V, U) in the test scans by a network, relative to the open beam."""
        total = self.total[self.test_set]
        return scatter_ratio(net, total) * total

    def errors(self, guess: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """(bodies, 6) errors of the test bodies in the order of ROWS when `guess` is taken for the scatter.

        rms of the path lengths [cm], mean of the ratio [%], rms of densities [mg/mL] and of the 60 keV image [HU].
        And the paths (N, M, V, U), the image errors (N, M, Y, X) [g/cm3] and the 60 keV errors (N, Y, X) [HU].
        """
        test = self.test_set
        paths = self.material_paths(self.total[test] - guess)
        off = (paths - self.true_paths[test]).movedim(1, -1) / self.cm.float()
        images = self.material_images(paths) - self.true_images[test]
        ratio = 100 * ((guess - self.scatter[test]).abs() / self.primary[test]).mean((1, 2, 3))
        water = 0.1 * float(mass_attenuation("water", 60.0))
        gray = 1000 * torch.stack([virtual_monoenergetic(x, MATERIALS, 60.0) for x in images]) / water
        rows = [*rms(off, (1, 2)).T, ratio, *(1000 * rms(images, (2, 3))).T, rms(gray, (1, 2))]
        return torch.stack(rows, 1).double(), (paths, images, gray)

    def visible_directions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mask of rays behind a body, and singular values (P, 2) and right vectors (P, E, E) of dA / dlog counts."""
        at = self.true_paths[self.test_set].movedim(1, -1).reshape(-1, 2).double()
        behind = at[:, 0] > 1
        counts = (self.primary[self.test_set].movedim(1, -1) * self.open_beam).reshape(-1, self.model.num_bins)
        counts = counts.double()[behind]
        slope = counts_jacobian(self.model, counts, at[behind], self.box) * counts[:, None]
        _, amplified, directions = torch.linalg.svd(slope, full_matrices=True)
        return behind, amplified, directions

    def error_shares(self, net: ScatterNet, behind: Tensor, directions: Tensor) -> list[float]:
        """Shares of the squared relative error in the strong, the weak and the invisible directions."""
        off = (self.estimate(net) - self.scatter[self.test_set]) / self.primary[self.test_set]
        off = off.movedim(1, -1).reshape(-1, self.model.num_bins).double()[behind]
        parts = (directions @ off[..., None])[..., 0].square().sum(0)
        return (torch.stack([parts[0], parts[1], parts[2:].sum()]) / parts.sum()).tolist()

    def ratio_error(self, net: ScatterNet, columns: Tensor) -> float:
        """Mean absolute error of the scatter over primary in these columns (U,), over its mean there."""
        off = (self.estimate(net) - self.scatter[self.test_set]).abs() / self.primary[self.test_set]
        true = (self.scatter / self.primary)[self.test_set]
        return float(off[..., columns].mean() / true[..., columns].mean())

    def view_errors(self, run) -> Tensor:
        """rms error of the projected water in every view of the test bodies (N, V) [cm]; run  what `errors` gave."""
        return rms((run[1][0] - self.true_paths[self.test_set])[:, 0], -1)

    def floor(self, spread: str, stages: int) -> float:
        """rms error of the water image [mg/mL] of the best coarse ratio or scatter, by least squares in counts.

        At most 95 % of a pixel's counts are scatter, as for the networks.

        spread  "ratio" or "scatter", as in `scatter_ratio`;  stages  of the encoder, each halves the columns
        """
        contract.choice("spread", spread, ("ratio", "scatter"))
        total = self.total[self.test_set].double()
        stages = contract.count("stages", stages, 0, int(math.log2(total.shape[-1])))
        cells, cols = total.shape[-1] // 2**stages, total.shape[-1]
        line = torch.nn.functional.interpolate(torch.eye(cells)[None], cols, mode="linear")[0].double()
        weight = torch.ones_like(total) if spread == "ratio" else 1 / total
        rows = line * weight[..., None, :]  # (N, E, V, cells, U)
        target = (self.scatter / self.total)[self.test_set].double()
        best = torch.linalg.lstsq(rows.mT, target[..., None]).solution[..., 0] @ line * weight
        guess = (best.clamp_max(MOST) * self.total[self.test_set]).float()  # as the networks' own
        return float(self.errors(guess)[0][:, ROWS.index("water")].mean())
