"""The interpolating back-projection: compiled loops against the loops in torch, and both against their transpose."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctlib import backends
from ctlib.cpu import threads
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.recon import backproject as module
from ctlib.recon.backproject import backproject

RULES = settings(deadline=None, max_examples=25, derandomize=True)
KINDS = ("parallel", "fan", "cone")
BOTH = ("backproject", "backproject_adjoint")


@st.composite
def scans(draw, kinds=KINDS):
    """Random scans: odd and even sizes, anisotropic voxels, offsets, single views, detectors small and coarse."""
    kind = draw(st.sampled_from(kinds))
    shape = tuple(draw(st.integers(1, 9 if kind == "cone" else 40)) for _ in range(3 if kind == "cone" else 2))
    volume = Volume(shape, tuple(draw(st.floats(0.2, 4)) for _ in shape))
    views = draw(st.integers(1, 4))
    common = {
        "volume": volume, "num_views": views, "num_cols": draw(st.integers(1, 40)), "pitch_mm": draw(st.floats(0.2, 4)),
        "angles": [draw(st.floats(-7, 7)) for _ in range(views)], "detector_offset_mm": draw(st.floats(-5, 5)),
    }  # fmt: skip
    if kind == "parallel":
        return ParallelBeam(**common)
    origin = volume.reach_mm * draw(st.floats(1.02, 4)) + 0.01
    common |= {"source_origin_mm": origin, "source_detector_mm": origin * draw(st.floats(0.8, 2.5))}
    if kind == "fan":
        return FanBeam(**common)
    return ConeBeam(**common, num_rows=draw(st.integers(1, 20)), row_pitch_mm=draw(st.floats(0.2, 4)))


def random_case(geometry, batch=2, dtype=torch.float64, seed=0):
    """Data, an image and view weights of a geometry."""
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(batch, *geometry.sino_shape, generator=g, dtype=torch.float64).to(dtype)
    x = torch.randn(batch, *geometry.volume.shape, generator=g, dtype=torch.float64).to(dtype)
    return q, x, torch.rand(geometry.num_views, generator=g, dtype=torch.float64)


@RULES
@given(scans())
def test_compiled_and_torch_loops_agree_to_rounding(geometry):
    q, x, weights = random_case(geometry)
    compiled, loops = (backends.engine(name, geometry) for name in ("numba", "torch"))
    for name, given_ in zip(BOTH, (q, x), strict=True):
        expected, found = getattr(loops, name)(given_, weights), getattr(compiled, name)(given_, weights)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max() + 1))


@pytest.mark.parametrize("name", ["numba", "torch"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@RULES
@given(geometry=scans())
def test_an_engine_s_adjoint_is_the_exact_transpose(name, dtype, bound, geometry):
    q, x, weights = random_case(geometry, dtype=dtype)
    engine = backends.engine(name, geometry)
    image, sino = engine.backproject(q, weights), engine.backproject_adjoint(x, weights)
    left, right = (image.double() * x).sum(), (q.double() * sino).sum()
    assert abs(left - right) <= bound * (image.double().norm() * x.norm() + 1e-30)


@pytest.mark.parametrize("without_numba", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_any_order(kind, without_numba, monkeypatch):
    if without_numba:
        monkeypatch.setattr(backends.registry, "_installed", lambda name: name == "torch")
    q, _, weights = random_case(SMALL[kind], batch=1)
    assert torch.autograd.gradcheck(lambda t: backproject(t, SMALL[kind], weights), q.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda t: backproject(t, SMALL[kind], weights), q)


SMALL = {
    "parallel": ParallelBeam(Volume((3, 4), 0.8), 3, 5, 0.9),
    "fan": FanBeam(Volume((3, 4), 0.8), 3, 5, 0.9, source_origin_mm=8.0, source_detector_mm=12.0),
    "cone": ConeBeam(Volume((2, 3, 3), 0.8), 2, 4, 0.9, num_rows=3, source_origin_mm=8.0, source_detector_mm=12.0),
}


def test_the_engine_is_the_projector_s_choice_and_follows_the_installation(monkeypatch):
    used = []
    monkeypatch.setattr(module, "_engine", lambda name, scan: used.append(name) or backends.engine(name, scan))
    q, _, weights = random_case(SMALL["fan"])
    image = backproject(q, SMALL["fan"], weights)
    monkeypatch.setattr(backends.registry, "_installed", lambda name: name == "torch")
    torch.testing.assert_close(backproject(q, SMALL["fan"], weights), image)
    assert used == ["numba", "torch"]


def test_what_it_cannot_take_is_refused_by_name():
    q, _, weights = random_case(SMALL["fan"])
    for wrong in (q.half(), q.mT, q.to(torch.complex64), q[..., 0]):
        with pytest.raises(ArgumentError, match="q: got"):
            backproject(wrong, SMALL["fan"], weights)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_gives_an_empty_batch(kind):
    q, _, weights = random_case(SMALL[kind], batch=0)
    q.requires_grad_()
    image = backproject(q, SMALL[kind], weights)
    assert image.shape == (0, *SMALL[kind].volume.shape)
    assert torch.autograd.grad(image.sum(), q)[0].shape == q.shape


@pytest.mark.parametrize("kind", KINDS)
def test_leading_axes_dtype_and_memory_layout(kind):
    geometry = SMALL[kind]
    q, _, weights = random_case(geometry, batch=6)
    whole = backproject(q.unflatten(0, (2, 3)), geometry, weights)
    assert whole.shape == (2, 3, *geometry.volume.shape)
    torch.testing.assert_close(whole[1, 2], backproject(q[5], geometry, weights))
    turned = q.transpose(0, -1).contiguous().transpose(0, -1)
    torch.testing.assert_close(backproject(turned, geometry, weights), whole.flatten(0, 1))
    assert backproject(q.float(), geometry, weights).dtype == torch.float32
    (slope,) = torch.autograd.grad(backproject(q.requires_grad_(), geometry, weights).sum(), q)
    assert slope.shape == q.shape  # the gradient of a sum arrives expanded, without memory of its own


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_threads_gives_the_same_bits(kind, monkeypatch):
    shape, more = ((5, 40, 40), {"num_rows": 9}) if kind == "cone" else ((40, 40), {})
    scan = replace(SMALL[kind], volume=Volume(shape, 0.1), **more)
    q, x, weights = random_case(scan)
    engine, results = backends.engine("numba", scan), []
    for num in (1, 4):
        monkeypatch.setattr(threads, "num_threads", lambda num=num: num)
        results.append((engine.backproject(q, weights), engine.backproject_adjoint(x, weights)))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_repeated_calls_give_the_same_bits():
    geometry = FanBeam(Volume((50, 70)), 30, 90, 1.1, source_origin_mm=100.0, source_detector_mm=150.0)
    q, x, weights = random_case(geometry, dtype=torch.float32)
    for name, given_ in zip(BOTH, (q, x), strict=True):
        run = getattr(backends.engine("numba", geometry), name)
        assert torch.equal(run(given_, weights), run(given_, weights))


WITHOUT_PERMUTATION = """
import torch
from ctlib import backends
from ctlib.backends.cpu.simd_features import has_avx512
from ctlib.geometry import ParallelBeam, Volume
assert not has_avx512()
scan = ParallelBeam(Volume((20, 21)), 5, 30, 0.9)
q, weights = torch.rand(2, 5, 30, generator=torch.Generator().manual_seed(0)), torch.ones(5)
one, other = (backends.engine(name, scan).backproject(q, weights) for name in ("numba", "torch"))
torch.testing.assert_close(one, other)
"""


@pytest.mark.long
def test_a_machine_without_avx512_gets_the_same_image(tmp_path):
    """The compiler is told of a machine without any extension: the lookup becomes one load per sample."""
    env = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", WITHOUT_PERMUTATION], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_gives_the_same_image(kind):
    q, x, weights = random_case(SMALL[kind])
    cpu, cuda = (backends.engine(backends.resolve("auto", device), SMALL[kind]) for device in ("cpu", "cuda"))
    for name, given_ in zip(BOTH, (q, x), strict=True):
        expected, found = getattr(cpu, name)(given_, weights), getattr(cuda, name)(given_.cuda(), weights)
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-10, atol=1e-10)


def test_fbp_takes_the_back_projection_of_the_projector_s_engine(monkeypatch):
    from ctlib.backends import ENGINES
    from ctlib.backends.reference.torch_engine import TorchEngine
    from ctlib.backends.registry import Entry
    from ctlib.projector import Projector
    from ctlib.recon import fbp

    class Doubled(TorchEngine):
        def backproject(self, q, view_weights):
            return 2 * super().backproject(q, view_weights)

    monkeypatch.setitem(ENGINES, "doubled", Entry(None, (), Doubled))
    scan = ParallelBeam(Volume((8, 8)), 5, 12, 1.0)
    y = torch.rand(scan.sino_shape, dtype=torch.float64)
    assert torch.allclose(fbp(Projector(scan, "doubled"), y), 2 * fbp(Projector(scan, "torch"), y))


@pytest.mark.parametrize("weights", [torch.ones(4), torch.ones(5, requires_grad=True)])
def test_view_weights_of_another_number_or_with_a_gradient_are_refused(weights):
    scan = ParallelBeam(Volume((8, 8)), 5, 12, 1.0)
    with pytest.raises(ArgumentError, match="view_weights"):
        backproject(torch.rand(scan.sino_shape), scan, weights)
