"""Forked processes compute what their parent computes: GNU OpenMP would end them where they started its threads.

The kind of trouble of fast-array-utils#179: project once, then let a forked worker of a DataLoader project.
"""

import multiprocessing

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

pytest.importorskip("numba")
if "fork" not in multiprocessing.get_all_start_methods():
    pytest.skip("processes are not forked here", allow_module_level=True)

from ctlib.decompose import decompose_mle
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.physics import Detector, SpectralModel, Spectrum
from ctlib.projector import Projector
from ctlib.prox import prox_tv
from ctlib.recon import fbp

FLAT, DEEP = Volume((12, 12), 1.0), Volume((4, 12, 12), 1.0)
PARALLEL = ParallelBeam(FLAT, num_views=8, num_cols=20, pitch_mm=1.0)
FAN = FanBeam(FLAT, num_views=8, num_cols=20, pitch_mm=1.5, source_origin_mm=60.0, source_detector_mm=90.0)
CONE = ConeBeam(
    DEEP, num_views=6, num_cols=20, num_rows=6, pitch_mm=1.5, source_origin_mm=60.0, source_detector_mm=90.0
)


def image(geometry):
    return torch.rand(geometry.volume.shape, generator=torch.Generator().manual_seed(0))


def projected(geometry):
    A = Projector(geometry, backend="numba")
    y = A(image(geometry))
    return torch.cat([y.flatten(), A.T(y).flatten(), fbp(A, y).flatten()])


def decomposed():
    spectrum = Spectrum(torch.tensor([30.0, 50.0, 70.0, 90.0]), torch.tensor([0.3, 0.4, 0.3]))
    model = SpectralModel(
        spectrum, ("water", "calcium"), Detector.ideal(), thresholds_kev=(20, 50, 70, 100), photons=1e6
    )
    counts = model(torch.tensor([[3.0, 0.1], [10.0, 0.5], [20.0, 1.0]]))
    return decompose_mle(model, counts, box=((-5, 35), (-5, 10))).flatten()


def scattered():
    pytest.importorskip("xraylib")
    from ctlib.physics.scatter import VoxelPhantom, simulate_scatter, with_height

    phantom = VoxelPhantom.extruded(FLAT, ("water",), torch.full((1, 12, 12), 1.0), 12.0)
    fan = FanBeam(FLAT, 2, 4, 30.0, 500.0, 900.0, angles=(0.3, 2.0))
    spectrum = Spectrum(torch.tensor([49.0, 51.0, 61.0]), torch.tensor([0.5, 0.5]))
    tally = simulate_scatter(
        phantom, with_height(fan, 40.0), spectrum, (20, 80), 400, seed=1, num_batches=2, engine="compiled"
    )
    return tally.mean("multiple").flatten()


WORK = {
    "parallel beam": lambda: projected(PARALLEL),
    "fan beam": lambda: projected(FAN),
    "cone beam": lambda: projected(CONE),
    "decompose_mle": decomposed,
    "prox_tv": lambda: prox_tv(image(FAN), 0.1, 10).flatten(),
    "scatter": scattered,
}


class Calls(Dataset):
    """Sample k is what a call gives in the process that loads it."""

    def __init__(self, name):
        self.name = name

    def __len__(self):
        return 2

    def __getitem__(self, k):
        return WORK[self.name]()


@pytest.mark.parametrize("name", WORK)
def test_a_forked_worker_computes_what_its_parent_computes(name):
    here = WORK[name]()  # starts the threads of this process
    loader = DataLoader(Calls(name), batch_size=1, num_workers=2, multiprocessing_context="fork", timeout=300)
    for (there,) in loader:
        torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-6)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        torch.testing.assert_close(pool.apply_async(_listed, (name,)).get(300), here.tolist(), rtol=1e-5, atol=1e-6)


def _listed(name):
    return WORK[name]().tolist()
