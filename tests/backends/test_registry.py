"""The table of engines: what each entry promises, and what `auto` and a name stand for."""

import importlib.util

import pytest
import torch

from ctlib import backends
from ctlib.backends import registry
from ctlib.backends.reference.torch_engine import TorchEngine
from ctlib.errors import ArgumentError, MissingDependency
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.projector import Projector
from ctlib.recon.backproject import backproject

SCANS = {
    "parallel": ParallelBeam(Volume((6, 5), 0.8), 4, 9, 0.9, angles=[0.1, 0.9, -1.4, 2.9]),
    "fan": FanBeam(Volume((6, 5), 0.8), 3, 9, 0.9, source_origin_mm=8.0, source_detector_mm=12.0),
    "cone": ConeBeam(Volume((3, 4, 5), 0.8), 2, 7, 0.9, num_rows=5, source_origin_mm=8.0, source_detector_mm=12.0),
}


@pytest.mark.parametrize("kind", SCANS)
@pytest.mark.parametrize("name", backends.ENGINES)
def test_every_engine_is_two_linear_maps_and_their_transposes(name, kind):
    if name not in backends.available() or (name, kind) == ("astra", "cone"):
        pytest.skip(f"{name} does not run here on a {kind} scan")
    scan, g = SCANS[kind], torch.Generator().manual_seed(0)
    device = "cuda" if name == "triton" and torch.cuda.is_available() else "cpu"
    engine = backends.engine(name, scan)
    assert isinstance(engine, backends.Engine)
    x = torch.randn(2, *scan.volume.shape, generator=g, dtype=torch.float64).to(device)
    y = torch.randn(2, scan.num_rays, generator=g, dtype=torch.float64).to(device)
    q, weights = y.reshape(2, *scan.sino_shape), torch.rand(scan.num_views, generator=g, dtype=torch.float64)
    ours, back = engine.forward(x), engine.adjoint(y)
    torch.testing.assert_close((ours * y).sum(), (x * back).sum(), rtol=1e-12, atol=1e-12)
    assert (ours.shape, back.shape) == (y.shape, x.shape)
    image, data = engine.backproject(q, weights), engine.backproject_adjoint(x, weights)
    torch.testing.assert_close((image * x).sum(), (data * q).sum(), rtol=1e-12, atol=1e-12)
    expected = backends.engine("torch", scan).backproject(q.cpu(), weights)
    torch.testing.assert_close(image.cpu(), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("points", [1, 100])
def test_the_torch_engine_follows_all_rays_however_few_it_holds_at_once(monkeypatch, points):
    whole, parts = (backends.engine("torch", SCANS["cone"]) for _ in range(2))
    x, y = torch.rand(1, *SCANS["cone"].volume.shape).double(), torch.rand(1, SCANS["cone"].num_rays).double()
    expected = whole.forward(x), whole.adjoint(y)
    monkeypatch.setattr("ctlib.backends.reference.torch_engine.CHUNK", points)
    torch.testing.assert_close((parts.forward(x), parts.adjoint(y)), expected)


def test_a_new_engine_is_one_line_in_the_table(monkeypatch):
    entry = registry.Entry(None, ("cpu",), "reference.sparse_engine:MatrixEngine")
    monkeypatch.setattr(registry, "ENGINES", {"new": entry, **registry.ENGINES})
    assert backends.available()[0] == "new"
    assert backends.resolve("auto", "cpu") == "new"
    assert backends.resolve("auto", "cuda") != "new"
    assert type(Projector(SCANS["fan"])._engine("cpu")).__name__ == "MatrixEngine"
    with pytest.raises(ArgumentError, match=r"'new' for a tensor on cuda, needs a tensor on cpu, or backend='auto'"):
        backends.resolve("new", "cuda")


class HalfEngine(TorchEngine):
    """Takes half precision and computes in float32."""

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if name not in ("forward", "adjoint", "backproject", "backproject_adjoint"):
            return value
        return lambda t, *more: value(t.float(), *more).to(t.dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rays_per_bin", [1, 2])
def test_half_precision_goes_to_the_engines_that_take_it(monkeypatch, dtype, rays_per_bin):
    monkeypatch.setitem(registry.ENGINES, "half", registry.Entry(None, ("cpu",), HalfEngine, half=True))
    A, plain = (Projector(SCANS["fan"], name, rays_per_bin) for name in ("half", "torch"))
    x = torch.rand(2, *A.domain_shape, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    y, right = A(x), plain(x.detach().float())
    (slope,) = torch.autograd.grad(y.sum(), x)
    image = backproject(y.detach(), SCANS["fan"], torch.ones(3), "half")
    assert (y.dtype, slope.dtype, image.dtype, A.T(y.detach()).dtype) == (dtype,) * 4
    torch.testing.assert_close(y.detach().float(), right, rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("name", ["auto", "numba", "torch", "sparse"])
def test_half_precision_is_refused_by_the_others(name):
    A, scan = Projector(SCANS["fan"], name), SCANS["fan"]
    for call, argument, shape in (
        (A, "x", A.domain_shape),
        (A.T, "y", A.range_shape),
        (lambda q: backproject(q, scan, torch.ones(3), name), "q", A.range_shape),
    ):
        with pytest.raises(ArgumentError, match="needs float32 or float64") as caught:
            call(torch.ones(shape, dtype=torch.float16))
        assert caught.value.argument == argument


def test_auto_falls_back_to_torch_where_nothing_faster_is_installed(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("numba", "triton") else find(name))
    assert not {"numba", "triton"} & set(backends.available())
    assert [backends.resolve("auto", device) for device in ("cpu", "cuda", "mps")] == ["torch"] * 3


def test_a_missing_package_is_named_before_the_first_product(monkeypatch):
    entry = registry.Entry("fast-loops", ("cpu",), "cpu.fast_loops:Engine")
    monkeypatch.setattr(registry, "ENGINES", registry.ENGINES | {"fast": entry})
    with pytest.raises(MissingDependency, match="fast-loops is needed for the fast engine"):
        Projector(SCANS["fan"], "fast")
