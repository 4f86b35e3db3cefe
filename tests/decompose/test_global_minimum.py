"""Few counts: the minimum found is the lowest that a dense grid and L-BFGS-B find, which know nothing of the solver."""

import numpy as np
import pytest
import torch

from ctlib.decompose import decompose_mle
from ctlib.physics import Detector, SpectralModel, Spectrum

optimize = pytest.importorskip("scipy.optimize")

WATER_CALCIUM, THREE = ("water", "calcium"), ("water", "calcium", "iodine")
CASES = {
    "two": (WATER_CALCIUM, (15, 33, 45, 59, 120), ((-5, 35), (-5, 10)), (25.0, 1.5), 60),
    "two, not negative": (WATER_CALCIUM, (15, 33, 45, 59, 120), ((0, 35), (0, 10)), (25.0, 1.5), 60),
    "three": (THREE, (15, 30, 45, 59, 75, 120), ((-5, 40), (-5, 10), (-1, 1)), (30.0, 2.0, 0.02), 22),
}
PIXELS, NATS = 120, 1e-4


def scanned(case):
    """A model of pixels with 10 to 1000 counts in all bins together, and readings of it."""
    materials, thresholds, _, top, _ = CASES[case]
    g = torch.Generator().manual_seed(1)
    spectrum, detector = Spectrum.tungsten(120, {"Al": 3.0}), Detector.silicon(depth_mm=60)
    paths = torch.rand(PIXELS, len(materials), generator=g, dtype=torch.float64) * torch.tensor(top)
    one = SpectralModel(spectrum, materials, detector, thresholds)
    photons = 10 ** (1 + 2 * torch.rand(PIXELS, generator=g, dtype=torch.float64)) / one(paths).sum(-1)
    model = SpectralModel(spectrum, materials, detector, thresholds, photons=photons)
    return model, torch.poisson(model(paths), generator=g)


class Likelihood:
    """Negative logarithm of one pixel's likelihood and its gradient, in NumPy."""

    def __init__(self, model, counts, pixel):
        self.f, self.spectra = model.attenuation.numpy(), model.bin_spectra(None, counts).numpy()
        self.photons, self.counts = float(model.photons[pixel]), counts[pixel].numpy()

    def __call__(self, paths):
        depth = -self.f @ paths
        passed = np.exp(depth - depth.max())
        share = np.maximum(passed @ self.spectra, 1e-300)
        log = depth.max() + np.log(share) + np.log(self.photons)
        expected = np.exp(np.clip(log, -700, 300))
        slopes = -(self.spectra.T * passed) @ self.f / share[:, None]
        return (expected - self.counts * log).sum(), (expected - self.counts) @ slopes

    def lowest(self, box, per_axis):
        """The lowest of L-BFGS-B from the six lowest minima of a grid."""
        axes = [np.linspace(*bounds, per_axis) for bounds in box]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(box))
        expected = np.maximum(np.exp(np.clip(-grid @ self.f.T, -700, 300)) @ self.spectra * self.photons, 1e-300)
        values = (expected - self.counts * np.log(expected)).sum(1).reshape((per_axis,) * len(box))
        edge = np.pad(values, 1, constant_values=np.inf)
        middle = (slice(1, -1),) * len(box)
        around = [np.roll(edge, s, k)[middle] for k in range(len(box)) for s in (1, -1)]
        minima = np.flatnonzero(np.logical_and.reduce([values <= a for a in around]))
        minima = minima[np.argsort(values.ravel()[minima])[:6]]
        options = {"maxiter": 300, "ftol": 1e-15, "gtol": 1e-10}
        search = (
            optimize.minimize(self, grid[i], jac=True, method="L-BFGS-B", bounds=box, options=options) for i in minima
        )
        return min(found.fun for found in search)


@pytest.mark.parametrize("case", CASES)
def test_no_pixel_of_few_counts_ends_above_the_lowest_minimum(case):
    model, counts = scanned(case)
    *_, box, _, per_axis = CASES[case]
    pixels = [Likelihood(model, counts, i) for i in range(PIXELS)]
    best = np.array([pixel.lowest(box, per_axis) for pixel in pixels])
    for dtype in (torch.float64, torch.float32):
        own = SpectralModel(
            model.spectrum, model.materials, model.detector, CASES[case][1], photons=model.photons.to(dtype)
        )
        paths, info = decompose_mle(own, counts.to(dtype), box=box, return_info=True)
        found = np.array([pixel(p.double().numpy())[0] for pixel, p in zip(pixels, paths, strict=True)])
        assert bool(info.converged.all())
        assert (found - best).max() < NATS
        assert np.abs(found - info.nll.numpy()).max() < 1e-3
