"""The chapters' code cells as code: formatted and checked by ruff as one notebook, every name bound in one cell."""

from __future__ import annotations

import ast
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ctlib.book import parameters
from ctlib.book.chapter import CodeCell, canonical, code_cells, plain_python
from ctlib.book.project import Project, UsageError

LINE_LENGTH = 95  # what a page and JupyterLab show without scrolling
SHOWN_LAST = ("show", "table", "recorded", "diagram.network", "diagram.pipeline")  # they return what a cell shows
THROWN_AWAY = "_"  # the one name that may be bound again: nobody reads it


@dataclass(frozen=True, order=True)
class Problem:
    """Something in a chapter's code that a reader would stumble over, at a line of the chapter's file."""

    line: int
    rule: str
    text: str


def formatted(project: Project, slug: str) -> str:
    """The chapter's text in canonical form, its code cells formatted.

    The parameters cell stays as it is written: it is a table, and its comments are aligned.
    """
    import jupytext

    path = project.source(slug)
    nb = jupytext.reads(canonical(path), fmt="md:myst")
    cells = [c for c in nb.cells if c.cell_type == "code"]
    for cell, source in zip(cells, _format(project, slug, [c.source for c in cells]), strict=True):
        if "parameters" not in cell.metadata.get("tags", []):
            cell.source = source
    front, text = path.read_text(encoding="utf-8").split("---\n", 2)[1], jupytext.writes(nb, fmt="md:myst")
    return "---\n" + front + "---\n" + text.split("---\n", 2)[2]


def _format(project: Project, slug: str, sources: list[str]) -> list[str]:
    """The cells with their imports sorted and their lines broken."""
    notebook = _notebook(sources)
    sort = ("check", "--select", "I", "--fix", "--exit-zero", "--quiet")
    for command in (sort, ("format",)):
        notebook = _ruff(project, slug, command, notebook)
    return ["".join(c["source"]) for c in json.loads(notebook)["cells"]]


def _notebook(sources: list[str]) -> str:
    """A notebook of these code cells: ruff knows magics and results at the end of a cell there."""
    empty = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    cells = [{**empty, "id": f"c{i}", "source": source.splitlines(keepends=True)} for i, source in enumerate(sources)]
    metadata = {"language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def _ruff(project: Project, slug: str, command: tuple[str, ...], notebook: str) -> str:
    """What ruff says to the notebook, by the library's rules and the cells' line length."""
    settings = project.library.parent / "pyproject.toml"  # its folder tells ruff which imports are our own
    options = [f"--config={settings}", f"--config=line-length={LINE_LENGTH}", "--no-cache"]
    words = [sys.executable, "-m", "ruff", *command, *options, f"--stdin-filename={slug}.ipynb", "-"]
    done = subprocess.run(words, input=notebook, capture_output=True, text=True, check=False, cwd=settings.parent)
    if done.returncode > 1 or not done.stdout.strip():
        raise UsageError(f"{slug}: ruff cannot read the code cells: {done.stderr.strip() or done.returncode}")
    return done.stdout


def problems(project: Project, slug: str) -> list[Problem]:
    """What ruff's rules and the rule of one binding find in a chapter, in order of its lines."""
    cells = code_cells(project.source(slug))
    found = [*_broken_rules(project, slug, cells)]
    if not any(p.rule == "SYNTAX" for p in found):
        found += [*_names_bound_again(cells), *_never_shown(cells)]
        found += [*_unformatted(project, slug), *_declared_wrongly(project, slug, cells)]
    return sorted(found)


def _declared_wrongly(project: Project, slug: str, cells: list[CodeCell]) -> Iterator[Problem]:
    """Parameters without a range, with a rule that cannot be read, or with a default that breaks it."""
    for cell in (c for c in cells if "parameters" in c.tags):
        for line, text in parameters.problems(project, slug):
            yield Problem(cell.line + line - 1, "PARAMETER", text)


def _unformatted(project: Project, slug: str) -> Iterator[Problem]:
    before = project.source(slug).read_text(encoding="utf-8").splitlines()
    after = formatted(project, slug).splitlines()
    if after != before:
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False)))
        yield Problem(same + 1, "FORMAT", f"not as `python -m ctlib.book fmt {slug}` writes it")


def _broken_rules(project: Project, slug: str, cells: list[CodeCell]) -> Iterator[Problem]:
    notebook = _notebook([c.source for c in cells])
    command = ("check", "--output-format=json", "--extend-select=E501,F401,F821", "--exit-zero")
    for found in json.loads(_ruff(project, slug, command, notebook)):
        line = cells[found["cell"] - 1].line + found["location"]["row"] - 1
        yield Problem(line, _rule(found["code"]), found["message"])


def _rule(code: str | None) -> str:
    return code if code and re.fullmatch(r"[A-Z]+\d+", code) else "SYNTAX"


def _names_bound_again(cells: list[CodeCell]) -> Iterator[Problem]:
    """Names that a cell binds although an earlier one has: a reader who goes back meets another value.

    Within one cell a name may be bound as often as it takes. Only `_` may return: nobody reads it.
    """
    first = {}
    for number, cell in enumerate(cells):
        bound = _bound(ast.parse(plain_python(cell.source)))
        for name, row in sorted(bound.items(), key=lambda item: item[1]):
            where, line = first.setdefault(name, (number, cell.line + row - 1))
            if where != number and name != THROWN_AWAY:
                text = f"`{name}` is already bound at line {line}: one name, one cell"
                yield Problem(cell.line + row - 1, "BOUND", text)


def _never_shown(cells: list[CodeCell]) -> Iterator[Problem]:
    """What a cell makes to be seen and drops: a notebook shows the last expression of a cell alone."""
    for cell in cells:
        for node in ast.parse(plain_python(cell.source)).body[:-1]:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                name = ast.unparse(node.value.func)
                if name in SHOWN_LAST:
                    yield Problem(
                        cell.line + node.lineno - 1, "UNSEEN", f"`{name}` is not last in its cell: nobody sees it"
                    )


def _bound(node: ast.AST) -> dict[str, int]:
    """{name: line} of everything that running this code binds at its top level: not inside functions and classes."""
    found: dict[str, int] = {}
    for name, line in _bindings(node):
        found[name] = min(line, found.get(name, line))
    return found


def _bindings(node: ast.AST, in_comprehension: bool = False) -> Iterator[tuple[str, int]]:
    match node:
        case ast.Name(id=name, ctx=ast.Store()) if not in_comprehension:
            yield name, node.lineno
        case ast.NamedExpr(target=ast.Name(id=name)):  # binds outside a comprehension too
            yield name, node.lineno
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, node.lineno
        case ast.alias(name=name, asname=alias):
            yield alias or name.partition(".")[0], node.lineno
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name, node.lineno
        case ast.MatchMapping(rest=str(name)):
            yield name, node.lineno
    comprehension = isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
    for child in _executed(node):
        yield from _bindings(child, in_comprehension or comprehension)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Parts of a statement that share its scope: a function's decorators and defaults, not its body."""
    match node:
        case ast.Lambda():
            yield node.args
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from (*node.decorator_list, node.args)
        case ast.ClassDef():
            yield from (*node.decorator_list, *node.bases, *node.keywords)
        case _:
            yield from ast.iter_child_nodes(node)
