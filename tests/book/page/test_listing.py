"""Listings show the source without docstrings; on the page the name under one is a link to its entry."""

import ast
import functools

import pytest

from ctlib.book.page import listing
from ctlib.errors import ArgumentError, DataError


def doubled(x):
    """Twice x.

    More words.
    """

    return 2 * x  # why two


def wrapper(fn):
    @functools.wraps(fn)
    def inner(*args):
        """Not this one."""
        return fn(*args)

    return inner


@wrapper
def tripled(x: float) -> float:
    """Thrice x."""
    return 3 * x


class Scale:
    """A factor."""

    factor = 2

    def apply(self, x):
        """factor times x."""
        text = """not a docstring"""
        return self.factor * x, text

    @property
    def twice(self):
        """Twice the factor."""
        return 2 * self.factor


# fmt: off
def short(): "Doc on the line of the def."; return 1  # noqa: E702
# fmt: on


class Empty(ValueError):
    """Nothing but words."""


def test_docstring_goes_comments_stay():
    assert listing.show(doubled).source == "def doubled(x):\n    return 2 * x  # why two"


def test_decorated_function_shows_itself_with_its_decorator():
    assert listing.show(tripled).source == "@wrapper\ndef tripled(x: float) -> float:\n    return 3 * x"


def test_method_and_property_are_dedented():
    assert listing.show(Scale.apply).source.startswith("def apply(self, x):\n    text = ")
    assert listing.show(Scale().apply).source == listing.show(Scale.apply).source
    assert listing.show(Scale.twice).source == "@property\ndef twice(self):\n    return 2 * self.factor"


def test_class_loses_every_docstring_and_still_parses():
    source = listing.show(Scale).source
    assert "A factor" not in source
    assert "factor times" not in source
    assert '"""not a docstring"""' in source
    names = [n.name for n in ast.parse(source).body[0].body if isinstance(n, ast.FunctionDef)]
    assert names == ["apply", "twice"]
    assert listing.show(Empty).source == "class Empty(ValueError):\n    ..."


def test_docstring_on_the_line_of_the_def():
    source = listing.show(short).source
    assert "Doc on" not in source
    namespace = {}
    exec(source, namespace)
    assert namespace["short"]() == 1


def test_page_and_plain_forms():
    shown = listing.show(doubled)
    assert shown._repr_markdown_().startswith("```python\ndef doubled(x):")
    assert f"{__name__}.doubled" in shown._repr_markdown_()
    assert repr(shown) == f"{shown.source}\n# {__name__}.doubled"


def test_too_long_and_without_source():
    with pytest.raises(ArgumentError, match="at most 40"):
        listing.show(listing)
    with pytest.raises(ArgumentError, match="source"):
        listing.show(len)


def chapter(*cells):
    return {
        "cells": [{"cell_type": "code", "source": c} for c in cells] + [{"cell_type": "markdown", "source": "show(x)"}]
    }


def test_what_a_notebook_shows_is_found_through_its_imports():
    cells = ("%matplotlib inline\nfrom ctlib.errors import DataError as Bad\nfrom ctlib import errors",
             "show(Bad)", "book.show(errors.DataError)\nshow(listing.show)")  # fmt: skip
    assert listing.shown(chapter(*cells)) == ["ctlib.errors.DataError", "listing.show"]


def test_a_name_means_what_an_import_statement_gives():
    assert listing.resolve("ctlib.errors.DataError") is DataError
    assert listing.full_name(listing.resolve("ctlib.recon.fbp")) == "ctlib.recon.fbp.fbp"  # a module too
    assert listing.full_name(listing.resolve("ctlib.recon.fbp.ramp_kernel")) == "ctlib.recon.fbp.ramp_kernel"
    with pytest.raises(ArgumentError, match=r"ctlib\.errors\.Nothing"):
        listing.resolve("ctlib.errors.Nothing")


def test_names_under_listings_become_links_and_the_first_of_each_is_labeled():
    plain = listing.show(listing.resolve("ctlib.errors.DataError"))._repr_markdown_()
    other = "Some text that ends with `ctlib.errors.DataError`"
    outputs = [{"data": {"text/markdown": text}} for text in (plain, plain, other)]
    nb = {"cells": [{"cell_type": "code", "source": "", "outputs": outputs}, {"cell_type": "markdown"}]}
    listing.link_listings(nb, "01-one")
    first, second, third = (o["data"]["text/markdown"] for o in outputs)
    assert first.startswith("(shown-01-one-ctlib-errors-dataerror)=\n```python\n")
    assert first.endswith("\n```\n\n```{container} ctlib-listing\n{py:obj}`ctlib.errors.DataError`\n```")
    assert second == first.partition("\n")[2]
    assert third == other
