"""Sphinx: docstrings of this library as entries of the API reference, linked both ways with the chapters."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import TypeVar

from ctlib.book.page import listing
from ctlib.book.site import api
from ctlib.book.site.docstring import restructured

TITLE = re.compile(r"^# (.+)$", re.M)


def setup(app):
    """Register with Sphinx; what autodoc is told holds for this library's docstrings alone."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.viewcode")
    for name, value in {
        "autodoc_member_order": "bysource",
        "autodoc_inherit_docstrings": False,
        "autodoc_preserve_defaults": True,
        "add_module_names": False,
        "python_use_unqualified_type_names": True,
        "python_maximum_signature_line_length": 90,
        "toc_object_entries_show_parents": "hide",
    }.items():
        app.config._raw_config.setdefault(name, value)
        app.config[name] = value
    app.connect("builder-inited", read_chapters)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-docstring", process)
    app.connect("missing-reference", outside)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def read_chapters(app) -> None:
    """Where each function is shown, and the title of each chapter, from the staged notebooks."""
    paths = sorted((Path(app.srcdir) / "book").glob("*.ipynb"))
    notebooks = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in paths}
    app.ctlib_shown = api.shown_in(notebooks)
    app.ctlib_titles = {slug: _title(slug, notebook) for slug, notebook in notebooks.items()}


def _title(slug: str, notebook: dict) -> str:
    texts = ("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown")
    found = next(filter(None, map(TITLE.search, texts)), None)
    return found[1] if found else slug


def skip(app, what, name, value, skipped, options):
    """Members of classes: own methods and properties with a docstring, and whatever a chapter shows."""
    if what == "module":
        return None
    full = listing.full_name(listing._plain(value))
    if full in app.ctlib_shown:
        return False
    public = name == "__call__" or not name.startswith("_")
    own = isinstance(value, property) or inspect.isroutine(value) or inspect.isclass(value)
    return not (public and own and bool(value.__doc__) and full.startswith("ctlib."))


def process(app, what, name, value, options, lines) -> None:
    """Replace a docstring by reStructuredText, and say where the thing is shown."""
    lines[:] = restructured(lines, lambda text: link(text, name, app.ctlib_shown))
    if slugs := app.ctlib_shown.get(name, []):
        places = [f":ref:`{app.ctlib_titles[slug]} <{listing.anchor_of(slug, name)}>`" for slug in slugs]
        lines += ["", ".. rst-class:: ctlib-shown", "", f"   Shown in {', '.join(places)}.", ""]


def link(text: str, owner: str, shown) -> str | None:
    """Full name of the entry that a backticked name in the docstring of `owner` means; None: it is plain code."""
    plain = text.partition("(")[0].strip(".")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", plain):
        return None
    parts = owner.split(".")
    for size in range(len(parts), -1, -1):
        for name in (".".join([*parts[:size], plain]), plain):
            if name.startswith("ctlib.") and (full := entry(name, shown)):
                return full
    return None


def entry(name: str, shown) -> str | None:
    """Full name of the function, class, method or module that this dotted name means, if it has an entry."""
    try:
        value = listing.resolve(name)
    except listing.ArgumentError:
        return None
    if inspect.ismodule(value):
        return value.__name__ if value.__name__.startswith("ctlib") and api.members(value.__name__, shown) else None
    inner = listing._plain(value)
    full = listing.full_name(inner)
    if not full.startswith("ctlib.") or not (inspect.isroutine(inner) or inspect.isclass(inner)):
        return None
    public = api.is_entry(full, shown) and (not api.is_compiled(inner.__module__) or full in shown)
    return full if public and (inner.__doc__ or full in shown) else None


def outside(app, env, node, contnode):
    """Types of other libraries and type variables are named, not linked; a dangling name of this library warns."""
    if node.get("refdomain") != "py":
        return None
    return contnode if is_plain_type(node["reftarget"]) else None


def is_plain_type(name: str) -> bool:
    """Whether a dotted name of a signature is none of this library's functions and classes."""
    if not name.startswith("ctlib"):
        return True
    try:
        return isinstance(listing.resolve(name), TypeVar)
    except listing.ArgumentError:
        return False
