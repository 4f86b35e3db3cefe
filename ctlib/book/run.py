"""Run a chapter by papermill into a content-addressed store: the same code and parameters are never run twice."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import CtlibError
from . import sources
from .project import Project
from .source import code_cells, read_notebook

STORE_FORMAT = 1
NUMERIC = ("numpy", "scipy", "torch", "numba", "astra-toolbox", "matplotlib", "scikit-image", "pydicom")
ONE_THREAD = {f"{k}_NUM_THREADS": "1" for k in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
CELL_TIMEOUT_S = 7200


class ChapterFailed(CtlibError, RuntimeError):
    """A cell of a chapter raised: names the chapter, the error and where the notebook up to there lies."""


def versions() -> dict[str, str]:
    """Versions of the numerical packages that are installed."""
    out = {"python": platform.python_version()}
    for name in NUMERIC:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def device() -> str:
    """The CUDA device torch would use, or CPU."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"


def machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def commit(project: Project) -> str:
    """Commit of the checkout, with `+` when files differ from it; `unknown` outside a checkout."""
    git = ["git", "-C", str(project.root)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        return "unknown"
    dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def run_key(project: Project, slug: str, parameters: dict, preset: str) -> str:
    """sha256 over everything a run depends on; the preset counts because the ledger raises at `ci` only."""
    files = {v: _sha256(Path(v)) for v in parameters.values() if isinstance(v, str) and v and Path(v).is_file()}
    parts = {
        "format": STORE_FORMAT,
        "sources": sources.sources_sha256(slug, project),
        "inputs": sources.inputs_sha256(slug, project),
        "parameters": parameters,
        "files": files,
        "preset": preset,
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kernel_preset(preset: str, given: dict) -> str:
    """What the ledger is told: a run with parameters given by hand is `custom`, where expectations do not raise."""
    return "custom" if given else preset


def clean_parts(folder: Path) -> None:
    """Remove what interrupted runs left behind; a live run's file carries the number of its process."""
    for part in folder.glob("*.part.ipynb"):
        pid = part.name.split(".")[-3]
        if not (pid.isdigit() and _alive(int(pid))):
            part.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def finished(path: Path) -> bool:
    """Whether a stored notebook is a whole run: it parses, papermill wrote its end time, no cell holds an error."""
    try:
        nb = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not nb.get("metadata", {}).get("papermill", {}).get("end_time") or "ctlib" not in nb["metadata"]:
        return False
    return not any(o.get("output_type") == "error" for c in nb["cells"] for o in c.get("outputs", []))


def execute(
    project: Project, slug: str, parameters: dict, preset: str = "ci", progress: Callable | None = None
) -> Path:
    """Path of the executed notebook: from the store, or run now and put there atomically. One run per process.

    ChapterFailed when a cell raises; the notebook up to there is kept beside the store entry as <key>.failed.ipynb.
    """
    import nbformat

    key = run_key(project, slug, parameters, preset)
    out = project.store / slug / f"{key[:20]}.ipynb"
    out.parent.mkdir(parents=True, exist_ok=True)
    clean_parts(out.parent)
    if out.exists() and finished(out):
        return out
    part, started = out.with_suffix(f".{os.getpid()}.part.ipynb"), time.time()
    _papermill(project, slug, parameters, preset, part, progress)
    nb = nbformat.read(part, 4)
    nb.metadata["ctlib"] = {
        "slug": slug,
        "preset": preset,
        "parameters": parameters,
        "key": key,
        "seconds": round(time.time() - started, 1),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(),
        "device": device(),
        "versions": versions(),
        "commit": commit(project),
        "sources_sha256": sources.sources_sha256(slug, project),
    }
    nbformat.write(nb, part)
    os.replace(part, out)
    return out


def _papermill(project: Project, slug: str, parameters: dict, preset: str, part: Path, progress: Callable | None):
    import papermill
    from traitlets.config import Config

    from .progress import register

    os.environ.update(ONE_THREAD)  # the kernel inherits it: two OpenMP threads on busy cores are slower than one
    os.environ.update(CTLIB_PRESET=preset, CTLIB_BOOK=str(project.book))
    private = Config({"KernelManager": {"transport": "ipc"}})  # sockets in files: nothing listens on a port
    try:
        papermill.execute_notebook(
            read_notebook(project.source(slug)),
            str(part),
            parameters,
            kernel_name="python3",
            engine_name=register(progress),
            cwd=str(project.book),
            progress_bar=False,
            config=private,
            execution_timeout=CELL_TIMEOUT_S,
        )
    except papermill.PapermillExecutionError as error:
        failed = part.with_name(part.name.split(".")[0] + ".failed.ipynb")
        os.replace(part, failed)
        where = f"code cell {error.exec_count} of {len(code_cells(project.source(slug)))}"
        raise ChapterFailed(f"{slug}: {where}: {error.ename}: {error.evalue} (see {failed})") from None
