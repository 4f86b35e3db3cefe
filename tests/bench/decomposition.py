"""Material decomposition: 10,000 pixels, 4 bins, 2 materials, 100 energies; left out where it cannot be imported."""

from functools import partial

import torch
from timing import Contestant

BOX = ((-5, 35), (-5, 10))


def groups(pixels: int, notes: list[str]) -> list[list[Contestant]]:
    """Forward to convergence, and forward with the implicit backward pass."""
    try:
        from ctlib.decompose import decompose_mle
    except ImportError as error:
        notes.append(f"decomposition: left out, {error}")
        return []
    model, counts = problem(pixels)
    forward = partial(decompose_mle, model, counts, box=BOX)
    labels = {"geometry": "", "batch": pixels, "threads": torch.get_num_threads()}
    return [
        [Contestant("ctlib", forward, {"case": "decomposition", **labels})],
        [Contestant("ctlib", partial(with_gradient, model, counts), {"case": "decomposition + backward", **labels})],
    ]


def with_gradient(model, counts: torch.Tensor) -> None:
    """Decompose, and differentiate the sum by the counts."""
    from ctlib.decompose import decompose_mle

    counts = counts.clone().requires_grad_()
    decompose_mle(model, counts, box=BOX).sum().backward()


def problem(pixels: int):
    """A spectral model of 120 kV and counts (pixels, 4) of random thicknesses of water and calcium."""
    from ctlib.physics import Detector, SpectralModel, Spectrum

    spectrum = Spectrum.tungsten(kvp=120, filters_mm={"Al": 3.0})
    model = SpectralModel(
        spectrum, materials=("water", "calcium"), detector=Detector.silicon(depth_mm=60),
        thresholds_kev=(15, 33, 45, 59, 120), photons=1e6,
    )  # fmt: skip
    g = torch.Generator().manual_seed(0)
    paths = torch.rand(pixels, 2, generator=g) * torch.tensor([25.0, 1.5])
    return model, torch.poisson(model(paths).double(), generator=g).float()
