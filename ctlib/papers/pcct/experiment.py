"""The wiring of the layer's tests and of the calibration: one setting, its scans, and what each test measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ctlib.decompose import counts_jacobian, decompose_mle, jacobian_determinant
from ctlib.nets.seeded import seeded
from ctlib.papers.pcct.calibration import Calibration, calibrate, image_residual, threshold_jacobian
from ctlib.papers.pcct.proxy import ProxyDecomposition, relative_jacobian
from ctlib.papers.pcct.training import fit_proxy
from ctlib.phantoms.materials import MATERIALS
from ctlib.physics import Detector, SpectralModel, Spectrum
from ctlib.recon import fbp


def f64(values) -> Tensor:
    """Numbers as a float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Setting:
    """Detector, spectrum and units that a chapter keeps to.

    thresholds_kev  edges of the energy bins;  bias_kev  how much too high the model believes all but the top one
    rho_ca          what 1 cm of calcium stands for [g/cm3];  photons  per reading in the open beam
    depth_mm, noise_kev, cloud_mm  of `Detector.silicon`
    box             (low, high) of water and of calcium [g/cm2]
    """

    thresholds_kev: tuple[float, ...]
    bias_kev: float
    rho_ca: float
    photons: float
    depth_mm: float
    noise_kev: float
    cloud_mm: float
    box: tuple[tuple[float, float], tuple[float, float]]
    spectrum: Spectrum

    def model(self, thresholds_kev=None, gain=1.0, rescatter=0.0, spectrum=None) -> SpectralModel:
        """The spectral model, with other thresholds, gain of the energy scale, rescatter or spectrum."""
        detector = Detector.silicon(
            depth_mm=self.depth_mm, cloud_mm=self.cloud_mm, noise_kev=self.noise_kev, rescatter=rescatter
        )
        edges = self.thresholds_kev if thresholds_kev is None else thresholds_kev
        return SpectralModel(spectrum or self.spectrum, MATERIALS, detector, edges, photons=self.photons, gain=gain)

    @classmethod
    def of_paper(cls, photons: float = 1e6, spectrum: Spectrum | None = None) -> Setting:
        """The paper's bins, with what it leaves open as the chapter chooses it."""
        box, beam = ((-5.0, 40.0), (-5.0, 20.0)), spectrum or Spectrum.tungsten(kvp=120, filters_mm={"Al": 3.0})
        return cls((15.0, 33.0, 45.0, 59.0, 125.0), 0.5, 1.55, photons, 60.0, 1.6, 0.012, box, beam)

    @property
    def cm(self) -> Tensor:
        """Path length of 1 cm of water and of calcium (2,) [g/cm2]."""
        return f64([1.0, self.rho_ca])

    def drifted(self, thresholds_kev: Sequence[float]) -> Tensor:
        """What the model believes of these thresholds (E + 1,) [keV]: all but the top one are off by the bias."""
        return f64(thresholds_kev) + f64([self.bias_kev] * (len(thresholds_kev) - 1) + [0.0])

    def drift_error(self, model: SpectralModel, thresholds_kev, grid_cm: Tensor, rho_ca: float | None = None) -> list:
        """rms error of decomposed lengths (P, 2) [cm], water and calcium, when the thresholds have drifted."""
        scale = f64([1.0, rho_ca or self.rho_ca])
        truth = grid_cm * scale
        found = decompose_mle(model, model(truth), self.box, thresholds_kev=self.drifted(thresholds_kev))
        return ((found - truth) / scale).square().mean(0).sqrt().tolist()


