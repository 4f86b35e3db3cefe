"""`show(fn)`: the library is the source, the page shows it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable

from ..errors import ArgumentError

MAX_LINES = 40


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
        head = lines[start][: doc.col_offset]  # not blank when the docstring sits on the line of the `def`
        while stop < len(lines) and not lines[stop].strip() and len(node.body) > 1:
            stop += 1
        lines[start:stop] = [f"{head}..."] if len(node.body) == 1 else [head.rstrip()] * bool(head.strip())
    return "\n".join(lines)


def show(fn: Callable) -> Listing:
    """Listing of a ctlib function, class or method without its docstring; ArgumentError above 40 lines."""
    inner = _plain(fn)
    name = f"{getattr(inner, '__module__', '?')}.{getattr(inner, '__qualname__', inner)}"
    try:
        source = textwrap.dedent(inspect.getsource(inner))
    except (TypeError, OSError):
        raise ArgumentError("fn", repr(fn)[:80], "a function, method or class whose source is in a file") from None
    source = without_docstrings(source).rstrip()
    if (count := source.count("\n") + 1) > MAX_LINES:
        raise ArgumentError(
            "fn", f"{name} with {count} lines", f"at most {MAX_LINES}: split it where the derivation splits"
        )
    return Listing(name, source)
