"""What the run says about itself, and the table it prints."""

import hashlib
import importlib.metadata
import json
import os
import platform
from datetime import date
from pathlib import Path

import torch
from timing import seconds

PACKAGES = (
    "torch",
    "numpy",
    "numba",
    "astra-toolbox",
    "scikit-image",
    "scipy",
    "leapctp",
    "torchtomo",
    "deepinv",
    "diffct",
)


def machine() -> dict:
    """Processor, cores and memory, without names or addresses."""
    cpu, memory = platform.processor(), None
    if Path("/proc/cpuinfo").exists():
        fields = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
        cpu = next((v.strip() for k, v in fields.items() if k.strip() == "model name"), cpu)
        flags = next((v for k, v in fields.items() if k.strip() == "flags"), "")
        cpu += ", AVX-512" if "avx512f" in flags else ""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": memory, "system": platform.system()}


def gpu() -> str:
    """The CUDA device, or that there is none."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "not yet measured"


def versions() -> dict:
    """Version of Python and of every package that took part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def bounds(quick: bool) -> dict:
    """What the machine can do: copying [GB/s read and written], exponentials [1/ns], float32 products [GFLOP/s]."""
    num, side = (2**18, 256) if quick else (2**26, 2048)
    a, b, square = torch.rand(num), torch.empty(num), torch.rand(side, side)
    copy, exp, gemm = (
        min(seconds(call) for _ in range(5))
        for call in (lambda: b.copy_(a), lambda: torch.exp(a, out=b), lambda: square @ square)
    )
    return {"copy_gb_s": 8e-9 * num / copy, "exp_per_ns": 1e-9 * num / exp, "gemm_gflop_s": 2e-9 * side**3 / gemm}


def today() -> str:
    return date.today().isoformat()


def digest(result: dict) -> str:
    """sha256 over the canonical JSON of the result."""
    text = json.dumps(result, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def table(records: list[dict]) -> str:
    """Text: a block per case and scan, a line per engine, a column per batch, `milliseconds (ratio)`."""
    blocks = {}
    for r in records:
        if "median_ms" in r and "quantity" not in r:
            blocks.setdefault((r["case"], r["geometry"]), []).append(r)
    lines = [line for key, rows in blocks.items() for line in _block(*key, rows)]
    return "\n".join(lines + _accuracy(records) + _scaling(records))


def _block(case: str, geometry: str, rows: list[dict]) -> list[str]:
    batches = sorted({r["batch"] for r in rows})
    found = {(r["engine"], r["batch"]): f"{r['median_ms']:#.3g} ({r['ratio']:#.3g})" for r in rows}
    head = f"{case}, {geometry}: ms for the batch (ratio to the first)"
    lines = ["", head, f"{'':28s}" + "".join(f"{b:>20d}" for b in batches)]
    for engine in dict.fromkeys(r["engine"] for r in rows):
        lines.append(f"{engine:28s}" + "".join(f"{found.get((engine, b), '-'):>20s}" for b in batches))
    return lines


def _accuracy(records: list[dict]) -> list[str]:
    lines = ["", f"{'accuracy':42s}{'error':>12s}{'adjoint +':>12s}{'adjoint +-':>12s}{'memory MiB (batch)':>24s}"]
    for r in records:
        if r["case"] != "accuracy":
            continue
        same = [m for m in records if m["case"] == "memory" and all(m[k] == r[k] for k in ("engine", "geometry"))]
        memory = ", ".join(f"{m['peak_mib']:.0f} ({m['batch']})" for m in same)
        figures = (r["relative_error"], r["adjoint_error_positive"], r["adjoint_error_random"])
        name = f"{r['geometry']}, {r['engine']}"
        lines.append(f"{name:42s}" + "".join(f"{v:>12.3g}" for v in figures) + f"{memory:>24s}")
    return lines


def _scaling(records: list[dict]) -> list[str]:
    lines, series = ["", "scaling: ms"], {}
    for r in records:
        if "quantity" in r:
            name, point = f"{r['case'][8:]:4s}{r['geometry']}", f"{r[r['quantity']]}: {r['median_ms']:#.3g}"
            series.setdefault((name, r["quantity"]), []).append(point)
    return lines + [f"{name:14s}{quantity:10s}" + "   ".join(values) for (name, quantity), values in series.items()]
