"""Links between pages: with `.md` for JupyterLab, without for Sphinx, which sees notebooks."""

import re

import pytest

from ctlib.book.project import Project
from ctlib.book.site.stage import to_pages

BOOK = Project().book
PAGES = sorted(path.stem for path in BOOK.glob("*.md"))


def test_links_to_pages_lose_their_suffix_and_nothing_else_does():
    text = "[](02-b.md), [see](notation.md), [](label), [x](other.md), `notation.md` and https://a.org/notation.md"
    assert to_pages(text, ["02-b", "notation"]) == text.replace("(02-b.md)", "(02-b)").replace(
        "(notation.md)", "(notation)"
    )


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_another_page_opens_in_jupyterlab(page):
    links = re.findall(r"\]\(([\w-]+)\)", (BOOK / f"{page}.md").read_text(encoding="utf-8"))
    assert not [f"[]({name}): write {name}.md" for name in links if name in PAGES]
