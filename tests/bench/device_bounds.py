"""What a CUDA device can do at most, from its properties and two measurements, and what share of it a product reaches.

Per sample (a ray in a row of pixels; a pixel in a view) and image the kernels issue instructions and load from the L1
cache, as counted in their code for sm_90. An SM issues 128 lanes a cycle; a load of a warp takes about two wavefronts,
one a cycle. Half precision keeps two images in a word: one load serves both. The third bound is memory traffic.
"""

import math
import subprocess

import torch
from setups import Setup

from ctlib.geometry import ConeBeam, ParallelBeam
from ctlib.projector import Projector

LANES, WAVEFRONTS = 128, 2
ALONE, SHARED = 0, 1  # one image; four that share positions and weights
COUNTED = {  # (instructions, loads) a sample and image
    "A": ((17.8, 2.0), (8.7, 2.0)),
    "A.T parallel": ((54.0, 11.0), (17.5, 4.3)),
    "A.T": ((82.0, 16.0), (25.0, 6.3)),
}


def measured(device: str) -> dict:
    """SMs, their highest clock, and bytes a second of copying within the device; {} of a CPU."""
    if not device.startswith("cuda"):
        return {}
    properties = torch.cuda.get_device_properties(device)
    a = torch.empty(2**28, device=device)
    b, best = torch.empty_like(a), math.inf
    for _ in range(8):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        b.copy_(a)
        stop.record()
        stop.synchronize()
        best = min(best, start.elapsed_time(stop))
    copied = 8 * a.numel() / (1e-3 * best)
    return {"multiprocessors": properties.multi_processor_count, "clock_hz": clock_hz(), "copy_bytes_s": copied}


def clock_hz() -> float | None:
    """Highest clock of the SMs by the driver's tool, or None where it does not say."""
    words = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout
        return 1e6 * float(said.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def samples(setup: Setup, case: str) -> float:
    """Samples of one image: rows of pixels that rays cross inside it, or pixels times views."""
    g = setup.geometry
    if case == "A.T":
        return math.prod(g.volume.shape) * g.num_views
    lengths = Projector(g)(torch.ones(g.volume.shape, dtype=torch.float64))  # (V, U) [mm]
    u = (torch.arange(g.num_cols, dtype=torch.float64) - (g.num_cols - 1) / 2) * g.pitch_mm
    fan = torch.zeros_like(u) if isinstance(g, ParallelBeam) else torch.atan(u / g.source_detector_mm)
    angle = torch.as_tensor(g.angles, dtype=torch.float64)[:, None] + fan  # (V, U)
    step = g.volume.voxel_mm[-1] / torch.maximum(angle.cos().abs(), angle.sin().abs())
    return float((lengths / step).sum())


def bounds(setup: Setup, case: str, batch: int, half: bool, machine: dict) -> dict[str, float]:
    """Images a second that each limit allows."""
    g = setup.geometry
    kind = "A.T parallel" if case == "A.T" and isinstance(g, ParallelBeam) else case
    instructions, loads = COUNTED[kind][SHARED if batch >= 4 else ALONE]
    cycles_s = machine["multiprocessors"] * machine["clock_hz"] / samples(setup, case)
    volume = (math.prod(g.volume.shape) + math.prod(g.sino_shape)) * (2 if half else 4)
    return {
        "issue": LANES / instructions * cycles_s,
        "L1": 32 / (loads * WAVEFRONTS) * cycles_s * (2 if half else 1),
        "DRAM": machine["copy_bytes_s"] / volume,
    }


def fraction(setup: Setup, case: str, batch: int, half: bool, images_per_s: float, machine: dict) -> dict:
    """The lowest bound and what share of it was reached; {} where the clock is not known, or of a cone: not counted."""
    if not machine.get("clock_hz") or isinstance(setup.geometry, ConeBeam):
        return {}
    found = bounds(setup, case, batch, half, machine)
    by = min(found, key=found.get)
    return {"bound_by": by, "bound_images_per_s": found[by], "fraction_of_bound": images_per_s / found[by]}