@dataclass(frozen=True, eq=False)
class RingTest:
    """Scans in which some detector pixels' thresholds have drifted.

    model, box  of the decomposition;  project  X-ray transform of the scan
    believed    thresholds (E + 1,) of the model [keV];  bad_pixels  the detector columns that drifted
    """

    model: SpectralModel
    box: tuple
    project: Callable
    believed: Tensor
    bad_pixels: Sequence[int]

    def scan(self, phantom) -> tuple[Tensor, Tensor]:
        """Noiseless counts (V, U, E) of a phantom, and the path lengths (V, U, M) that the right thresholds give."""
        counts = self.model(phantom.paths(self.project.geometry))
        return counts, decompose_mle(self.model, counts, self.box)

    def reconstruct(self, paths: Tensor) -> Tensor:
        """Densities (M, Y, X) [g/cm3] from path lengths (V, U, M) [g/cm2]."""
        return 10 * fbp(self.project, paths.movedim(-1, 0))

    def residual(self, counts: Tensor, paths: Tensor, reference: Tensor) -> Callable[[Tensor], Tensor]:
        """Residual image as a function of the shift of the bad pixels' thresholds (C, E) [keV]."""
        bad = list(self.bad_pixels)
        return image_residual(
            self.model, self.reconstruct, paths, counts[:, bad], bad, reference, self.believed, self.box
        )


def objects(model: SpectralModel, cm: Tensor, seed: int, num: int, top=(25.0, 1.5)) -> tuple[Tensor, Tensor]:
    """Random path lengths (P, 2) [g/cm2] away from the box, up to `top` [cm], and their noisy counts (P, E)."""
    g = torch.Generator().manual_seed(1000 + seed)
    paths = torch.rand(num, 2, generator=g, dtype=torch.float64) * f64(top) * cm
    return paths, torch.poisson(model(paths), generator=g)


def central(solve: Callable, directions, h: float) -> Tensor:
    """Central differences of solve(x) along every direction, stacked last."""
    return torch.stack([(solve(h * d) - solve(-h * d)) / (2 * h) for d in directions], -1)


def worst(exact: Tensor, numeric: Tensor) -> float:
    """Largest difference over the largest numeric value."""
    return float((exact - numeric).abs().max() / numeric.abs().max())


def gain_jacobian(setting: Setting, counts: Tensor) -> Tensor:
    """dA*/dg (P, 2, 1) [g/cm2] of every pixel's gain at g = 1."""
    gain = torch.ones(len(counts), dtype=torch.float64, requires_grad=True)
    paths = decompose_mle(setting.model(gain=gain), counts, setting.box)
    rows = [torch.autograd.grad(paths[:, k].sum(), gain, retain_graph=True)[0] for k in range(2)]
    return torch.stack(rows, 1)[..., None]


def gradient_errors(setting: Setting, seed: int, num: int = 50) -> dict[str, float]:
    """`worst` of the implicit gradients against central differences, for noisy counts of random objects."""
    model, box, edges = setting.model(), setting.box, f64(setting.thresholds_kev)
    y = objects(model, setting.cm, seed, num)[1]
    paths, bins = decompose_mle(model, y, box), torch.eye(len(edges) - 1).double()
    raised = torch.eye(len(edges)).double()[:-1]
    by_counts = central(lambda d: decompose_mle(model, y * (1 + d), box), bins, 1e-4)
    by_edges = central(lambda d: decompose_mle(model, y, box, thresholds_kev=edges + d), raised, 1e-3)
    by_gain = central(lambda d: decompose_mle(setting.model(gain=float(1 + d)), y, box), [1.0], 1e-5)
    return {
        "counts": worst(counts_jacobian(model, y, paths, box) * y[:, None], by_counts),  # per relative change
        "thresholds": worst(threshold_jacobian(model, y, edges, box), by_edges),
        "gain": worst(gain_jacobian(setting, y), by_gain),
    }


def steps_of(scale: float) -> np.ndarray:
    """Nine steps up to `scale`, evenly spaced in their logarithm."""
    return scale * np.geomspace(0.01, 1, 9)


