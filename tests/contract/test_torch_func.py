"""`torch.func` on every operator, layer and hand-written function: products, vmap, Jacobians, second derivatives.

A case is a function of one float64 tensor. Every torch.autograd.Function of the library belongs to a case.
"""

import importlib.util
import inspect
from functools import partial

import pytest
import torch
from public import modules
from torch import Tensor
from torch.func import hessian, jacfwd, jacrev, jvp, vjp, vmap

from ctlib import metrics, prox
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.linop import FunctionOperator, from_matrix, linear_map, scaled
from ctlib.losses import l1_ssim_loss
from ctlib.metrics.calibration import standardized_residuals
from ctlib.metrics.contrast import contrast_to_noise
from ctlib.nets.unet import make_unet
from ctlib.papers.dip.operators import Downsample, Identity, Mask
from ctlib.papers.pcct.scatter_net import limit_gradient
from ctlib.physics import Detector, SpectralModel, Spectrum
from ctlib.projector import Projector
from ctlib.recon import cgls, fbp, sirt
from ctlib.recon.backproject import backproject
from ctlib.recon.tv import tv_objective, tv_reconstruct
from ctlib.units import hu_from_mu, mu_from_hu

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]

PLANE, SPACE = Volume((3, 4), 1.0), Volume((2, 3, 3), 1.0)
GEOMETRIES = {
    "parallel": ParallelBeam(PLANE, 3, 6, 1.0),
    "fan": FanBeam(PLANE, 3, 5, 1.8, source_origin_mm=15.0, source_detector_mm=30.0, detector_offset_mm=0.3),
    "cone": ConeBeam(SPACE, 2, 4, 2.0, num_rows=3, source_origin_mm=15.0, source_detector_mm=30.0),
}
ENGINES = [name for name in Projector.backends() if name != "triton"]  # the interpreter takes minutes
WHERE = {  # every torch.autograd.Function of the library: the cases that go through it, or its own test elsewhere
    "ctlib.linop._LinearMap": "projector",
    "ctlib.papers.pcct.scatter_net._Limited": "limited gradient",
    "ctlib.implicit._Attached": "tests/test_implicit.py",
    "ctlib.decompose.direct._Solution": "tests/decompose/test_direct.py",
    "ctlib.decompose.layer.Solution": "tests/decompose/test_transforms.py",
    "ctlib.decompose.layer.Adjoint": "tests/decompose/test_transforms.py",
}


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_cases():
    for engine in ENGINES:
        for name, geometry in GEOMETRIES.items():
            for rays_per_bin in (1, 2) if engine != "astra" or geometry.NDIM == 2 else ():
                A = Projector(geometry, engine, rays_per_bin)
                yield f"projector {engine} {name} {rays_per_bin}", A, rand(*A.domain_shape)
                yield f"back {engine} {name} {rays_per_bin}", A.T, rand(*A.range_shape)
    for engine in ("numba", "torch"):
        for name, g in GEOMETRIES.items():
            weights = torch.full((g.num_views,), 0.7, dtype=torch.float64)
            call = partial(backproject, geometry=g, view_weights=weights, backend=engine)
            yield f"backproject {engine} {name}", call, rand(*g.sino_shape)
    for name in ("parallel", "fan", "cone"):
        yield f"fbp {name}", partial(fbp, Projector(GEOMETRIES[name], "torch")), rand(*GEOMETRIES[name].sino_shape)
    A, M = Projector(GEOMETRIES["parallel"], "torch"), from_matrix(rand(3, 4))
    yield "sirt", lambda y: sirt(A, y, 3), rand(*A.range_shape)
    yield "gradient", prox.gradient, rand(3, 4)
    yield "gradient 3-D", partial(prox.gradient, ndim=3), rand(2, 3, 2)
    yield "gradient adjoint", prox.gradient_adjoint, rand(2, 3, 4)
    yield "matrix", M, rand(4)
    yield "matrix back", M.T, rand(3)
    yield "scaled", scaled(M, 3.0), rand(4)
    yield "functions", FunctionOperator(lambda x: x.flip(-1), lambda y: y.flip(-1), (4,), (4,)), rand(4)
    yield (
        "hand-written",
        partial(linear_map, apply=lambda t: t.roll(1, -1), transpose=lambda t: t.roll(-1, -1)),
        rand(4),
    )
    for name, B in {
        "identity": Identity((3, 4)),
        "mask": Mask(rand(4, 4) > 0.5),
        "low-pass": Downsample((4, 4), 2),
    }.items():
        yield name, B, rand(*B.domain_shape)
        yield f"{name} back", B.T, rand(*B.range_shape, seed=1)
    yield "to HU", hu_from_mu, rand(3, 4)
    yield "from HU", mu_from_hu, rand(3, 4)


