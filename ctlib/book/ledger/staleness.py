"""Which files a chapter's outputs depend on, and hashes over them: they decide whether a stored result still holds."""

from __future__ import annotations

import ast
import hashlib
import re
from functools import lru_cache
from pathlib import Path

from ctlib.book.chapter import code_cells, plain_python
from ctlib.book.project import Project, UsageError

# Reader modules whose output lands in a notebook count; what moves notebooks around leaves no trace in them.
PIPELINE = (
    "book/runner/", "book/site/", "book/cli.py", "book/command_line.py", "book/chapter.py", "book/lint.py",
    "book/parameters.py", "book/declarations.py", "book/rules.py", "book/reading.py", "book/paths.py",
    "book/project.py", "book/session.py", "book/__main__.py", "book/ledger/staleness.py", "book/ledger/scoreboard.py",
)  # fmt: skip
COMMANDS = re.compile(r"""["']-m["'],\s*["']ctlib\.book["']""")
LOADED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _imported(source: str, package: str, known: set[str]) -> set[str]:
    """Modules of `known` that Python source imports, absolute or relative to `package`."""
    return {m for name in _named(source, package) for m in _with_parents(name) if m in known}


@lru_cache(maxsize=2048)  # every chapter asks for the same modules, and parsing them is most of the time
def _named(source: str, package: str) -> frozenset[str]:
    """Dotted names that Python source imports, absolute or relative to `package`.

    A text "module:name" counts as an import from `package`: so the table of engines names what it loads when needed.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, node.module or ""]).strip(".")
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and LOADED.fullmatch(node.value):
            found.add(f"{package}.{node.value.partition(':')[0]}")
    return frozenset(found)


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


def reached(project: Project, slug: str, reader: bool = True) -> list[Path]:
    """Library files that the chapter's code imports, directly or through others, with the data files beside them.

    The pipeline's own modules are left out: they move notebooks around and leave no trace in them.
    reader  False: numerical modules alone, as far as they are reached without the reader modules
    """
    modules = library_modules(project.library)
    names = {name: path.relative_to(project.library).as_posix() for name, path in modules.items()}
    counted = {
        n for n, file in names.items() if not file.startswith(PIPELINE) and (reader or not file.startswith("book/"))
    }
    code = _code(project, slug)
    if reader and COMMANDS.search(code):  # a page that runs the book's own commands shows what they print
        counted |= {n for n in names if names[n].startswith("book/")}
        started = {n for n in counted if names[n] == "book/cli.py"}
    else:
        started = set()
    todo, seen = _imported(code, "", counted) | started, set()
    while todo:
        name = todo.pop()
        seen.add(name)
        package = name if modules[name].name == "__init__.py" else name.rpartition(".")[0]
        todo |= _imported(modules[name].read_text(encoding="utf-8"), package, counted) - seen
    files = {modules[name] for name in seen}
    return sorted(files | {f for folder in {p.parent for p in files} for f in _data(folder)})


def _data(folder: Path) -> set[Path]:
    """The data files of a package: in its folder, and in folders below that hold no modules."""
    entries = [p for p in folder.iterdir() if not p.name.startswith((".", "__pycache__"))]
    below = [p for p in entries if p.is_dir() and not any(p.glob("*.py"))]
    own = {p for p in entries if p.is_file() and p.suffix not in (".py", ".pyc", ".md")}
    return own.union(*map(_data, below))


def _code(project: Project, slug: str) -> str:
    """The chapter's code as one Python text; UsageError names the cell that does not parse."""
    sources = [plain_python(c.source) for c in code_cells(project.source(slug))]
    for i, source in enumerate(sources, 1):
        try:
            ast.parse(source)
        except SyntaxError as error:
            raise UsageError(f"{slug}: code cell {i}, line {error.lineno}: {error.msg}") from None
    return "\n".join(sources)


def _hash(files: list[Path], root: Path, *texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(b"\0text\0" + text.encode())
    for path in files:
        digest.update(b"\0file\0" + path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def sources_sha256(slug: str, project: Project | None = None) -> str:
    """Hash over the chapter's code cells and the numerical library files they reach: what makes its numbers."""
    project = project or Project()
    cells = (c.source for c in code_cells(project.source(slug)))
    return _hash(reached(project, slug, reader=False), project.library, *cells)


def reader_sha256(slug: str, project: Project) -> str:
    """Hash over all library files that the chapter reaches: what makes its numbers and how they look."""
    return _hash(reached(project, slug), project.library)


def inputs_sha256(slug: str, project: Project) -> str:
    """Hash over the book's data that the chapter shows: claims, opening and records, its own or those it names."""
    code = _code(project, slug)
    folders = [project.book / name for name in ("claims", "openings", "results")]
    files = [p for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()]
    return _hash([p for p in files if p.stem == slug or p.stem in code], project.book)


def depends(slug: str, project: Project) -> dict[str, str]:
    """All three hashes, as they enter the key of a run."""
    kinds = {"sources": sources_sha256, "reader": reader_sha256, "inputs": inputs_sha256}
    return {name: hash_of(slug, project) for name, hash_of in kinds.items()}
