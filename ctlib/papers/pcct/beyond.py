"""The wiring of what the paper names as future work: blind calibration, pile-up, and one step against two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ctlib.decompose import decompose_mle
from ctlib.errors import ConvergenceError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.papers.pcct.blind import Unknown, neighbor_covariance, threshold_information
from ctlib.papers.pcct.calibration import calibrate
from ctlib.papers.pcct.experiment import Setting
from ctlib.papers.pcct.one_step import Polynomial, noise_and_bias, one_step, two_step
from ctlib.papers.pcct.pileup import PileUp, decompose, pileup_residual
from ctlib.phantoms.materials import MaterialPhantom, abdomen
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.train.tuning import Tuning, tune

KNOWN = {"bins": None, "bins and rings": "neighbors", "a reference": "all"}
EXACT = 1e-8  # variance [g2/cm4] of path lengths that are known
BLURS, BETAS = (1.6, 1.1, 2.4, 0.7), (10000.0, 30000.0, 3000.0, 100000.0)  # [pixels], weights; tried in this order


def parallel(size: int, views: int, fov_mm: float = 384.0) -> Projector:
    """A parallel beam whose detector is as wide as the image, so many pixels either."""
    pitch = fov_mm / size
    return Projector(ParallelBeam(Volume((size, size), pitch), views, size, pitch))


def measured(setting: Setting, paths: Tensor, seed: int | None, readings: int = 1) -> Tensor:
    """Counts of path lengths: the mean of so many noisy readings, or, without a seed, what is expected."""
    counts = setting.model()(paths)
    if seed is None:
        return counts
    return torch.poisson(readings * counts, generator=torch.Generator().manual_seed(7000 + seed)) / readings


def predicted(
    setting: Setting, project: Projector, body: MaterialPhantom, column: int, readings: int = 1
) -> Mapping[str, tuple]:
    """(least standard deviation of each threshold, that of every combination, the combinations) [keV] by what is known.

    The first as the Fisher information says, the others along its eigenvectors, the worst known first.
    """
    paths = body.paths(project.geometry)
    around = neighbor_covariance(paths, [column])
    out = {}
    for name, known in KNOWN.items():
        c = {"neighbors": around, "all": EXACT * torch.eye(2, dtype=torch.float64)}.get(known)
        information = readings * threshold_information(setting.model(), paths[:, column], c)
        values, vectors = torch.linalg.eigh(information)
        inverse = torch.linalg.inv(information).diagonal().clamp_min(0).sqrt()
        out[name] = inverse, values.clamp_min(1e-300) ** -0.5, vectors
    return out


def blind_shift(
    setting: Setting, counts: Tensor, bad: Sequence[int], ring: float, readings: float = 1.0, max_iters: int = 60
) -> Tensor:
    """Shift (C, E) [keV] of the thresholds of pixels in doubt, found in a scan (V, U, E) of an unknown object.

    ring, readings  as in `Unknown`
    """
    believed = setting.drifted(setting.thresholds_kev)
    unknown = Unknown(setting.model(), counts, believed, setting.box, ring, readings)
    start = torch.zeros(len(bad), len(setting.thresholds_kev) - 1, dtype=torch.float64)
    return calibrate(unknown.residual(bad), start, "lbfgs", max_iters).shift_kev


@dataclass(frozen=True)
class PileUpTest:
    """A detector with dead time, calibrated on known path lengths and used on a body that it never saw.

    load  photons of the open beam a dead time
    """

    setting: Setting
    load: float

    def __post_init__(self):
        object.__setattr__(self, "piled", PileUp(self.setting.model()))

    def counts(self, paths: Tensor) -> Tensor:
        """Expected counts (..., E)."""
        return self.piled(paths, torch.tensor(self.load, dtype=torch.float64))

    def calibrated(self, paths: Tensor, max_iters: int = 40) -> Tensor:
        """(1 + E,) load and shifts of the thresholds [keV] from known path lengths (P, M), from half the load and 0."""
        believed = self.setting.drifted(self.setting.thresholds_kev)
        residual = pileup_residual(self.piled, self.counts(paths), paths, believed)
        start = torch.zeros(len(believed), dtype=torch.float64)
        start[0] = 0.5 * self.load
        return calibrate(residual, start, "lbfgs", max_iters).shift_kev

    def body(self, project: Projector, seed: int, found: Tensor) -> Mapping[str, Tensor]:
        """Images (M, Y, X) of an abdomen [g/cm3]: "true" model, the one that ignores dead time, and the calibrated."""
        paths = abdomen(seed).paths(project.geometry)
        counts, flat = self.counts(paths), paths.reshape(-1, 2)
        believed = self.setting.drifted(self.setting.thresholds_kev)
        edges = torch.cat([believed[:-1] - found[1:], believed[-1:]])
        ignoring = decompose_mle(self.setting.model(), counts, self.setting.box)
        expected = lambda a: self.piled(a, found[0], edges)  # noqa: E731
        solved = decompose(expected, counts.reshape(len(flat), -1), ignoring.reshape(-1, 2))
        flat_to = lambda p: p.reshape(paths.shape).movedim(-1, 0)  # noqa: E731
        make = lambda p: 10 * fbp(project, flat_to(p), truncation="ignore")  # noqa: E731
        return {"true": make(paths), "ignored": make(ignoring), "calibrated": make(solved)}


@dataclass
class StepsTest:
    """One-step against two-step decompositions of noisy scans of abdomens.

    seed of the body that settings are chosen on: 100;  draws  noisy scans of each body
    """

    setting: Setting
    project: Projector
    draws: int
    trials: int = 4
    tol: float = 1e-4
    done: dict = field(default_factory=dict, repr=False)

    def scan(self, body: int, draw: int) -> Tensor:
        """Noisy counts (V, U, E)."""
        return measured(self.setting, abdomen(body).paths(self.project.geometry), 100 * body + draw)

    def truth(self, body: int) -> Tensor:
        """Densities (M, Y, X) [g/cm3]."""
        return abdomen(body).densities(self.project.geometry.volume)

    def options(self) -> dict[str, list[dict]]:
        """As many trials for every method."""
        return {
            "MLE, then FBP": [{"blur": b} for b in BLURS[: self.trials]],
            "polynomial, then FBP": [{"blur": b} for b in BLURS[: self.trials]],
            "one step": [{"beta": b} for b in BETAS[: self.trials]],
        }

    def images(self, method: str, counts: Tensor, blur: float = 0.8, beta: float = 1.0) -> Tensor:
        """Densities (M, Y, X) [g/cm3] by a method."""
        model = self.setting.model()
        if method == "polynomial, then FBP":
            return two_step(self.project, self.polynomial()(counts), blur)
        paths = decompose_mle(model, counts, self.setting.box)
        if method == "MLE, then FBP":
            return two_step(self.project, paths, blur)
        start = two_step(self.project, paths, 1.2).clamp_min(0)
        return one_step(model, self.project, counts, start, beta, tol=self.tol)

    def polynomial(self) -> Polynomial:
        """The empirical decomposition, fitted on noiseless slabs of the paper's grid."""
        if "polynomial" not in self.done:
            axes = torch.arange(0, 41, 2.0).double(), torch.arange(0, 3.01, 0.2).double()
            paths = torch.cartesian_prod(*axes) * self.setting.cm
            model = self.setting.model()
            self.done["polynomial"] = Polynomial.fitted(model, paths, model(paths))
        return self.done["polynomial"]

    def score(self, method: str, options: Mapping) -> float:
        """Geometric mean of the two materials' rms errors inside the body on the validation scan [g/cm3]."""
        truth, counts = self.truth(100), self.scan(100, 0)
        try:
            off = (self.images(method, counts, **options) - truth)[:, truth[0] > 0.5]
        except ConvergenceError:
            return float("nan")
        return float(off.square().mean(-1).sqrt().log().mean().exp())

    def tuned(self) -> Tuning:
        """The trials on the validation body."""
        if "tuned" not in self.done:
            self.done["tuned"] = tune(self.options(), self.score)
        return self.done["tuned"]

    def result(self, method: str, body: int) -> Mapping[str, Tensor]:
        """`noise_and_bias` of a method with its best setting over the draws, and "images" of the first."""
        if (method, body) not in self.done:
            best, truth = self.tuned().best(method).settings, self.truth(body)
            images = torch.stack([self.images(method, self.scan(body, d), **best) for d in range(self.draws)])
            found = dict(noise_and_bias(images, truth, truth[0] > 0.5))
            self.done[method, body] = found | {"images": images[0]}
        return self.done[method, body]
