"""Half precision in the GPU engine: stored by pairs, computed and summed in float32."""

import pytest
import torch
from interpreted import CONE, pair
from interpreted import SCANS as EVERY
from kernel_device import CUDA, DEVICE

from ctlib import backends
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.projector import Projector
from ctlib.recon.backproject import backproject

SCANS = {
    "parallel": ParallelBeam(Volume((6, 7)), 4, 10, 0.9, detector_offset_mm=0.3),
    "fan": FanBeam(Volume((6, 5), (0.7, 1.0)), 3, 9, 1.3, source_origin_mm=9.0, source_detector_mm=21.0),
    "cone": ConeBeam(Volume((3, 3, 4)), num_cols=5, pitch_mm=2.0, num_rows=4, row_pitch_mm=0.9, **CONE),
}
LINE = ParallelBeam(Volume((40, 2), (0.5, 1.0)), 1, 2, 1.0)
ROUNDINGS = 4  # of the data, of data times lengths, of the results of two main axes
LAST_BIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-9 if CUDA else 2.0**-8}  # the interpreter cuts bfloat16 off
CASES = [(name, n, dtype) for name in ("parallel", "fan", "cone") for n, dtype in enumerate(LAST_BIT, 2)]
CASES.append(("fan", 1, torch.float16))


@pytest.mark.parametrize(("name", "batch", "dtype"), CASES)
def test_it_computes_what_single_precision_computes_but_for_the_roundings_of_storage(name, batch, dtype):
    """Pairs, an odd batch, and one image."""
    scan, weights = SCANS[name], torch.full((SCANS[name].num_views,), 0.4)
    x, y = (t / 3 for t in pair(scan, batch, torch.float32))
    engine, cpu = (backends.engine(kind, scan) for kind in ("triton", "numba"))
    A, exact = Projector(scan, "triton"), Projector(scan, "numba")
    few, many = x.to(DEVICE, dtype), y.to(DEVICE, dtype)
    for half, right in (
        (A(few), exact(x)),
        (A.T(many), exact.T(y)),
        (backproject(many, scan, weights, "triton"), cpu.backproject(y, weights)),
        (engine.backproject_adjoint(few, weights), cpu.backproject_adjoint(x, weights)),
    ):
        assert (half.dtype, half.device.type) == (dtype, DEVICE)
        assert float((half.cpu() - right).abs().max() / right.abs().max()) < ROUNDINGS * LAST_BIT[dtype]


def test_rays_left_to_the_torch_engine_are_summed_in_single_precision_too():
    scan = EVERY["steep cone"]
    (x, y), A, exact = pair(scan, 1, torch.float16), Projector(scan, "triton"), Projector(scan, "numba")
    for half, right in ((A(x.to(DEVICE)), exact(x.float())), (A.T(y.to(DEVICE)), exact.T(y.float()))):
        assert half.dtype == torch.float16
        assert float((half.cpu() - right).abs().max() / right.abs().max()) < ROUNDINGS * LAST_BIT[torch.float16]


@pytest.mark.parametrize("dtype", LAST_BIT, ids=str)
def test_sums_are_those_of_single_precision(dtype):
    """In half precision a one is lost beside a number so large."""
    large = 2 / torch.finfo(dtype).eps
    scan, A = LINE, Projector(LINE, "triton")
    x = torch.ones(scan.volume.shape, dtype=dtype, device=DEVICE)
    x[0] = large
    assert large + x[1, 0] == large
    right = (large + len(x) - 1) * scan.volume.voxel_mm[0]
    assert float(A(x).max()) == pytest.approx(right, rel=2 * LAST_BIT[dtype])


def test_gradients_come_in_half_precision():
    scan = SCANS["parallel"]
    x = torch.ones(2, *scan.volume.shape, dtype=torch.bfloat16, device=DEVICE, requires_grad=True)
    A = Projector(scan, "triton")
    (slope,) = torch.autograd.grad(A(x).sum(), x)
    assert torch.equal(slope, A.T(torch.ones(2, *scan.sino_shape, dtype=torch.bfloat16, device=DEVICE)))
