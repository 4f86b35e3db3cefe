"""`show(fn)`: the library is the source, the page shows it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping

from ctlib.book.page.checks import without_checks
from ctlib.errors import ArgumentError

MAX_LINES = 40
LISTED = re.compile(r"(?P<source>(?P<fence>`{3,})python\n.*\n(?P=fence))\n\n`(?P<name>[\w.]+)`", re.S)


EQUATION = re.compile(r"\{eq\}`[\w-]+`")


class Listing:
    """Source of one function: highlighted Markdown on the page, plain text elsewhere."""

    def __init__(self, name: str, source: str):
        self.name, self.source = name, source

    def _repr_markdown_(self) -> str:
        fence = "````" if "```" in self.source else "```"
        return f"{fence}python\n{self.source}\n{fence}\n\n`{self.name}`"

    def __repr__(self) -> str:
        return f"{self.source}\n# {self.name}"


def _plain(fn: Callable) -> object:
    """The function or class under wrappers: functools.wraps, properties, bound methods, numba and Triton kernels."""
    if isinstance(fn, property):
        fn = fn.fget
    fn = inspect.unwrap(fn)
    for attribute in ("py_func", "fn", "__func__"):
        inner = getattr(fn, attribute, None)
        if not inspect.isclass(fn) and (inspect.isfunction(inner) or inspect.ismethod(inner)):
            fn = inner
    return fn


def full_name(fn: object) -> str:
    """Dotted name under which a function, method or class is defined."""
    return f"{getattr(fn, '__module__', '?')}.{getattr(fn, '__qualname__', fn)}"


def anchor_of(slug: str, name: str) -> str:
    """Label of the place where a chapter first shows a function."""
    return f"shown-{slug}-{name.replace('.', '-')}".lower()


def without_docstrings(source: str) -> str:
    """Python source with the docstrings of its functions and classes removed."""
    lines = source.splitlines()
    nodes = (
        n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    )
    for node in sorted(nodes, key=lambda n: -n.lineno):  # from the end, so that earlier line numbers stay valid
        if ast.get_docstring(node, clean=False) is None:
            continue
        doc = node.body[0]
        start, stop = doc.lineno - 1, doc.end_lineno
        head, tail = lines[start][: doc.col_offset], lines[stop - 1][doc.end_col_offset :].lstrip(" ;")
        while stop < len(lines) and not lines[stop].strip() and len(node.body) > 1:
            stop += 1
        kept = tail or ("..." if len(node.body) == 1 else "")  # code may share the docstring's line
        lines[start:stop] = [head + kept] if kept else []
    return "\n".join(lines)


def show(fn: Callable) -> Listing:
    """Listing of a ctlib function, class or method without its docstring and argument checks.

    ArgumentError where more than 40 lines are left.
    """
    inner = _plain(fn)
    name = full_name(inner)
    try:
        source = textwrap.dedent(inspect.getsource(inner))
    except (TypeError, OSError):
        raise ArgumentError("fn", repr(fn)[:80], "a function, method or class whose source is in a file") from None
    source = without_checks(without_docstrings(source)).rstrip()
    if (count := source.count("\n") + 1) > MAX_LINES:
        raise ArgumentError(
            "fn", f"{name} with {count} lines", f"at most {MAX_LINES}: split it where the derivation splits"
        )
    return Listing(name, source)


# --- what a notebook shows, and the links between its listings and the API reference ----------------------------------


def _dotted(node: ast.AST) -> str | None:
    """`a.b.c` as text, or None for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (head := _dotted(node.value)):
        return f"{head}.{node.attr}"
    return None


def shown(notebook: Mapping) -> list[str]:
    """Dotted names of what the notebook's code cells pass to `show`, resolved through its imports, in order."""
    aliases, found = {}, []
    cells = ("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    for node in (n for source in cells for n in ast.walk(_parsed(source))):
        if isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            aliases |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.Call) and _dotted(node.func) in ("show", "book.show") and node.args:
            found.append(_dotted(node.args[0]))
    parts = (name.partition(".") for name in found if name)
    return list(dict.fromkeys(aliases.get(head, head) + dot + rest for head, dot, rest in parts))


def _parsed(source: str) -> ast.AST:
    magic = ("%", "!")
    return ast.parse("\n".join("" if line.lstrip().startswith(magic) else line for line in source.splitlines()))


def resolve(name: str) -> object:
    """The object that a dotted name of ctlib means; ArgumentError when there is none.

    As for an import statement, a function of a package goes before a module of the same name, `ctlib.recon.fbp`.
    """
    parts = name.split(".")
    for cut in range(1, len(parts) + 1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
            for attribute in parts[cut:]:
                found = getattr(found, attribute)
        except (ImportError, AttributeError):
            continue
        return found
    raise ArgumentError("show", name, "a function that can be imported")


def link_listings(nb: Mapping, slug: str) -> None:
    """Make the name under every listing of an executed notebook a link to its entry, in place; label each one once.

    Equations that the docstring names are linked too.
    """
    labeled = set()
    for out in (out for cell in nb["cells"] for out in cell.get("outputs", [])):
        text = "".join(out.get("data", {}).get("text/markdown", ""))
        if found := LISTED.fullmatch(text):
            name = found["name"]
            label = f"({anchor_of(slug, name)})=\n" if name not in labeled else ""
            labeled.add(name)
            links = " · ".join([f"{{py:obj}}`{name}`", *equations(name)])
            link = f"```{{container}} ctlib-listing\n{links}\n```"
            out["data"]["text/markdown"] = f"{label}{found['source']}\n\n{link}"


def equations(name: str) -> list[str]:
    """The equations that the docstring of a shown function names, as links."""
    doc = getattr(_plain(resolve(name)), "__doc__", None) or ""
    return list(dict.fromkeys(EQUATION.findall(doc)))
