"""Compile the kernels that the GPU engine launches for Hopper, without a GPU, and print what each one needs.

    PYTHONPATH=.:tests/helpers python tests/backends/compile_triton.py

The engine computes on the CPU up to its launches, so kernels get the types, the sizes and the constants of a real call.
One JSON line per variant: kernel, scan, type, images, registers, stack [bytes].
Registers that do not fit spill to the stack. Both are null where Triton was packaged without cuobjdump.
"""

import json

import torch
from hopper import launches, needs

from ctlib.backends.gpu.engine import TritonEngine
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume

PLACE = {"source_origin_mm": 210.0, "source_detector_mm": 350.0}
SCANS = {
    "parallel": ParallelBeam(Volume((128, 140)), 4, 200, 1.0),
    "fan": FanBeam(Volume((128, 140)), 4, 200, 1.6, **PLACE),
    "wide bins": FanBeam(Volume((40, 33)), 4, 9, 9.0, **PLACE),
    "cone": ConeBeam(Volume((9, 120, 128)), 4, 150, 1.6, num_rows=10, **PLACE),
    "one of all": ConeBeam(Volume((1, 1, 1)), 1, 1, 1.0, num_rows=1, **PLACE),
    "one pixel": ParallelBeam(Volume((1, 1)), 1, 1, 1.0),
}
CALLS = [
    *(("parallel", torch.float32, n) for n in (1, 4)),
    ("fan", torch.float32, 3),
    *(("cone", torch.float32, n) for n in (1, 4)),
    ("fan", torch.float64, 4),
    *(("cone", torch.float64, n) for n in (1, 4)),
    ("fan", torch.float16, 4),
    ("cone", torch.float16, 1),
    ("parallel", torch.bfloat16, 3),
    *((name, torch.float32, 1) for name in ("wide bins", "one of all", "one pixel")),
]


def call(scan, dtype: torch.dtype, images: int) -> None:
    """All four products."""
    engine, weights = TritonEngine(scan), torch.ones(scan.num_views)
    x, y = (torch.zeros(images, *shape, dtype=dtype) for shape in (scan.volume.shape, scan.sino_shape))
    (
        engine.forward(x),
        engine.adjoint(y.flatten(1)),
        engine.backproject(y, weights),
        engine.backproject_adjoint(x, weights),
    )


if __name__ == "__main__":
    found, printed = launches(), 0
    for name, dtype, images in CALLS:
        call(SCANS[name], dtype, images)
        for kernel, made in found[printed:]:
            registers, stack = needs(made.asm["cubin"])
            line = {"kernel": kernel.__name__, "scan": name, "dtype": str(dtype), "images": images}
            print(json.dumps(line | {"registers": registers, "stack": stack}), flush=True)
        printed = len(found)
