"""Building: prose without a re-run, generated pages, provenance, and everything that must make `build` fail."""

import json
import re

import pytest
from minibook import BETA, miniature

from ctlib.book.runner.progress import Bars
from ctlib.book.site import render


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A miniature book, built once."""
    project = miniature(tmp_path_factory.mktemp("built"))
    return project, render.build(project)


def test_a_build_makes_every_page_and_says_how(built):
    project, index = built
    assert index == project.build / "ci" / "html" / "index.html"
    page = (index.parent / "book" / "01-alpha.html").read_text()
    text = re.sub(r"</?(span|code)[^>]*>", "", page)
    assert "How this page was computed" in page
    assert "Again: python -m ctlib.book run 01-alpha." in text
    assert "The total is 8.00 mm." in text
    assert 'alt="A checkerboard"' in page
    assert re.search(r'See <a[^>]* href="01-alpha.html"', (index.parent / "book" / "index.html").read_text())


def test_the_scoreboard_links_to_the_cell_that_measured_a_claim_and_to_the_ledger_as_data(built):
    _, index = built
    board = (index.parent / "book" / "scoreboard.html").read_text()
    page = (index.parent / "book" / "01-alpha.html").read_text()
    assert 'href="01-alpha.html#claim-alpha-sum"' in board
    assert page.count('id="claim-alpha-sum"') == 1
    assert '<tr data-chapter="Alpha" data-verdict="reproduced">' in board
    assert 'href="../_static/ledger.json"' in board
    (chapter,) = json.loads((index.parent / "_static" / "ledger.json").read_text())["chapters"]
    assert chapter["claims"][0]["of_record"] == {"verdict": "reproduced", "preset": "ci"}
    assert chapter["claims"][0]["page"] == "book/01-alpha.html#claim-alpha-sum"


def test_a_listing_and_the_entry_of_its_function_link_to_each_other(built):
    _, index = built
    chapter = (index.parent / "book" / "01-alpha.html").read_text()
    entries = (index.parent / "book" / "api" / "errors.html").read_text()
    assert 'href="api/errors.html#ctlib.errors.ArgumentError"' in chapter
    assert 'id="ctlib.errors.ArgumentError"' in entries
    label = "shown-01-alpha-ctlib-errors-argumenterror"
    assert f'id="{label}"' in chapter
    assert re.search(rf'Shown in <a[^>]*href="\.\./01-alpha\.html#{label}"[^>]*><span[^>]*>Alpha', entries)
    assert "DataError" in entries
    assert "<!-- api" not in entries


def test_a_second_build_runs_and_renders_nothing_and_one_after_an_edit_of_prose_runs_nothing(built):
    project, index = built
    runs = {p: p.stat().st_mtime_ns for p in project.store.rglob("*.ipynb")}
    stamp = index.stat().st_mtime_ns
    render.build(project)
    assert index.stat().st_mtime_ns == stamp
    path = project.source("01-alpha")
    path.write_text(path.read_text().replace("$a = b$", "$a = b$, reworded."))
    render.build(project)
    assert "reworded" in (index.parent / "book" / "01-alpha.html").read_text()
    assert {p: p.stat().st_mtime_ns for p in project.store.rglob("*.ipynb")} == runs


def test_a_warning_a_remote_script_and_a_missing_description_fail_the_build(built):
    project, _ = built
    path = project.book / "index.md"
    good = path.read_text()
    path.write_text(good + "\n{doc}`nowhere`\n")
    with pytest.raises(render.BuildFailed, match=r"Jupyter Book: .*WARNING.*nowhere"):
        render.build(project)
    remote = '<script src="https://example.org/x.js"></script>'
    path.write_text(good + f"\n{remote}\n\n<p><img src='_static/a.png'></p>\n")
    with pytest.raises(render.BuildFailed) as failure:
        render.build(project)
    assert "book/index.html: loads https://example.org/x.js from the network" in str(failure.value)
    assert "book/index.html: image without a real alternative text" in str(failure.value)
    path.write_text(good)


def test_a_listing_without_an_entry_fails_the_build(built):
    project, _ = built
    path = project.book / "api" / "errors.md"
    good = path.read_text()
    path.write_text("# Errors\n\n<!-- api: ctlib.units -->\n")
    with pytest.raises(render.BuildFailed, match=r"WARNING.*ctlib\.errors\.ArgumentError"):
        render.build(project)
    path.write_text(good)


def test_a_failing_chapter_fails_the_build_before_anything_is_rendered(mini, book):
    mini.source("01-alpha").write_text(BETA)
    mini.source("lab-beta").write_text(BETA.replace("seed = 0  ", "seed = 13 "))
    done = book("build")
    assert done.returncode == 1
    assert "error: lab-beta: code cell 2 (`import os`): ValueError: unlucky" in done.stderr
    assert "Traceback" not in done.stderr
    assert "01-alpha" in done.stdout, "the other chapter still runs"
    assert not (mini.build / "ci" / "html").exists()


def test_a_chapter_whose_process_is_killed_is_told_in_one_line(mini):
    path = mini.source("lab-beta")
    path.write_text(path.read_text().replace('victim = ""', 'victim = "worker"').replace("seed = 0 ", "seed = 1 "))
    with pytest.raises(render.BuildFailed, match="lab-beta: the run ended with code -9"):
        render.run_all(mini, "ci", slugs=["lab-beta"])


def test_a_page_of_the_contents_without_a_source_is_told_before_anything_runs(mini, book):
    mini.source("lab-beta").unlink()
    done = book("build")
    assert (done.returncode, done.stderr) == (2, "error: _toc.yml lists book/lab-beta, and there is no such file\n")
    assert not mini.store.exists()


def test_chapters_without_a_preset_go_into_its_book_at_ci(mini, book):
    assert render.preset_of(mini, "01-alpha", "paper") == "paper"
    assert render.preset_of(mini, "lab-beta", "paper") == "ci"
    (mini.book / "presets" / "01-alpha.yml").unlink()
    done = book("build", "--preset", "paper")
    assert (done.returncode, done.stderr) == (2, "error: no chapter has a preset 'paper'\n")


def test_bars_are_lines_where_there_is_no_terminal(capsys):
    bars = Bars(["01-alpha"])
    bars.update("01-alpha", 1, 3)
    bars.end("01-alpha", "ci  1.0 s")
    bars.close()
    assert capsys.readouterr().out == f"{'01-alpha':28s} ci  1.0 s\n"
