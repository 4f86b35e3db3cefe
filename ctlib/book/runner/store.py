"""The store of executed notebooks: which of its files are whole runs, and what an interrupted run left behind."""

from __future__ import annotations

import hashlib
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
    """Whether a stored notebook is a whole run, as it was put there; no cell of it failed."""
    return not trouble(path)


def trouble(path: Path) -> str:
    """Why a stored notebook cannot be taken for a run: papermill did not end it, a cell failed, it was edited since.

    Empty where nothing is wrong.
    """
    try:
        nb = json.loads(path.read_text(encoding="utf-8"))
        about, ended = nb["metadata"]["ctlib"], nb["metadata"]["papermill"]["end_time"]
        if about["digest"] != digest(nb):
            return "the stored run was edited or is damaged"
        whole = ended and about["key"].startswith(path.stem) and not failures(nb)
    except FileNotFoundError:
        return "no run is stored"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "the stored run is no whole notebook"
    return "" if whole else "the stored run did not end well"


def digest(nb: dict) -> str:
    """sha256 over a notebook as JSON, but for the digest that it holds."""
    about = {k: v for k, v in nb["metadata"]["ctlib"].items() if k != "digest"}
    body = {**nb, "metadata": {**nb["metadata"], "ctlib": about}}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def sealed(nb) -> str:
    """The text of a finished run: with a digest, which an edit by hand breaks."""
    import nbformat

    nb.metadata["ctlib"]["digest"] = digest(json.loads(nbformat.writes(nb)))
    return nbformat.writes(nb) + "\n"


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
