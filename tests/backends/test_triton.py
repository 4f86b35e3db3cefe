"""The GPU engine against the stored matrix: on a CUDA device, or on small cases in Triton's interpreter."""

import os

import pytest
import torch

from ctlib import backends
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.linop import dot_test
from ctlib.projector import Projector

CUDA = torch.cuda.is_available()
if not CUDA and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1: make test-triton", allow_module_level=True)
triton = pytest.importorskip("triton", reason="needs triton: pip install 'ctlib-book[interpreter]'")
if not CUDA and tuple(int(n) for n in triton.__version__.split(".")[:2]) < (3, 9):
    pytest.skip(f"needs triton >= 3.9: the interpreter of {triton.__version__} has no loops", allow_module_level=True)

DEVICE = "cuda" if CUDA else "cpu"
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
CONE = {"num_views": 2, "source_origin_mm": 9.0, "source_detector_mm": 14.0}
SCANS = {
    "parallel": ParallelBeam(Volume((12, 11)), 7, 19, 0.8, detector_offset_mm=0.3),
    "one view": ParallelBeam(Volume((5, 12), (0.7, 1.4)), 1, 33, 0.5, angles=[-2.2]),
    "one row": ParallelBeam(Volume((1, 7)), 3, 9, 0.9, angles=[0.1, 1.3, -2.0]),
    "coarse bins": ParallelBeam(Volume((12, 12)), 5, 20, 3.5),
    "fine bins": ParallelBeam(Volume((5, 6)), 3, 60, 0.15),
    "some rays miss": ParallelBeam(Volume((6, 5)), 3, 21, 1.0, detector_offset_mm=8.0),
    "fan": FanBeam(Volume((12, 9), (0.7, 1.0)), 7, 21, 1.3, source_origin_mm=9.0, source_detector_mm=21.0),
    "wide fan": FanBeam(Volume((9, 10)), 3, 40, 1.0, source_origin_mm=8.5, source_detector_mm=12.0),
    "cone": ConeBeam(Volume((5, 7, 6), (0.9, 0.7, 1.1)), 3, 9, 1.1, num_rows=4, source_origin_mm=9.0,
                     source_detector_mm=14.0, detector_offset_mm=0.4),
    "cone, many columns": ConeBeam(Volume((3, 5, 6)), num_cols=21, pitch_mm=0.5, num_rows=3, **CONE),
    "cone, fine rows": ConeBeam(Volume((3, 4, 4)), num_cols=5, pitch_mm=2.0, num_rows=10, row_pitch_mm=0.4, **CONE),
    "cone, coarse rows": ConeBeam(Volume((8, 4, 4), (0.5, 1.0, 1.0)), num_cols=5, pitch_mm=2.0, num_rows=3,
                                  row_pitch_mm=4.0, **CONE),
    "steep cone": ConeBeam(Volume((9, 4, 3), (0.3, 1.0, 1.0)), num_cols=5, pitch_mm=1.1, num_rows=6, row_pitch_mm=2.5,
                           **CONE),
}  # fmt: skip
BATCHES = [(name, 1) for name in SCANS] + [
    (name, n) for name in ("parallel", "fan", "cone, coarse rows") for n in (3, 5)
]
TINY = {
    "parallel": ParallelBeam(Volume((2, 3)), 2, 3, 0.9, angles=[0.3, 2.0]),
    "cone": ConeBeam(Volume((2, 2, 2)), num_cols=2, pitch_mm=1.5, num_rows=2, **CONE | {"num_views": 1}),
}


