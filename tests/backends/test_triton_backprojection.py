"""The GPU engine's back-projection against the CPU engine's: on a CUDA device, or in Triton's interpreter."""

import pytest
import torch
from interpreted import CONE, SCANS, pair
from kernel_device import CUDA, DEVICE, LARGE

from ctlib import backends
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.recon.backproject import backproject

PLANE = {name: scan for name, scan in SCANS.items() if scan.NDIM == 2} | {
    "source at the grid": FanBeam(
        Volume((6, 7)), 3, 9, 1.4, source_origin_mm=5.5, source_detector_mm=6.0, detector_offset_mm=1.0
    ),
    "cells of steep rays": FanBeam(Volume((6, 7)), 2, 3, 9.0, source_origin_mm=5.5, source_detector_mm=6.0),
}
CASES = PLANE | {
    "cone": ConeBeam(Volume((4, 5, 6), (0.9, 0.7, 1.1)), 3, 9, 1.1, num_rows=4, source_origin_mm=9.0,
                     source_detector_mm=14.0, detector_offset_mm=0.4),
    "cone, fine rows": ConeBeam(Volume((3, 3, 4)), num_cols=5, pitch_mm=2.0, num_rows=9, row_pitch_mm=0.4, **CONE),
    "cone, coarse rows": ConeBeam(Volume((7, 3, 2), (0.5, 1.0, 1.0)), num_cols=3, pitch_mm=2.0, num_rows=3,
                                  row_pitch_mm=4.0, **CONE),
}  # fmt: skip
BATCHES = [(name, 1, torch.float64) for name in CASES] + [
    (name, n, dtype) for name in ("parallel", "fan", "cone, fine rows")
    for n, dtype in ((3, torch.float64), (1, torch.float32), (5, torch.float32))
]  # fmt: skip
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}  # places are computed with 24 bits, like the CPU engine's


def weights_of(scan):
    return 0.5 + torch.rand(scan.num_views, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize(("name", "batch", "dtype"), BATCHES)
def test_it_computes_what_the_cpu_engine_computes_and_its_transpose(name, batch, dtype):
    scan, weights = CASES[name], weights_of(CASES[name])
    x, q = pair(scan, batch, dtype)
    engine, cpu = backends.engine("triton", scan), backends.engine("numba", scan)
    image, data = engine.backproject(q.to(DEVICE), weights), engine.backproject_adjoint(x.to(DEVICE), weights)
    expected = cpu.backproject(q.double(), weights), cpu.backproject_adjoint(x.double(), weights)
    for ours, right in zip((image, data), expected, strict=True):
        assert (ours.dtype, ours.device.type) == (dtype, DEVICE)
        assert float((ours.cpu() - right).abs().max()) <= TOLERANCE[dtype] * float(right.abs().max())
    left, right = (image.cpu().double() * x.double()).sum(), (q.double() * data.cpu().double()).sum()
    assert abs(left - right) <= TOLERANCE[dtype] * float(image.double().norm() * x.double().norm())


@pytest.mark.parametrize("name", ["fan", "cone, fine rows"])
def test_equal_calls_give_equal_bits(name):
    x, q = (t.to(DEVICE) for t in pair(CASES[name], 2, torch.float32))
    engine, again = (backends.engine("triton", CASES[name]) for _ in range(2))
    weights = weights_of(CASES[name])
    assert torch.equal(engine.backproject(q, weights), again.backproject(q, weights))
    assert torch.equal(engine.backproject_adjoint(x, weights), again.backproject_adjoint(x, weights))


def test_memory_layout_leading_axes_and_new_weights():
    scan = PLANE["one view"]
    (x, q), weights = (t.to(DEVICE) for t in pair(scan, 4)), weights_of(scan)
    image = backproject(q.unflatten(0, (2, 2)), scan, weights, "triton")
    turned = q.transpose(0, 2).contiguous().transpose(0, 2)
    assert torch.equal(backproject(turned, scan, weights, "triton"), image.flatten(0, 1))
    assert torch.equal(backproject(q, scan, 2 * weights, "triton"), 2 * image.flatten(0, 1))
    assert backproject(q[:0], scan, weights, "triton").shape == (0, *scan.volume.shape)
    assert backends.engine("triton", scan).backproject_adjoint(x[:0], weights).shape == (0, *scan.sino_shape)


@pytest.mark.parametrize("kind", ["parallel", "cone"])
def test_its_gradient_is_the_transpose(kind):
    scan = {
        "parallel": ParallelBeam(Volume((2, 3)), 2, 3, 0.9),
        "cone": ConeBeam(Volume((2, 2, 1)), num_cols=2, pitch_mm=1.5, num_rows=2, **CONE | {"num_views": 1}),
    }[kind]
    q = pair(scan, 1)[1].to(DEVICE).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: backproject(t, scan, weights_of(scan), "triton"), (q,))


def test_data_that_32_bits_cannot_number_are_refused():
    scan = ParallelBeam(Volume((1, 2)), 2, 2**30, 1.0)
    with pytest.raises(ArgumentError, match="2\\^31") as caught:
        backends.engine("triton", scan).backproject(torch.zeros(1, 1, 1).expand(1, *scan.sino_shape), torch.ones(2))
    assert caught.value.argument == "geometry"


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("batch", [1, 2, 7, 16])
@pytest.mark.parametrize("scan", LARGE.values(), ids=LARGE)
def test_it_computes_what_the_cpu_engine_computes_at_full_blocks(scan, batch, dtype):
    (x, q), weights = pair(scan, batch, dtype), weights_of(scan)
    engine, cpu = backends.engine("triton", scan), backends.engine("numba", scan)
    for name, given in (("backproject", q), ("backproject_adjoint", x)):
        ours = getattr(engine, name)(given.to(DEVICE), weights).cpu()
        right = getattr(cpu, name)(given.double(), weights)
        assert float((ours - right).abs().max() / right.abs().max()) < 10 * TOLERANCE[dtype]  # places of 9 bits more
