"""The store of executed notebooks: which of its files are whole runs, and what an interrupted run left behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ctlib.files import HOST, alive, clean_parts


def clean(folder: Path) -> None:
    """Remove what interrupted runs left behind: files whose process on this machine is gone."""
    clean_parts(folder, "*.part*")


def clean_folders(folder: Path) -> None:
    """Remove the temporary folders of runs on this machine whose process is gone."""
    for left in folder.glob("ctlib.*"):
        host, _, pid = left.name.partition(".")[2].rpartition(".")[0].rpartition("-")
        if host == HOST and pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def finished(path: Path) -> bool:
    """Whether a stored notebook is a whole run: it parses, papermill wrote its end time, no cell failed."""
    try:
        nb = json.loads(path.read_text(encoding="utf-8"))
        ended = nb["metadata"]["papermill"]["end_time"] and nb["metadata"]["ctlib"]["key"].startswith(path.stem)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(ended) and not failures(nb)


def failures(nb: dict) -> list[dict]:
    """Cells that raised, except those tagged `raises-exception`: a failure shown on purpose."""
    cells = (c for c in nb["cells"] if "raises-exception" not in c["metadata"].get("tags", []))
    return [c for c in cells if any(o.get("output_type") == "error" for o in c.get("outputs", []))]


def tidy(nb):
    """The notebook without papermill's error banners, its times of every cell, and empty tag lists."""
    nb.cells = [c for c in nb.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])]
    for cell in nb.cells:
        cell.metadata.pop("papermill", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
    return nb
