"""Stage executed notebooks and pages for Jupyter Book: it renders what ran and runs nothing itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ctlib.book.chapter import read_notebook
from ctlib.book.ledger import collected, crates, export, scoreboard
from ctlib.book.page import listing, output
from ctlib.book.project import Project, UsageError
from ctlib.book.site import api, first_screen
from ctlib.book.site.cards import with_cards

MARK = "<!-- generated -->"


def provenance(slug: str, about: dict) -> str:
    """The dropdown at the end of a chapter: preset, date, machine, versions, and the command that makes it again."""
    given = " ".join(f"-p {k} {v!r}" for k, v in about["parameters"].items()) or "none: the notebook's defaults"
    packages = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    preset = "" if about["preset"] in ("ci", "custom") else f" --preset {about['preset']}"
    again = f"python -m ctlib.book run {slug}{preset}"
    facts = [
        f"Preset `{about['preset']}`, executed on {about['date']} in {about['seconds']:.0f} s "
        f"({about['machine']}; {about['device']}).",
        f"Parameters that differ from the defaults: {given}.",
        f"Versions: {packages}. Commit `{about['commit'][:12]}`, sources `{about['sources_sha256'][:12]}`.",
        f"Again: `{again}`.",
    ]
    return ":::{admonition} How this page was computed\n:class: dropdown\n\n" + "\n\n".join(facts) + "\n:::\n"


def with_present_text(project: Project, slug: str, ran):
    """The executed notebook with the chapter's present prose and tags: the store's key holds its code alone.

    Outputs go to the code cells in order; the cell that papermill injected stays behind the parameters.
    """
    text = read_notebook(project.source(slug))
    done, cells = [c for c in ran.cells if c.cell_type == "code"], []
    for cell in text.cells:
        cells.append(cell)
        if cell.cell_type != "code":
            continue
        if not done or done[0].source != cell.source:
            raise UsageError(f"{slug}: changed while the book was being built; build again")
        cell.outputs, cell.execution_count = done[0].outputs, done[0].execution_count
        done.pop(0)
        while done and "injected-parameters" in done[0].metadata.get("tags", []):
            cells.append(done.pop(0))
    for i, cell in enumerate(cells):
        cell.id = f"cell-{i}"
    ran.cells = cells
    return ran


def as_page(project: Project, nb):
    """A copy of an executed notebook as its page shows it: opening, folded cells, links, provenance at the end."""
    import nbformat

    nb = nbformat.from_dict(nb)
    first_screen.opened(project, nb.metadata["ctlib"]["slug"], nb)
    first_screen.fold(nb)
    output.for_page(nb)
    listing.link_listings(nb, nb.metadata["ctlib"]["slug"])
    about = nb.metadata["ctlib"]
    nb.cells.append(nbformat.v4.new_markdown_cell(provenance(about["slug"], about), id="provenance"))
    return nb


def to_pages(text: str, pages: Iterable[str]) -> str:
    """Links to files `.md`, which JupyterLab opens, as links to pages: what is rendered is a notebook by then."""
    return re.sub(rf"\]\(({'|'.join(map(re.escape, pages))})\.md\)", r"](\1)", text)


def stage(project: Project, preset: str, runs: dict[str, Path]) -> Path:
    """Folder with everything Jupyter Book needs; files that did not change keep their time stamps."""
    import nbformat

    folder = project.build / preset / "stage"
    notebooks = {slug: with_present_text(project, slug, nbformat.read(path, 4)) for slug, path in runs.items()}
    pages = sorted(p.stem for p in project.book.glob("*.md"))
    for cell in (c for nb in notebooks.values() for c in nb.cells if c.cell_type == "markdown"):
        cell.source = to_pages(cell.source, pages)
    wanted = {f"book/{slug}.ipynb": nbformat.writes(as_page(project, nb)).encode() for slug, nb in notebooks.items()}
    for path in sorted(project.book.rglob("*")):
        name = path.relative_to(project.root).as_posix()
        if path.is_file() and path.stem not in notebooks and not name.startswith("book/results/"):
            text = path.suffix == ".md"
            wanted[name] = to_pages(path.read_text("utf-8"), pages).encode() if text else path.read_bytes()
    wanted |= _ledger(project, notebooks, wanted)
    if front := wanted.get("book/index.md"):
        text, pictures = with_cards(front.decode(), project, notebooks)
        wanted |= {"book/index.md": text.encode(), **{f"book/{name}": png for name, png in pictures.items()}}
    shown = api.shown_in(notebooks)
    for name in (n for n in wanted if n.startswith("book/api/")):
        wanted[name] = api.page(wanted[name].decode(), shown).encode()
    for name in ("_config.yml", "_toc.yml"):
        wanted[name] = (project.root / name).read_bytes()
    _write(folder, wanted)
    return folder


def _ledger(project: Project, notebooks: dict, wanted: dict[str, bytes]) -> dict[str, bytes]:
    """The scoreboard, and the ledger for other programs: one JSON file, and a crate for every recorded run."""
    if "book/scoreboard.md" not in wanted:
        return {}
    chapters = collected.ledgers(project.book, notebooks)
    body = scoreboard.body(chapters, project.book)
    made = {"book/scoreboard.md": wanted["book/scoreboard.md"].decode().replace(MARK, body).encode()}
    text = json.dumps(export.exported(chapters), indent=1, allow_nan=False)
    made[f"book/_static/{export.EXPORT}"] = (text + "\n").encode()
    packed = crates.crates(chapters, project.book)
    return made | {f"book/_static/{name}": archive for name, archive in packed.items()}


def _write(folder: Path, wanted: dict[str, bytes]) -> None:
    for name, data in wanted.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
