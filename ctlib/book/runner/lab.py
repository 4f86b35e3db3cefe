"""`lab`: JupyterLab with the chapters opened as notebooks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from ctlib.book.project import Project
from ctlib.book.session import ONE_THREAD
from ctlib.files import write_whole

VIEWERS = {"defaultViewers": {"markdown": "Jupytext Notebook", "myst": "Jupytext Notebook"}}


def write_overrides(prefix: Path) -> Path:
    """Tell the environment's JupyterLab to open Markdown notebooks as notebooks; other overrides stay."""
    path = prefix / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    settings = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    settings["@jupyterlab/docmanager-extension:plugin"] = VIEWERS
    write_whole(path, json.dumps(settings, indent=1) + "\n")
    return path


def lab(project: Project) -> int:
    """Start JupyterLab in the book's folder; returns its exit code."""
    try:
        write_overrides(Path(sys.prefix))
    except OSError as error:
        print(f"chapters will open as text (right click, Open With, Notebook): {error}", file=sys.stderr)
    environment = {**ONE_THREAD, **os.environ}  # kernels inherit it
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(project.book)], env=environment)
