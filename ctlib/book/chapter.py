"""A chapter's source: its code cells, read without jupytext so that a bare machine can do it, and its notebook form."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ctlib.book.project import UsageError

OPEN = re.compile(r"(`{3,}|~{3,})\s*(\S*)")
FRONT = re.compile(r"\A---\n.*?^---\s*\n", re.M | re.S)  # YAML block of a cell
SHORT = re.compile(r"\A(?::[\w-]+:[^\n]*\n)+\n?")  # `:tags: [parameters]` lines of a cell
TAGS = re.compile(r"tags:\s*\[([^\]]*)\]|^tags:\s*\n((?:\s*-\s*[^\n]+\n)+)", re.M)


@dataclass(frozen=True)
class CodeCell:
    """Source and tags of one code cell, and the line of the chapter's file at which the source starts."""

    source: str
    tags: tuple[str, ...]
    line: int


def code_cells(path: Path) -> list[CodeCell]:
    """Code cells of a MyST notebook, in order."""
    cells = []
    for line, body in _blocks(path.read_text(encoding="utf-8").splitlines(keepends=True)):
        head = FRONT.match(body) or SHORT.match(body)
        options, body = (head[0], body[head.end() :]) if head else ("", body)
        above = options + body[: len(body) - len(body.lstrip("\n"))]
        found = TAGS.search(options)
        tags = re.findall(r"\w[\w-]*", found[1] or found[2]) if found else []
        cells.append(CodeCell(body.strip("\n"), tuple(tags), line + above.count("\n")))
    return cells


def _blocks(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Line and body of the code-cell fences; a fence inside another fence is text, as it is for jupytext."""
    fence, is_cell, start, body = "", False, 0, []
    for number, line in enumerate(lines, 1):
        if not fence:
            if opened := OPEN.match(line):
                fence, is_cell, start, body = opened[1], opened[2] == "{code-cell}", number + 1, []
        elif (end := line.rstrip()) and set(end) == {fence[0]} and len(end) >= len(fence):
            if is_cell:
                yield start, "".join(body)
            fence = ""
        else:
            body.append(line)


def plain_python(source: str) -> str:
    """Cell source without IPython magics, which are not Python; line numbers stay."""
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())


def read_notebook(path: Path):
    """The chapter as a notebook node, through jupytext."""
    import jupytext

    return jupytext.read(path, fmt="md:myst")


def canonical(path: Path) -> str:
    """A chapter's text as jupytext writes it, front matter untouched: a save in JupyterLab then changes nothing."""
    import jupytext

    text = path.read_text(encoding="utf-8")
    if not re.match(r"---\n.*?^---\n", text, re.M | re.S):
        raise UsageError(f"{path.stem}: no front matter: a chapter starts with the `---` block that jupytext writes")
    again = jupytext.writes(jupytext.reads(text, fmt="md:myst"), fmt="md:myst")
    return "---\n" + text.split("---\n", 2)[1] + "---\n" + again.split("---\n", 2)[2]
