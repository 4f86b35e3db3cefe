"""What a run was made with: versions, device, machine, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

from ctlib.book.project import Project

SETTINGS = ("TRITON_INTERPRET", "NUMBA_DISABLE_JIT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "CUDA_VISIBLE_DEVICES")
READERS = ("xraylib", "nibabel", "pillow", "pyjpegls", "llvmlite", "triton", "ipywidgets", "ipython", "papermill")
NUMERIC = ("numpy", "scipy", "torch", "numba", "astra-toolbox", "matplotlib", "scikit-image", "pydicom")


def versions() -> dict[str, str]:
    """Versions of the numerical packages that are installed."""
    return {"python": platform.python_version(), **_installed(NUMERIC)}


def environment() -> dict[str, object]:
    """All of a machine that a run's outputs depend on: packages, device, processor, settings of engines."""
    settings = {name: os.environ[name] for name in SETTINGS if name in os.environ}
    return {**versions(), **_installed(READERS), "device": device(), "processor": platform.machine(), **settings}


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    out = {}
    for name in names:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def device() -> str:
    """The CUDA device torch would use, or CPU; torch is loaded only where there may be one."""
    if sys.platform == "linux" and not any(Path(p).exists() for p in ("/proc/driver/nvidia", "/dev/dxg", "/dev/kfd")):
        return "CPU"
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"


def machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def commit(project: Project) -> str:
    """Commit of the checkout, with `+` when files differ from it; `unknown` outside a checkout."""
    head = _git(project, "rev-parse", "HEAD")
    return head + ("+" if _git(project, "status", "--porcelain", "-uno") else "") if head else "unknown"


def _git(project: Project, *command: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(project.root), *command], capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine
        return ""
    return "" if done.returncode else done.stdout.strip()
