"""The API reference: which modules and names it has entries for, and the pages that list them.

A page `book/api/*.md` holds a line `<!-- api: ctlib.recon ctlib.losses -->`: modules by name, and packages with the
modules directly in them. Private names and compiled loops have entries where a chapter shows them.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Mapping

import ctlib
from ctlib.book.page import listing

MARK = re.compile(r"^<!-- api: ([\w. ]+) -->$", re.M)


def modules() -> list[str]:
    """Every module of the library, packages included, in the order of their names."""
    found = pkgutil.walk_packages(ctlib.__path__, "ctlib.")
    return ["ctlib", *sorted(m.name for m in found if not m.name.endswith("__main__"))]


def is_compiled(module: str) -> bool:
    """Whether a module lies among compiled loops, which need numba or Triton and are no public interface."""
    return bool({"cpu", "gpu"} & set(module.split(".")[:-1]))


def of_page(names: Iterable[str]) -> list[str]:
    """Modules that a page's mark means: those named, and what lies directly in the packages named."""
    everything, out = modules(), []
    for name in names:
        inside = [m for m in everything if m.rpartition(".")[0] == name and not _is_package(m)]
        out += [m for m in [name, *inside] if m not in out]
    return out


def _is_package(module: str) -> bool:
    return any(m.startswith(module + ".") for m in modules())


def is_entry(name: str, shown: Iterable[str] = ()) -> bool:
    """Whether a function, class or method of this dotted name has an entry."""
    return name in shown or not any(part.startswith("_") and part != "__call__" for part in name.split("."))


def members(module: str, shown: Iterable[str]) -> list[str]:
    """Names of a module's own functions and classes that have entries, in the order of the source."""
    private = is_compiled(module) or any(part.startswith("_") for part in module.split("."))
    if private and not any(name.startswith(module + ".") for name in shown):
        return []
    found = {}
    for name, value in vars(importlib.import_module(module)).items():
        inner = listing._plain(value)
        full = f"{module}.{name}"
        if getattr(inner, "__module__", None) != module or not callable(inner):
            continue
        if any(s == full or s.startswith(full + ".") for s in shown) or not (private or name.startswith("_")):
            found[name] = _line(inner)
    return sorted(found, key=found.get)


def _line(fn: object) -> int:
    try:
        return inspect.getsourcelines(fn)[1]
    except (OSError, TypeError):
        return 0


def shown_in(notebooks: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """Full name of each shown function, class or method: slugs of the chapters that show it, in the book's order."""
    where: dict[str, list[str]] = {}
    for slug, notebook in notebooks.items():
        for name in listing.shown(notebook):
            slugs = where.setdefault(listing.full_name(listing._plain(listing.resolve(name))), [])
            slugs += [slug] * (slug not in slugs)
    return where


def page(text: str, shown: Iterable[str]) -> str:
    """A page of the reference with its mark replaced by one section a module."""
    return MARK.sub(lambda found: "\n\n".join(_sections(found[1].split(), list(shown))), text)


def _sections(names: list[str], shown: list[str]) -> Iterable[str]:
    for module in of_page(names):
        own = members(module, shown)
        doc = inspect.getdoc(importlib.import_module(module)) if own else None
        if own:
            yield f"## `{module}`\n\n```{{eval-rst}}\n.. automodule:: {module}\n   :members: {', '.join(own)}\n```"
        elif doc and _is_package(module):
            yield f"```{{eval-rst}}\n.. automodule:: {module}\n   :no-members:\n```"
