"""Which library files a chapter reaches, and one hash over them: what decides whether a stored result is still true."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

from .project import Project
from .source import code_cells

# Reader modules whose output lands in a notebook count; the pipeline around them (runner, store, rendering) does not.
_RUNNER = ("__main__", "cli", "lab", "parameters", "progress", "project", "record", "reference", "run", "sweep")
_PAGES = ("recorded", "render", "scoreboard", "site", "source", "sources", "stage")
PIPELINE = {f"book/{name}.py" for name in (*_RUNNER, *_PAGES)}


def _imported(source: str, package: str, known: set[str]) -> set[str]:
    """Modules of `known` that Python source imports, absolute or relative to `package`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, node.module or ""]).strip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {m for name in found for m in _with_parents(name) if m in known}


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def library_modules(library: Path) -> dict[str, Path]:
    """Every module of the library by dotted name."""
    modules = {}
    for path in sorted(library.rglob("*.py")):
        parts = (library.name, *path.relative_to(library).with_suffix("").parts)
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def reached(project: Project, slug: str) -> list[Path]:
    """Library files that the chapter's code imports, directly or through others; the pipeline's own are left out."""
    modules = library_modules(project.library)
    todo = _imported("\n".join(_plain(c.source) for c in code_cells(project.source(slug))), "", set(modules))
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        seen.add(name)
        path = modules[name]
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        todo |= _imported(path.read_text(encoding="utf-8"), package, set(modules)) - seen
    files = (modules[name] for name in seen)
    return sorted(p for p in files if p.relative_to(project.library).as_posix() not in PIPELINE)


def _plain(source: str) -> str:
    """Cell source without IPython magics, which are not Python."""
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())


def sources_sha256(slug: str, project: Project | None = None) -> str:
    """Hash over the chapter's code cells and the library files they reach: the code that makes its numbers."""
    project = project or Project()
    digest = hashlib.sha256()
    for cell in code_cells(project.source(slug)):
        digest.update(b"\0cell\0" + cell.source.encode())
    for path in reached(project, slug):
        digest.update(b"\0file\0" + path.relative_to(project.library).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def inputs_sha256(slug: str, project: Project) -> str:
    """Hash over the book's data that the chapter shows: its claims, and recorded results, its own or named in it."""
    code = "\n".join(c.source for c in code_cells(project.source(slug)))
    results = (p for p in sorted((project.book / "results").rglob("*")) if p.is_file())
    files = [project.book / "claims" / f"{slug}.yml", *(p for p in results if p.stem == slug or p.stem in code)]
    digest = hashlib.sha256()
    for path in files:
        if path.is_file():
            digest.update(b"\0" + path.relative_to(project.book).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