def departures(setting: Setting, model: SpectralModel, at: Tensor, scale: float, of: str, seed: int) -> np.ndarray:
    """Error (9,) [cm] of the linear prediction around `at` for `steps_of(scale)` in one random direction.

    of  "counts", relative steps, or "thresholds" [keV]; nan where the solver does not converge
    """
    y, edges = model(at)[None], model.thresholds_kev
    u = torch.randn(model.num_bins, generator=torch.Generator().manual_seed(3000 + seed), dtype=torch.float64)
    u = u / u.abs().max()
    by_counts = of == "counts"
    jacobian = counts_jacobian(model, y, at[None], setting.box) * y[:, None] if by_counts else None
    slope = (threshold_jacobian(model, y, edges, setting.box) if jacobian is None else jacobian)[0]
    out = []
    for s in steps_of(scale):
        moved = (y * (1 + s * u), edges) if by_counts else (y, torch.cat([edges[:-1] + s * u, edges[-1:]]))
        new, info = decompose_mle(model, moved[0], setting.box, thresholds_kev=moved[1], start=at, return_info=True)
        error = ((new[0] - at - slope @ (s * u)) / setting.cm).norm()
        out.append(float(error) if info.converged.all() else np.nan)
    return np.array(out)


def order(scale: float, errors: np.ndarray) -> float:
    """Slope of the errors against `steps_of(scale)` in logarithms."""
    return float(np.polyfit(np.log(steps_of(scale)), np.log(errors), 1)[0])


def fold_at(model: SpectralModel, cm: Tensor, water_cm: float = 20.0) -> float:
    """Calcium [cm] at which the Jacobian determinant changes sign behind some water; nan if it does not."""
    ca = torch.linspace(-0.5, 2.5, 3001, dtype=torch.float64)
    det = jacobian_determinant(model, torch.stack([torch.full_like(ca, water_cm), ca], -1) * cm)
    change = torch.nonzero(det[1:].sign() != det[:-1].sign()).flatten()
    return float(ca[change[0]]) if len(change) else float("nan")


def trained_proxy(
    open_beam: Tensor, low: Tensor, high: Tensor, samples, seed: int, beta: float, steps: int, batch: int = 512
):  # fmt: skip
    """A `ProxyDecomposition` in float32, trained on `solver_samples`; the seed sets its weights and its batches."""
    net = seeded(seed, ProxyDecomposition, open_beam, low, high).float()
    fit_proxy(net, tuple(t.float() for t in samples), steps, seed, beta, batch)
    return net


def proxy_errors(net: ProxyDecomposition, samples, cm: Tensor) -> list[float]:
    """rms error [cm] of the path lengths, and rms error of the relative count derivatives [cm]."""
    found, slope = relative_jacobian(net, samples[0].float())
    pairs = ((found, samples[1], cm), (slope, samples[2], cm[:, None]))
    return [float(((a.detach() - b) / c).square().mean().sqrt()) for a, b, c in pairs]


def by_rates(
    residual: Callable, start_kev: Tensor, optimizer: str, steps: int, rates: Sequence[float]
) -> tuple[Calibration, float]:
    """The calibration by Adam, and its rate, with the least objective of as many trials as rates; each falls to 0."""
    tried = {lr: calibrate(residual, start_kev, optimizer, steps, lr, "cosine") for lr in rates}
    best = min(tried, key=lambda lr: tried[lr].losses[-1])
    return tried[best], best


def seconds(*runs: Callable[[], object], repeats: int = 5) -> list[float]:
    """Median processor time of each run, taken in turns after a first round that is not counted."""
    taken = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, times in zip(runs, taken, strict=True):
            begin = time.process_time()
            run()
            times.append(time.process_time() - begin)
    return [float(np.median(t[1:])) for t in taken]


def by_scipy(model: SpectralModel, counts: Tensor, box) -> Tensor:
    """The same optimum (P, 2) with a general optimizer, a reading at a time: L-BFGS-B with the gradient."""
    from scipy.optimize import minimize

    f, spectra = model.attenuation.numpy(), float(model.photons) * model.bin_spectra().numpy()

    def likelihood(a, y):
        through = np.exp(-f @ a)
        expected = through @ spectra
        return (expected - y * np.log(expected)).sum(), -(f.T * through) @ (spectra @ (1 - y / expected))

    options = {"ftol": 1e-14, "gtol": 1e-8}
    first = np.array([5.0, 0.1])
    solve = partial(minimize, likelihood, first, jac=True, method="L-BFGS-B", bounds=box, options=options)
    return torch.tensor(np.stack([solve(args=(y,)).x for y in counts.numpy()]))
