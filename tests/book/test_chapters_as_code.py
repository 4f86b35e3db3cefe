"""A chapter's code is held to the library's rules, to the width of a page, and to one binding of every name.

`python -m ctlib.book lint CHAPTER` says the same with files and lines, `python -m ctlib.book fmt CHAPTER` formats.
"""

import pytest

from ctlib.book.chapter import code_cells
from ctlib.book.lint import LINE_LENGTH, problems
from ctlib.book.project import Project

PROJECT = Project()
CHAPTERS = PROJECT.chapters()


@pytest.fixture(scope="module", params=CHAPTERS)
def told(request):
    """What is wrong with a chapter, as texts by rule."""
    by_rule = {}
    for p in problems(PROJECT, request.param):
        by_rule.setdefault(p.rule, []).append(f"{request.param}.md:{p.line}: {p.text}")
    return by_rule


@pytest.mark.parametrize("slug", CHAPTERS)
def test_no_line_of_a_cell_is_wider_than_a_page(slug):
    cells = code_cells(PROJECT.source(slug))
    wide = [f"{c.line + i}: {t}" for c in cells for i, t in enumerate(c.source.splitlines()) if len(t) > LINE_LENGTH]
    assert not wide


def test_no_name_is_bound_in_two_cells(told):
    assert not told.get("BOUND")


def test_the_cells_are_formatted(told):
    assert not told.get("FORMAT")


def test_the_cells_follow_the_rules_of_the_library(told):
    assert not {rule: texts for rule, texts in told.items() if rule not in ("BOUND", "FORMAT")}
