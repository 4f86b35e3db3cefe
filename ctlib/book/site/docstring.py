"""A docstring of this library as reStructuredText: prose, formulas, and argument lists that stay aligned."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

ITEM = re.compile(r"(\S+(?: \S+)*?) {2,}(\S.*)")  # `name  what it is`, at the margin
INLINE = re.compile(r"(?:\{(?P<role>[\w:]+)\})?`(?P<text>[^`]+)`")
SPECIAL = re.compile(r"[\\*`|_]")
LINKED = {"eq", "cite", "cite:t", "cite:p"}  # roles that keep their meaning; of others the text stays


def blocks(lines: Sequence[str]) -> list[tuple[str, list]]:
    """The parts of a docstring in order: ("text" or "formula", lines) or ("items", [[name, line, ...], ...])."""
    out: list[tuple[str, list]] = []
    kind = ""  # of the part that is open; a blank line closes it
    for line in lines:
        if not line.strip():
            kind = "formula, blank" if kind.startswith("formula") else ""
            continue
        item = ITEM.fullmatch(line.rstrip())
        indented = line[0] == " "
        if indented and kind == "items":
            out[-1][1][-1].append(line.strip())
        elif indented:
            if kind == "formula, blank":
                out[-1][1].append("")
            kind = _open(out, kind.partition(",")[0], "formula", line.rstrip())
        elif item:
            kind = _open(out, kind, "items", [item[1], item[2]])
        else:
            kind = _open(out, kind, "text", line.strip())
    return out


def _open(out: list, kind: str, wanted: str, content) -> str:
    """Add content to the open part, or to a new one if the open one is of another kind."""
    if kind != wanted:
        out.append((wanted, []))
    out[-1][1].append(content)
    return wanted


def inline(text: str, link: Callable[[str], str | None]) -> str:
    """One piece of prose with its roles and backticked names; link(name) is the full name to link to, or None."""
    out, end = [], 0
    for found in INLINE.finditer(text):
        out += [_escaped(text[end : found.start()]), _role(found["role"], found["text"], link)]
        end = found.end()
        before, after = text[: found.start()][-1:], text[end:][:1]
        out[-1] = (r"\ " if before.isalnum() else "") + out[-1] + (r"\ " if after.isalnum() or after == "(" else "")
    return "".join([*out, _escaped(text[end:])])


def _escaped(text: str) -> str:
    return SPECIAL.sub(r"\\\g<0>", text)


def _role(role: str | None, text: str, link: Callable[[str], str | None]) -> str:
    if role in LINKED:
        return ("equation " if role == "eq" else "") + f":{role}:`{text}`"
    target = None if role else link(text)
    return f":py:obj:`{text} <{target}>`" if target else f"``{text}``"


def restructured(lines: Sequence[str], link: Callable[[str], str | None]) -> list[str]:
    """Lines of reStructuredText for the lines of a docstring."""
    out: list[str] = []
    for kind, content in blocks(lines):
        if kind == "text":
            out += [inline(" ".join(content), link), ""]
        elif kind == "formula":
            margin = min(len(line) - len(line.lstrip()) for line in content if line)
            out += [".. parsed-literal::", "", *("   " + inline(line[margin:], link) for line in content), ""]
        else:
            out += [".. rst-class:: ctlib-arguments", ""]
            for name, *words in content:
                out += [f"   ``{name}``", "      " + inline(" ".join(words), link), ""]
    return out
