"""Material decomposition: the layer, its slow companions, what the likelihood says; the solver's parts are inner."""

import torch

from ctlib.physics import Detector, SpectralModel, Spectrum

BOX = ((-5.0, 35.0), (-5.0, 10.0))


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def model(thresholds=(20, 50, 70, 90, 120)):
    spectrum = Spectrum([20.0, 40.0, 60.0, 80.0, 100.0, 120.0], [1.0, 3.0, 2.0, 1.5, 0.5])
    return SpectralModel(spectrum, ("water", "calcium"), Detector.ideal(), thresholds, photons=1e5)


def paths():
    return rand(3, 2) * torch.tensor([10.0, 1.0], dtype=torch.float64)


def counts():
    return model()(paths()) * torch.tensor([1.01, 0.99, 1.0, 1.0], dtype=torch.float64)


LAYER = "ctlib.decompose.mle.decompose_mle"
EXAMPLES = {
    LAYER: lambda: dict(model=model(), counts=counts(), box=BOX, max_iters=60, tolerance=1e-8,
                        start=torch.tensor([5.0, 0.1], dtype=torch.float64)),
    "ctlib.decompose.images.decompose_images": lambda: dict(
        images=rand(2, 4, 3, 3), matrix=rand(4, 2, seed=1), weights=rand(4, seed=2)
    ),
    "ctlib.decompose.reference.simplex.decompose_simplex": lambda: dict(
        model=model(), counts=counts()[:1], box=BOX, max_iters=20
    ),
    "ctlib.decompose.reference.unrolled.decompose_unrolled": lambda: dict(
        model=model(), counts=counts(), box=BOX, num_iters=4
    ),
    "ctlib.decompose.sensitivity.counts_jacobian": lambda: dict(
        model=model(), counts=counts(), paths=paths(), box=BOX
    ),
    "ctlib.decompose.sensitivity.cramer_rao": lambda: dict(model=model(), paths=paths()),
    "ctlib.decompose.sensitivity.fisher_information": lambda: dict(model=model(), paths=paths()),
    "ctlib.decompose.sensitivity.jacobian_determinant": lambda: dict(model=model((20, 60, 120)), paths=paths()),
    "ctlib.decompose.likelihood.negative_log_likelihood": lambda: dict(expected=rand(3, 4), counts=rand(3, 4, seed=1)),
}  # fmt: skip
INNER = "a part of the solver, which decompose_mle calls with what it has checked"
SKIP = {
    **{f"ctlib.decompose.{m}.*": INNER for m in
       ("few", "direct", "engine", "fixed", "gradient", "layer", "newton", "pieces", "restart", "small", "start")},
    **{f"ctlib.decompose.mle.{n}": INNER for n in ("posed", "start_paths", "usual_spectra", "Decomposition")},
    **{f"ctlib.decompose.likelihood.{n}": INNER for n in ("score", "curvature")},
}  # fmt: skip
