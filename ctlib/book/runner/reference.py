"""Reference notebooks that nbval compares a fresh run with: executed `ci` runs without pictures."""

from __future__ import annotations

import json
from pathlib import Path

from ctlib.book import parameters
from ctlib.book.chapter import code_cells
from ctlib.book.ledger import claims
from ctlib.book.ledger.packed import packed
from ctlib.book.project import Project
from ctlib.book.runner.run import execute
from ctlib.files import write_whole

DROP = ("image/png", "image/jpeg", "image/svg+xml", "application/vnd.jupyter.widget-view+json")
UNCOMPARED = {"nbval-ignore-output", "nbval-skip"}


def code_cells_of(nb) -> list:
    """The chapter's code cells in an executed notebook: without the cell that papermill injected."""
    return [c for c in nb.cells if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])]


def slim(nb):
    """Code cells with the outputs nbval compares; no pictures, ids, times or widget state."""
    import nbformat

    nb = nbformat.from_dict(nb)
    nb.metadata = {"kernelspec": nb.metadata.get("kernelspec", {"name": "python3", "display_name": "Python 3"})}
    nb.cells = code_cells_of(nb)
    for i, cell in enumerate(nb.cells):
        cell.metadata, cell.id = {"tags": sorted(cell.metadata.get("tags", []))}, f"c{i}"
        compared = not UNCOMPARED & set(cell.metadata["tags"])
        cell.outputs = [o for o in map(_slim_output, cell.outputs) if o] if compared else []
    return nb


def _slim_output(output):
    """An output without its pictures; None when nothing is left."""
    if "data" in output:
        for mime in DROP:
            output["data"].pop(mime, None)
        output["metadata"] = {}
        if not output["data"]:
            return None
    return output


def write(project: Project, slug: str) -> Path:
    """Run a chapter at `ci` and write its reference; its claim records, which nothing compares, into the metadata.

    They stand for the chapter's own values where its page needs verdicts before it has run.
    """
    import nbformat

    nb = nbformat.read(execute(project, slug, parameters.resolve(project, slug)), 4)
    path, slimmed = project.reference / f"{slug}.ipynb", slim(nb)
    slimmed.metadata["ctlib"] = {"run": nb.metadata["ctlib"]["digest"], "claims": packed(claims.from_notebook(nb))}
    write_whole(path, nbformat.writes(slimmed).rstrip() + "\n")
    return path


def made_from(project: Project, slug: str, run: Path) -> bool:
    """Whether the reference was written from this stored run: to compare the two would tell nothing."""
    path = project.reference / f"{slug}.ipynb"
    texts = (p.read_text(encoding="utf-8") for p in (path, run))
    reference, executed = (json.loads(text)["metadata"].get("ctlib", {}) for text in texts)
    return reference.get("run") == executed["digest"]


def problems(project: Project) -> list[str]:
    """Why references cannot be trusted: missing, left over, of other code, never executed; nbval passes those."""
    slugs = project.chapters()
    left = [p.name for p in sorted(project.reference.glob("*.ipynb")) if p.stem not in slugs]
    found = {slug: _problem(project.reference / f"{slug}.ipynb", project.source(slug)) for slug in slugs}
    out = [f"{name}: no such chapter any more; delete it" for name in left]
    renew = "run `python -m ctlib.book reference"
    return out + [f"{slug}: {what}; {renew} {slug}`" for slug, what in found.items() if what]


def _problem(path: Path, source: Path) -> str:
    """What is wrong with one reference; empty when nothing is."""
    if not path.is_file():
        return "no reference"
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ["".join(c["source"]) for c in cells]
    except (ValueError, KeyError, TypeError):
        return "the reference is not a notebook"
    if texts != [c.source for c in code_cells(source)]:
        return "the reference is of other code"
    if not all(c.get("execution_count") for c in cells if "".join(c["source"]).strip()):
        return "the reference holds cells without an execution count, which nbval would pass unread"
    if not any(c.get("outputs") for c in cells):
        return "the reference holds no outputs: nbval would have nothing to compare"
    return ""
