"""A chapter's source: its code cells, read without jupytext so that a bare machine can do it, and its notebook form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(`{3,})\{code-cell\}[^\n]*\n(.*?)^\1\s*$", re.M | re.S)
FRONT = re.compile(r"\A---\n.*?^---\s*\n", re.M | re.S)  # YAML block of a cell
SHORT = re.compile(r"\A(?::[\w-]+:[^\n]*\n)+\n?")  # `:tags: [parameters]` lines of a cell
TAGS = re.compile(r"tags:\s*\[([^\]]*)\]|^tags:\s*\n((?:\s*-\s*[^\n]+\n)+)", re.M)


@dataclass(frozen=True)
class CodeCell:
    """Source and tags of one code cell."""

    source: str
    tags: tuple[str, ...]


def code_cells(path: Path) -> list[CodeCell]:
    """Code cells of a MyST notebook, in order."""
    cells = []
    for match in FENCE.finditer(path.read_text(encoding="utf-8")):
        body = match[2]
        head = FRONT.match(body) or SHORT.match(body)
        options, body = (head[0], body[head.end() :]) if head else ("", body)
        found = TAGS.search(options)
        tags = re.findall(r"[\w-]+", found[1] or found[2]) if found else []
        cells.append(CodeCell(body.strip("\n"), tuple(t for t in tags if t != "-")))
    return cells


def read_notebook(path: Path):
    """The chapter as a notebook node, through jupytext."""
    import jupytext

    return jupytext.read(path, fmt="md:myst")


def canonical(text: str) -> str:
    """A chapter's text as jupytext writes it, front matter untouched: a save in JupyterLab then changes nothing."""
    import jupytext

    again = jupytext.writes(jupytext.reads(text, fmt="md:myst"), fmt="md:myst")
    return "---\n" + text.split("---\n", 2)[1] + "---\n" + again.split("---\n", 2)[2]
