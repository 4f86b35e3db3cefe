"""A reader runs a cell again and gets what it gave before: no cell changes what another one has made.

The second run draws the figures; the first leaves that out, which is a third of all the time.
What the cells of a chapter made can be written to a file, from which a recording that was stopped goes on.
"""

from unittest import mock

import pytest
from tiny import TINY, few_steps

from ctlib.book.page import figures
from ctlib.book.page.output import COLLECTOR
from ctlib.book.project import Project
from ctlib.book.runner import inprocess, snapshot

pytestmark = pytest.mark.usefixtures("one_thread")
TIMES = {"pcct-t3-newton-slower", "pcct-t3-proxy-faster"}  # ratios of two clocked times


def said() -> dict[str, str]:
    """Claims and numbers up to here, as texts: not a number equals itself."""
    collector = COLLECTOR.get()
    return {name: repr(value) for name, value in {**collector.claims, **collector.numbers}.items() if name not in TIMES}


def run_every_cell_twice(project: Project, slug: str, values: dict, made: list | None = None) -> list[str]:
    """What cells say differently when they are run a second time, one line each; a list gets the names they made."""
    once, changed, made = inprocess._run_cell, [], [] if made is None else made

    def twice(name, cell, namespace):
        with mock.patch.object(figures, "png", return_value=b"not drawn"):
            once(name, cell, namespace)
        first = said()
        once(name, cell, namespace)
        second = said()
        changed.extend(f"{name}: {k} was {first.get(k)}, is {second[k]}" for k in second if second[k] != first.get(k))
        made[:] = [namespace]

    with mock.patch.object(inprocess, "_run_cell", twice):
        inprocess.run_cells(project, slug, values, "ci")
    return changed


def test_a_cell_that_uses_up_what_another_made_is_told(mini):
    path = mini.source("lab-beta")
    text = path.read_text().replace("import os\n", "import os\n\nparts = [1, 2, 3]\n")
    left = 'from ctlib.book import number\n\nparts.pop()\nnumber("left", len(parts), 0)'
    path.write_text(text.replace("print(seed * seed)", left))
    assert run_every_cell_twice(mini, "lab-beta", {}) == ["lab-beta, code cell 3: left was '2', is '1'"]


@pytest.mark.long
@pytest.mark.parametrize("slug", Project().chapters())
def test_every_cell_of_a_chapter_may_be_run_again(slug, tmp_path):
    pytest.importorskip("xraylib")
    project, made = Project(), []
    with few_steps():
        assert run_every_cell_twice(project, slug, TINY.get(slug, {}), made) == []
    if (project.book / "presets" / f"{slug}.yml").exists():  # it is recorded
        snapshot.save(tmp_path / "cells", made[0], {})  # NotStorable names what a stopped run would make again
