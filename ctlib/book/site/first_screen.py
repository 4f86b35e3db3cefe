"""What a built page shows first: its opening, from the verdicts of this build; parameters and imports folded."""

from __future__ import annotations

import ast
import base64
from collections.abc import Mapping

from ctlib.book.chapter import plain_python
from ctlib.book.ledger.claims import from_notebook
from ctlib.book.ledger.openings import opening_of
from ctlib.book.page.opening import Opening, Picture
from ctlib.book.project import PRESETS, Project

RUN = "run-it-yourself"  # anchor above the parameters
FOLDED = "hide-input"


def opens(cell: Mapping) -> bool:
    """Whether a cell is the opening of its page: it calls it, and does not quote a cell that does."""
    if cell["cell_type"] != "code" or "opening(" not in cell["source"]:
        return False
    calls = [n.value for n in _statements(cell) if isinstance(n, ast.Expr)]
    return any(isinstance(c, ast.Call) and isinstance(c.func, ast.Name) and c.func.id == "opening" for c in calls)


def kept_pictures(nb: Mapping) -> dict[str, Picture]:
    """Figures that an executed notebook keeps, by name."""
    found, computed = {}, f"Computed by this page, preset `{nb['metadata']['ctlib']['preset']}`."
    for out in (o for c in nb["cells"] for o in c.get("outputs", [])):
        mark = out.get("metadata", {}).get("ctlib", {})
        if "keep" in mark and "image/png" in out.get("data", {}):
            found[mark["keep"]] = Picture(base64.b64decode(out["data"]["image/png"]), mark["alt"], computed)
    return found


def opening_of_build(project: Project, slug: str, nb: Mapping | None, run: str = "") -> Opening:
    """The opening of a page with the claims that this build measured, and its figure where none is recorded."""
    own = nb is not None and nb["metadata"]["ctlib"]["preset"] == PRESETS[0]
    measured, pictures = from_notebook(nb) if own else None, kept_pictures(nb) if nb else {}
    return opening_of(slug, project.book, measured, pictures, run)


def opened(project: Project, slug: str, nb) -> None:
    """Show the opening as this build has it, its call left out, in place; what ran before the build may be older.

    Texts become cells of their own: Sphinx gives a caption to every output of the cell that has the figure.
    """
    cells = []
    for cell in nb["cells"]:
        if opens(cell):
            has_parameters = any("parameters" in _tags(c) for c in nb["cells"])
            found = opening_of_build(project, slug, nb, RUN if has_parameters else "")
            cells += [_part(cell, i, *bundle) for i, bundle in enumerate(found.bundles()) if not _is_caption(bundle)]
        else:
            cells.append(cell)
    nb["cells"] = cells


def _is_caption(bundle: tuple[dict, dict]) -> bool:
    return bundle[1]["ctlib"]["part"] == "caption"  # the figure has it


def _part(cell, number: int, data: dict, metadata: dict):
    """A cell that shows one part of the opening: the call itself with the figure alone, or a text."""
    import nbformat

    part = metadata["ctlib"]
    if "figure" not in part:
        return nbformat.v4.new_markdown_cell(data["text/markdown"], id=f"opening-{number}")
    cell["outputs"] = [nbformat.v4.new_output("display_data", data=data, metadata=metadata)]
    cell["metadata"]["tags"] = sorted((set(_tags(cell)) - {FOLDED}) | {"remove-input"})
    cell["metadata"].setdefault("mystnb", {}).update(figure=part["figure"], image={"alt": part["alt"]})
    return cell


def fold(nb) -> None:
    """Fold parameters and imports under a name, in place, with an anchor above the parameters."""
    import nbformat

    cells = []
    for cell in nb["cells"]:
        if "parameters" in _tags(cell):
            cells.append(nbformat.v4.new_markdown_cell(f'<a id="{RUN}"></a>', id=RUN))
            cell["metadata"]["tags"] = sorted({*_tags(cell), FOLDED})
            _prompt(cell, f"Parameters ({len(_statements(cell))})")
        elif FOLDED in _tags(cell) and _imports(cell):
            _prompt(cell, "Imports")
        cells.append(cell)
    nb["cells"] = cells


def _prompt(cell, text: str) -> None:
    """What a reader presses to unfold a cell; a chapter may say otherwise."""
    settings = cell["metadata"].setdefault("mystnb", {})
    settings.setdefault("code_prompt_show", text)
    settings.setdefault("code_prompt_hide", text)


def _tags(cell: Mapping) -> list[str]:
    return cell["metadata"].get("tags", [])


def _statements(cell: Mapping) -> list[ast.stmt]:
    return ast.parse(plain_python(cell["source"])).body


def _imports(cell: Mapping) -> bool:
    body = _statements(cell)
    return bool(body) and isinstance(body[0], ast.Import | ast.ImportFrom)
