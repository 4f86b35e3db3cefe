"""Where tests of Triton kernels run, or skip when they import this: a CUDA device, or the interpreter on the CPU."""

import os

import pytest
import torch

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
if not CUDA and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a CUDA device, or TRITON_INTERPRET=1: make test-triton", allow_module_level=True)
triton = pytest.importorskip("triton", reason="needs triton: pip install 'ctlib-book[interpreter]'")
if not CUDA and tuple(int(n) for n in triton.__version__.split(".")[:2]) < (3, 9):
    pytest.skip(f"needs triton >= 3.9: the interpreter of {triton.__version__} has no loops", allow_module_level=True)
