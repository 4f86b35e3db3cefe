"""CONTRIBUTING says what is there: its commands parse, its rooms and paths exist, its pages are in the book."""

import re
import shlex
from pathlib import Path

import pytest
from test_layers import LEVELS

from ctlib.book.chapter import code_cells
from ctlib.book.command_line import parser, without_parameters
from ctlib.book.project import Project
from ctlib.book.site.check import toc_pages

ROOT = Project().root
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"python -m ctlib\.book ([^`#\n]+)", TEXT)


@pytest.mark.parametrize("command", sorted({c.strip() for c in COMMANDS}))
def test_a_command_is_one(command):
    words, given = without_parameters(shlex.split(command))
    args = parser().parse_args(words)
    if args.command == "test":  # of no chapter
        return
    named = getattr(args, "chapters", None) or [args.chapter]
    assert [Project().slug(name) for name in named] == ["02-deep-image-prior"]
    (declared,) = (c.source for c in code_cells(Project().source("02-deep-image-prior")) if "parameters" in c.tags)
    assert all(re.search(rf"^{name} = ", declared, re.M) for name, _ in given)


def test_every_room_stands_at_its_level():
    rows = re.findall(r"^\| (\d|reader) \| `([^`]+)` \|", TEXT, re.M)
    said = {re.split(r"/", name)[0]: level for level, names in rows for name in names.split()}
    rooms = {room: str(level).partition(".")[0].replace("r", "reader") for room, level in LEVELS.items() if room}
    assert said == rooms


def test_what_it_names_exists():
    linked = re.findall(r"\]\(([^)]+)\)", TEXT)
    named = re.findall(r"`((?:tests|book)/[\w./-]+)`", TEXT)
    for name in [*linked, *named]:
        assert (ROOT / name).exists(), name
    papers = re.search(r"papers/\{([\w,]+)\}", TEXT)[1].split(",")
    assert sorted(papers) == sorted(p.parent.name for p in (ROOT / "ctlib" / "papers").glob("*/__init__.py"))


def test_the_four_pages_are_chapters_of_the_book():
    pages = [Path(name).stem for name in re.findall(r"\((book/howto-\w+\.md)\)", TEXT)]
    assert len(pages) == 4
    assert set(pages) <= set(Project().chapters())
    assert {f"book/{name}" for name in pages} <= set(toc_pages(Project()))
