"""Spectral models on deep silicon, and readings of them."""

import pytest
import torch
from deep_silicon import THRESHOLDS


@pytest.fixture(scope="session")
def build():
    """A model of 120 kV on deep silicon; two materials and 2 keV bins unless asked otherwise."""
    pytest.importorskip("xraylib")
    from ctlib.physics import Detector, SpectralModel, Spectrum

    def make(materials=("water", "calcium"), thresholds=THRESHOLDS, photons=1e6, bin_kev=2.0, detector=None, **options):
        spectrum = Spectrum.tungsten(120, {"Al": 3.0}, bin_kev=bin_kev)
        detector = detector or Detector.silicon()
        return SpectralModel(spectrum, materials, detector, thresholds, photons=photons, **options)

    return make


@pytest.fixture(scope="session")
def model(build):
    return build()


@pytest.fixture(scope="session")
def draw():
    """Random path lengths (P, M) and their Poisson counts (P, E)."""

    def make(model, num, top=(25.0, 1.5), seed=0, noisy=True):
        g = torch.Generator().manual_seed(seed)
        paths = torch.rand(num, len(top), generator=g, dtype=torch.float64) * torch.tensor(top, dtype=torch.float64)
        counts = model(paths)
        return paths, torch.poisson(counts, generator=g) if noisy else counts

    return make