def pair(scan, batch, dtype=torch.float64):
    """Positive, so that the largest value is a fair scale; whole numbers of 1/64, so that both precisions hold it."""
    generator = torch.Generator().manual_seed(batch)
    x = torch.randint(1, 65, (batch, *scan.volume.shape), generator=generator) / 64
    return x.to(dtype), (torch.randint(1, 65, (batch, *scan.sino_shape), generator=generator) / 64).to(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(("name", "batch"), BATCHES)
def test_it_computes_what_the_matrix_computes(name, batch, dtype):
    scan = SCANS[name]
    x, y = pair(scan, batch, dtype)
    A, matrix = Projector(scan, "triton"), Projector(scan, "sparse")
    for ours, right in ((A(x.to(DEVICE)), matrix(x.double())), (A.T(y.to(DEVICE)), matrix.T(y.double()))):
        assert (ours.dtype, ours.device.type) == (dtype, DEVICE)
        assert float((ours.cpu() - right).abs().max() / right.abs().max()) < TOLERANCE[dtype]


@pytest.mark.parametrize("scan", SCANS.values(), ids=SCANS)
def test_the_adjoint_is_exact(scan):
    A = Projector(scan, "triton")
    assert dot_test(A, torch.Generator().manual_seed(1), device=DEVICE) < 1e-12
    if scan is not SCANS["cone"]:  # the longest in the interpreter
        assert dot_test(A, torch.Generator().manual_seed(1), torch.float32, DEVICE) < 1e-6


def test_the_steep_cone_has_rays_of_both_kinds():
    """So that the torch engine's part is part of the tests above."""
    from ctlib.backends.tables.columns import columns

    rows = columns(SCANS["steep cone"]).rows
    kept = int((rows[..., 1] - rows[..., 0]).sum())
    assert 0 < kept < SCANS["steep cone"].num_rays


@pytest.mark.parametrize("name", ["fan", "cone, many columns"])
def test_equal_calls_give_equal_bits(name):
    x, y = (t.to(DEVICE) for t in pair(SCANS[name], 2, torch.float32))
    A, again = Projector(SCANS[name], "triton"), Projector(SCANS[name], "triton")
    assert torch.equal(A(x), again(x))
    assert torch.equal(A.T(y), again.T(y))


@pytest.mark.parametrize("scan", TINY.values(), ids=TINY)
def test_gradients_of_first_and_second_order(scan):
    A = Projector(scan, "triton")
    x, y = (t[0].to(DEVICE).requires_grad_() for t in pair(scan, 1))
    assert torch.autograd.gradcheck(A, (x,))
    assert torch.autograd.gradcheck(A.T, (y,))
    if scan is TINY["parallel"]:
        assert torch.autograd.gradgradcheck(A, (x,))


def test_a_scan_that_misses_sees_nothing():
    scan = ParallelBeam(Volume((5, 5)), 2, 4, 1.0, detector_offset_mm=40.0)
    A, (x, y) = Projector(scan, "triton"), pair(scan, 1)
    assert A(x.to(DEVICE)).abs().max() == 0
    assert A.T(y.to(DEVICE)).abs().max() == 0


def test_memory_layout_and_leading_axes_do_not_matter():
    scan = SCANS["one view"]
    A, (x, y) = Projector(scan, "triton"), (t.to(DEVICE) for t in pair(scan, 4))
    turned = x.mT.contiguous().mT
    assert not turned.is_contiguous()
    assert torch.equal(A(turned), A(x))
    assert torch.equal(A.T(y.unflatten(0, (2, 2)))[1, 0], A.T(y)[2])
    assert A(x[:0]).shape == (0, *scan.sino_shape)
    assert A.T(y[:0]).shape == (0, *scan.volume.shape)


def test_a_tensor_it_cannot_reach_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ArgumentError, match="a tensor on cuda, or") as caught:
        Projector(SCANS["one view"], "triton")(torch.zeros(5, 12))
    assert caught.value.argument == "backend"


def test_what_32_bits_cannot_number_is_refused():
    scan = ParallelBeam(Volume((1, 2**31 - 4)), 1, 1, 1.0)
    with pytest.raises(ArgumentError, match="2\\^31") as caught:
        backends.engine("triton", scan)
    assert caught.value.argument == "volume"


def test_it_is_the_engine_of_cuda_tensors():
    assert "triton" in Projector.backends()
    assert backends.resolve("auto", "cuda") == "triton"
    assert backends.resolve("auto", "cpu") != "triton"


LARGE = {
    "parallel": ParallelBeam(Volume((256, 200)), 90, 363, 0.9, detector_offset_mm=1.3),
    "fan": FanBeam(Volume((200, 256), 0.4), 120, 512, 0.5, source_origin_mm=210.0, source_detector_mm=350.0),
    "cone": ConeBeam(Volume((40, 64, 56)), 30, 90, 1.7, num_rows=50, source_origin_mm=90.0, source_detector_mm=150.0),
}


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA, reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("batch", [1, 2, 7, 16])
@pytest.mark.parametrize("scan", LARGE.values(), ids=LARGE)
def test_it_computes_what_the_cpu_engine_computes_at_full_blocks(scan, batch, dtype):
    x, y = pair(scan, batch, dtype)
    A, cpu = Projector(scan, "triton"), Projector(scan, "auto")
    for ours, right in ((A(x.to(DEVICE)), cpu(x.double())), (A.T(y.to(DEVICE)), cpu.T(y.double()))):
        assert float((ours.cpu() - right).abs().max() / right.abs().max()) < 4 * TOLERANCE[dtype]  # sums of hundreds
