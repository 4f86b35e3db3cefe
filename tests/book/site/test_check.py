"""What a rendered page may not do, each on a page of one line."""

import json

import pytest

from ctlib.book.project import Project
from ctlib.book.site import check

GOOD = """<link rel="canonical" href="https://example.org/"><a href="https://example.org">away</a>
<script src="_static/x.js"></script><img alt="A phantom" src="a.png"><style>a {background: url(b.png)}</style>
<script>const text = "https://example.org"; import("./local.js")</script><svg xmlns="http://www.w3.org/2000/svg"></svg>
"""
BAD = {
    '<script src="https://example.org/x.js"></script>': "loads https://example.org/x.js",
    '<script src="//example.org/x.js"></script>': "loads //example.org/x.js",
    '<link rel="stylesheet" href="http://example.org/x.css">': "loads http://example.org/x.css",
    '<link rel="preload" href="https://example.org/x.woff2">': "loads https://example.org/x.woff2",
    '<img alt="A phantom" src="https://example.org/x.png">': "loads https://example.org/x.png",
    '<img alt="A phantom" src="x.png" srcset="x.png 1x, https://example.org/y.png 2x">': "loads https://example.org/y",
    '<iframe src="https://example.org"></iframe>': "loads https://example.org",
    '<object data="https://example.org/x.svg"></object>': "loads https://example.org/x.svg",
    '<p style="background: url(https://example.org/x.png)">': "loads https://example.org/x.png",
    '<style>@import "https://example.org/x.css";</style>': "loads https://example.org/x.css",
    '<script type="module">import {x} from "https://example.org/x.js"</script>': "loads https://example.org/x.js",
    '<img src="x.png">': "image without a real alternative text",
    '<img alt="  " src="x.png">': "image without a real alternative text",
    '<img alt="_images/0a1b.PNG" src="x.png">': "image without a real alternative text",
}


@pytest.fixture
def pages(mini):
    """Folder with every page of the miniature book, all good."""
    html = mini.build / "html"
    for name in check.toc_pages(mini):
        (html / f"{name}.html").parent.mkdir(parents=True, exist_ok=True)
        (html / f"{name}.html").write_text(GOOD)
    return html


def test_good_pages_have_no_problems(mini, pages):
    assert check.problems(mini, pages) == []


@pytest.mark.parametrize("line", BAD)
def test_a_bad_line_is_found_and_its_page_named(mini, pages, line):
    (pages / "book" / "01-alpha.html").write_text(GOOD + line + GOOD)
    (problem,) = check.problems(mini, pages)
    assert problem.startswith(f"book/01-alpha.html: {BAD[line]}")


def test_pictures_inside_widgets_and_style_sheets_are_looked_at(mini, pages):
    state = {"state": {"1": {"state": {"value": '<figure><img src="x.png"></figure>'}}, "2": {"state": {"value": 3}}}}
    (pages / "book" / "01-alpha.html").write_text(f'<script type="{check.WIDGETS}">{json.dumps(state)}</script>')
    (pages / "theme.css").write_text("a { background: url('https://example.org/x.png') }")
    assert check.problems(mini, pages) == [
        "book/01-alpha.html: widget: image without a real alternative text: x.png",
        "theme.css: loads https://example.org/x.png from the network",
    ]


def test_a_missing_page_and_a_chapter_outside_the_contents_are_found(mini, pages):
    (pages / "book" / "lab-beta.html").unlink()
    mini.source("03-new").write_text("")
    assert check.problems(mini, pages) == ["missing page: book/lab-beta.html", "not in _toc.yml: book/03-new"]


def test_every_chapter_of_the_book_is_in_its_contents():
    listed = set(check.toc_pages(Project()))
    assert {f"book/{slug}" for slug in Project().chapters()} <= listed