def smooth_cases():
    """Curved ones, smooth where they are tried."""
    A = Projector(GEOMETRIES["parallel"], "torch")
    image, data = rand(*A.domain_shape), rand(*A.range_shape)
    ref, mask = rand(12, 12, seed=1), rand(12, 12, seed=2) > 0.4
    yield "cgls", lambda y: cgls(A, y, 3), data
    yield "tv reconstruction", lambda y: tv_reconstruct(A, y, 0.01, 3, prox_iters=2), data
    yield "tv objective", lambda x: tv_objective(A, x, data, 0.1), image
    yield "total variation", prox.total_variation, rand(3, 4)
    yield "length", prox.length, rand(2, 3, 4)
    yield "shrink", partial(prox.shrink, tau=0.2), rand(3, 4)
    yield "shrink isotropic", partial(prox.shrink_isotropic, tau=0.2), rand(2, 3, 4)
    yield "ball", partial(prox.project_ball, radius=0.2), rand(2, 3, 4)
    yield "box", partial(prox.project_box, low=0.25, high=0.75), rand(3, 4)
    yield "tv prox", lambda v: prox.prox_tv(v, 0.1, 4, nonneg=True), rand(3, 4)
    yield "tv prox's weight", lambda w: prox.prox_tv(image, w, 4), torch.tensor(0.05, dtype=torch.float64)
    yield "rmse", lambda x: metrics.rmse(x, ref, mask), rand(12, 12)
    yield "psnr", lambda x: metrics.psnr(x, ref, data_range=1.0), rand(12, 12)
    yield "nmse", lambda x: metrics.nmse(ref, x), rand(12, 12)
    yield "ssim", lambda x: metrics.ssim(x, ref, data_range=1.0), rand(12, 12)
    yield "image loss", lambda x: l1_ssim_loss(x, ref, data_range=1.0), rand(12, 12)
    yield "contrast to noise", lambda x: contrast_to_noise(x, ref > 0.6, ref < 0.5), rand(12, 12)
    yield "residuals", lambda x: standardized_residuals(x, ref, ref), rand(12, 12)
    yield "network", make_unet(0, 1, 1, width=2, depth=1).double(), rand(1, 1, 4, 4)
    if importlib.util.find_spec("xraylib"):
        spectrum = Spectrum.tungsten(80, {"Al": 3.0}, bin_kev=8.0)
        model = SpectralModel(spectrum, ("water", "calcium"), Detector.silicon(), (15, 33, 80), photons=1e3)
        yield "spectral model", model, rand(3, 2)
    yield "limited gradient", partial(limit_gradient, limit=1e3), rand(3, 4)


LINEAR = {name: case for name, *case in linear_cases()}
SMOOTH = {name: case for name, *case in smooth_cases()}
CASES = LINEAR | SMOOTH


def close(a: Tensor, b: Tensor):
    scale = max(float(b.abs().max()), 1e-3) if b.numel() else 1.0
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize("name", CASES)
def test_products_with_the_jacobian(name):
    """vjp, jvp, jacrev and jacfwd agree with each other and with autograd."""
    f, x = CASES[name]
    y, back = vjp(f, x)
    u, v = rand(*x.shape, seed=3), rand(*y.shape, seed=4)
    close(y, f(x))
    leaf = x.clone().requires_grad_()
    close(back(v)[0], torch.autograd.grad(f(leaf), leaf, v)[0])
    same, along = jvp(f, (x,), (u,))
    close(same, y)
    if name in LINEAR and "HU" not in name:
        close(along, f(u))
    J = jacrev(f)(x)
    close(jacfwd(f)(x), J)
    close(torch.tensordot(J, u, x.ndim), along)
    close(torch.tensordot(v, J, y.ndim), back(v)[0])


@pytest.mark.parametrize("name", CASES)
def test_vmap_is_a_loop(name):
    """Over the first axis and the last, of the function and of its derivative."""
    f, x = CASES[name]
    xs = torch.stack([x, x * 0.9 + 0.01, x.flip(-1) if x.ndim else x])
    expected = torch.stack([f(one) for one in xs])
    close(vmap(f)(xs), expected)
    close(vmap(f, in_dims=-1, out_dims=-1)(xs.movedim(0, -1)), expected.movedim(0, -1))
    close(vmap(vmap(f))(xs[None])[0], expected)
    slope = torch.func.grad(lambda t: f(t).square().sum())
    close(vmap(slope)(xs), torch.stack([slope(one) for one in xs]))


@pytest.mark.parametrize("name", CASES)
def test_second_derivatives(name):
    """Forward over reverse, reverse over reverse, and autograd's double backward."""
    f, x = CASES[name]
    loss = lambda t: f(t).square().sum()  # noqa: E731
    H = hessian(loss)(x)
    close(jacrev(jacrev(loss))(x), H)
    leaf = x.clone().requires_grad_()
    (g,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    (Hu,) = torch.autograd.grad((g * rand(*x.shape, seed=3)).sum(), leaf)
    close(Hu, torch.tensordot(H, rand(*x.shape, seed=3), x.ndim))


@pytest.mark.parametrize("name", CASES)
def test_derivatives_are_those_of_differences(name):
    f, x = CASES[name]
    leaf = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(f, leaf, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(f, leaf, fast_mode=True)


def test_every_hand_written_function_has_a_case():
    found = {
        f"{module.__name__}.{name}"
        for module in modules()
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, torch.autograd.Function) and value.__module__ == module.__name__
    }
    assert found - set(WHERE) == set()
    assert all(any(case.startswith(where) for case in CASES) or where.startswith("tests/") for where in WHERE.values())


def test_a_limited_gradient_is_limited_in_every_mode():
    x, v = rand(3), torch.tensor([5.0, -5.0, 0.1], dtype=torch.float64)
    expected = torch.tensor([0.5, -0.5, 0.1], dtype=torch.float64)
    close(vjp(partial(limit_gradient, limit=0.5), x)[1](v)[0], expected)
    rows = vmap(lambda t, w: vjp(partial(limit_gradient, limit=0.5), t)[1](w)[0])(x.expand(2, 3), torch.stack([v, v]))
    close(rows, expected.expand(2, 3))
