"""Example calls of ctlib.papers.pcct: calibration, kernel, networks and what smooths scatter."""

import torch

from ctlib.nets.seeded import seeded
from ctlib.papers.pcct.proxy import ProxyDecomposition
from ctlib.papers.pcct.scatter_kernel import ScatterKernel
from ctlib.papers.pcct.scatter_net import ScatterNet
from ctlib.physics import Detector, SpectralModel, Spectrum

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # loads what it needs: seconds that no timed call has


def rand(*shape, seed=0, low=0.1, high=1.0):
    g = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


def model():
    spectrum = Spectrum([20.0, 40.0, 60.0, 80.0], [1.0, 2.0, 1.5])
    return SpectralModel(spectrum, ("water", "calcium"), Detector.ideal(), (25, 50, 75), photons=1e4)


def net():
    return seeded(0, ScatterNet, 2, (3, 4), ndim=1, last_stride=1).double().eval()


def proxy():
    return seeded(0, ProxyDecomposition, f64([2e3, 3e3]), f64([0.0, 0.0]), f64([25.0, 1.5]), width=4).double()


def kernel():
    return ScatterKernel(f64([0.8, 1.1]), f64([[0.02], [0.03]]), f64([[2.0], [3.0]]))


def misfit(shift):
    return shift - 0.3


_P = "ctlib.papers.pcct."
EXAMPLES = {
    _P + "calibration.corrected": lambda: dict(thresholds_kev=f64([20.0, 40.0, 70.0]), shift_kev=rand(2)),
    _P + "calibration.calibrate": lambda: dict(
        residual=misfit, start_kev=rand(2), optimizer="adam_l2", num_iters=2, lr=0.5
    ),
    _P + "bodies.basis_of_hu": lambda: dict(hu=1000 * rand(3, 4) - 500),
    _P + "panels.smooth_panels": lambda: dict(tally=rand(2, 4, 5), shape=(6, 7), modes=(2, 3)),
    _P + "panels.smooth_cells": lambda: dict(tally=rand(2, 4, 5), modes=(2, 3)),
    _P + "panels.smooth_circle": lambda: dict(tally=rand(6, 3), harmonics=2, finer=2),
    _P + "one_step.edge_penalty": lambda: dict(z=rand(2, 4, 5), knee=0.1),
    _P + "one_step.noise_and_bias": lambda: dict(
        images=rand(3, 2, 4, 5), truth=rand(2, 4, 5, seed=1), inside=torch.ones(4, 5, dtype=torch.bool)
    ),
    _P + "proxy.ProxyDecomposition.forward": lambda: dict(call=proxy().forward, counts=rand(3, 2, high=100.0)),
    _P + "proxy.relative_jacobian": lambda: dict(net=proxy(), counts=rand(3, 2, high=100.0)),
    _P + "proxy.sobolev_loss": lambda: dict(
        estimate=(rand(3, 2, seed=1), rand(3, 2, 2, seed=2)), paths=rand(3, 2), jacobian=rand(3, 2, 2, seed=3),
        size=rand(2, seed=4), beta=0.5,
    ),
    _P + "proxy.solver_samples": lambda: dict(
        model=model(), low=f64([1.0, 0.1]), high=f64([5.0, 0.5]), num=3, generator=torch.Generator().manual_seed(0)
    ),
    _P + "scatter_kernel.ScatterKernel.scatter": lambda: dict(call=kernel().scatter, total=rand(2, 3, 8)),
    _P + "scatter_kernel.ScatterKernel.correct": lambda: dict(call=kernel().correct, total=rand(2, 3, 8)),
    _P + "scatter_kernel.fit_scatter_kernel": lambda: dict(
        total=rand(2, 1, 3, 8), scatter=0.1 * rand(2, 1, 3, 8, seed=1), start_widths=(2.0,), max_iters=2
    ),
    _P + "scatter_net.ScatterNet.forward": lambda: dict(call=net().forward, counts=rand(3, 2, 8)),
    _P + "scatter_net.scatter_ratio": lambda: dict(net=net(), counts=rand(2, 2, 3, 8)),
    _P + "scatter_net.without_scatter": lambda: dict(counts=rand(2, 3), ratio=rand(2, 3, seed=1)),
    _P + "scatter_net.direct_loss": lambda: dict(
        ratio=rand(2, 3), counts=rand(2, 3, seed=1), scatter=rand(2, 3, seed=2)
    ),
    _P + "scatter_net.limit_gradient": lambda: dict(x=rand(2, 3), limit=0.5),
    _P + "scatter_net.cross_loss": lambda: dict(
        ratio=rand(2, 2, 3, 4), counts=rand(2, 2, 3, 4, seed=1), reference=rand(2, 2, 3, 4, seed=2),
        decompose=lambda c: 2 * c, reconstruct=lambda p: 3 * p, gradient_limit=1e-3,
    ),
}  # fmt: skip

WIRING = "the chapter's wiring of its tests; every call is in tests/papers/pcct"
SKIP = {
    _P + "calibration.Calibration": "a record of results",
    _P + "calibration.image_residual": "makes a function, see tests/papers/pcct/test_calibration.py",
    _P + "calibration.thickness_residual": "makes a function, see tests/papers/pcct/test_calibration.py",
    _P + "calibration.threshold_jacobian": "a solve of `decompose_mle`, which checks its counts and thresholds",
    _P + "experiment.*": WIRING,
    _P + "proxy.ProxyDecomposition": "weights are drawn from the global stream: see seeded",
    _P + "scatter_net.ScatterNet": "weights are drawn from the global stream: see seeded",
    _P + "proxy.WithJacobian.forward": "relative_jacobian",
    _P + "bodies.*": "reads files, or makes bodies of them; tested with both",
    _P + "beyond.*": WIRING,
    _P + "blind.*": "solves of `decompose_mle`, which checks its counts; tests/papers/pcct/test_beyond_the_paper.py",
    _P + "calibration.reached": WIRING,
    _P + "one_step.*": "reconstructions, seconds a call: tests/papers/pcct/test_beyond_the_paper.py",
    _P + "panel_compare.*": WIRING,
    _P + "panel_study.*": WIRING,
    _P + "panel_test.*": WIRING,
    _P + "panels.*": "seconds a call, or steps of it: tests/papers/pcct/test_scatter_panels.py",
    _P + "pictures.*": "solves of `decompose_mle`, which checks its counts; tests/papers/pcct/test_beyond_the_paper.py",
    _P + "pileup.*": "solves and models with arguments of their own: tests/papers/pcct/test_beyond_the_paper.py",
    _P + "scatter_chapter.*": WIRING,
    _P + "scatter_kernel.ScatterKernel": "a record of fitted parameters",
    _P + "scatter_kernel.*": "steps of the fit, with what it has checked",
    _P + "training.*": "trainings, seconds a call: tests/papers/pcct/test_training.py",
}
ALLOW = {
    _P + "calibration.calibrate": {
        "start_kev: batch": "the path's first axis counts the evaluations",
        "start_kev: missing axis": "the path's first axis counts the evaluations",
    },
    _P + "bodies.basis_of_hu": {
        "hu: batch": "materials are the first axis",
        "hu: missing axis": "materials are the first axis",
    },
    _P + "panels.smooth_circle": {
        "tally: batch": "views are the first axis",
        "tally: missing axis": "views are the first axis",
    },
    _P + "one_step.edge_penalty": {
        "z: batch": "a sum over all images",
        "z: missing axis": "a sum over all images",
        "z: empty batch": "the sum over no image is 0",
    },
}
