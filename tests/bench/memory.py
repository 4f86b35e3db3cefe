"""Peak extra memory of one engine, in a process of its own: `python memory.py SETUP ENGINE BATCH [--small]`.

The engine first runs on a small scan, so that what the compiler keeps is not counted, and memory freed since goes back
to the system; then the peak of resident memory above the input images is taken while it is built and applies A and A.T
once.
"""

import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import setups
import torch
from engines import builders


def resident_mib(field: str) -> float:
    """VmRSS (now) or VmHWM (highest) of this process [MiB]."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


def release_freed() -> None:
    """Give freed memory back to the system: an allocation that reuses it would not show as growth."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
    if trim is not None:
        trim(0)


def run(setup: setups.Setup, name: str, x: torch.Tensor) -> None:
    """Build the engine and apply both products."""
    engine = builders(setup.geometry)[name](setup.geometry)
    engine.adjoint(engine.forward(engine.native(x)))


def records(setup: setups.Setup, timed: list[dict], small: bool) -> list[dict]:
    """Rows for batch 1 and 16 of every engine that was timed with them; the first engine's only, if small."""
    rows = [r for r in timed if r["case"] == "A" and r["geometry"] == setup.name and r["batch"] in (1, 16)]
    found = []
    for r in rows[:1] if small else rows:
        peak = measure(r["engine"], setup.name, r["batch"], small)
        labels = {"case": "memory", "geometry": setup.name, "engine": r["engine"], "batch": r["batch"]}
        found += [] if peak is None else [labels | {"peak_mib": round(peak, 1)}]
    return found


def measure(name: str, setup_name: str, batch: int, small: bool) -> float | None:
    """Peak in MiB from a fresh process; None where the system keeps no such count or the engine fails."""
    return printed(__file__, setup_name, name, str(batch), *(["--small"] if small else []))


def printed(script: str, *args: str) -> float | None:
    """The number that a script prints in a process of its own; None where it fails or nothing counts memory."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    done = subprocess.run([sys.executable, script, *args], capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def growth_mib(call: Callable[[], object]) -> float:
    """Peak of resident memory during a call above that before it [MiB]."""
    release_freed()
    before = resident_mib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest value starts anew
    call()
    return resident_mib("VmHWM") - before


def main(setup_name: str, name: str, batch: str, *flags: str) -> None:
    """Print the peak of one engine [MiB]."""
    warm = next(s for s in setups.small() if s.name.split()[0] == setup_name.split()[0])
    run(warm, name, warm.image(int(batch)))
    chosen = setups.small() if "--small" in flags else setups.standard()
    setup = next(s for s in chosen if s.name == setup_name)
    print(growth_mib(partial(run, setup, name, setup.image(int(batch)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
