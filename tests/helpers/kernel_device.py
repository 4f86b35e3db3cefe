"""Where tests of Triton kernels run, or skip when they import this: a CUDA device, or the interpreter on the CPU."""

import os

import pytest
import torch

from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
if not CUDA and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1: make test-triton", allow_module_level=True)
triton = pytest.importorskip("triton", reason="needs triton: pip install 'ctlib-book[interpreter]'")
if not CUDA and tuple(int(n) for n in triton.__version__.split(".")[:2]) < (3, 9):
    pytest.skip(f"needs triton >= 3.9: the interpreter of {triton.__version__} has no loops", allow_module_level=True)

LARGE = {  # scans that fill whole blocks of a kernel
    "parallel": ParallelBeam(Volume((256, 200)), 90, 363, 0.9, detector_offset_mm=1.3),
    "fan": FanBeam(Volume((200, 256), 0.4), 120, 512, 0.5, source_origin_mm=210.0, source_detector_mm=350.0),
    "cone": ConeBeam(Volume((40, 64, 56)), 30, 90, 1.7, num_rows=50, source_origin_mm=90.0, source_detector_mm=150.0),
}
