"""The GPU engine against the stored matrix: on a CUDA device, or on small cases in Triton's interpreter."""

import pytest
import torch
from interpreted import CONE, SCANS, TOLERANCE, pair
from kernel_device import CUDA, DEVICE, LARGE

from ctlib import backends
from ctlib.errors import ArgumentError
from ctlib.geometry import ConeBeam, ParallelBeam, Volume
from ctlib.linop import dot_test
from ctlib.projector import Projector

SINGLE, DOUBLE = TOLERANCE
CALLS = [(name, 1, dtype) for name in SCANS for dtype in TOLERANCE] + [
    (name, n, dtype) for name in ("parallel", "fan", "cone, coarse rows") for n, dtype in ((3, DOUBLE), (5, SINGLE))
]
TINY = {
    "parallel": ParallelBeam(Volume((2, 3)), 2, 3, 0.9, angles=[0.3, 2.0]),
    "cone": ConeBeam(Volume((2, 2, 2)), num_cols=2, pitch_mm=1.5, num_rows=2, **CONE | {"num_views": 1}),
}


@pytest.mark.parametrize(("name", "batch", "dtype"), CALLS)
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
