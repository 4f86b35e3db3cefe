"""References: written slim from a run, compared by nbval, and not trusted when stale, unexecuted or empty."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from minibook import miniature

from ctlib.book.chapter import code_cells
from ctlib.book.cli import main
from ctlib.book.project import ROOT, Project
from ctlib.book.runner import reference
from ctlib.book.session import ONE_THREAD


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A miniature book with its references."""
    project = miniature(tmp_path_factory.mktemp("referenced"))
    assert main(["reference", "--root", str(project.root)]) == 0
    return project


@pytest.fixture
def alpha(written):
    """Path of one reference, put back after the test."""
    path = written.reference / "01-alpha.ipynb"
    text = path.read_text()
    yield path
    path.write_text(text)


def edit(path, change):
    nb = nbformat.read(path, 4)
    change(nb)
    nbformat.write(nb, path)


def test_a_written_reference_is_trusted_small_and_holds_no_picture(written, alpha):
    assert reference.problems(written) == []
    text = alpha.read_text()
    assert len(text) < 10_000
    assert "image/png" not in text
    assert nbformat.read(alpha, 4).metadata.keys() == {"kernelspec", "ctlib"}
    assert "alpha-sum" in text
    assert "18.25" not in text, "digits of an ignored cell"


def test_writing_again_changes_nothing(written, alpha):
    before = alpha.read_text()
    reference.write(written, "01-alpha")
    assert alpha.read_text() == before


CHANGES = {
    "of other code": lambda nb: nb.cells[1].update(source="x = 1"),
    "without an execution count": lambda nb: nb.cells[1].update(execution_count=None),
    "holds no outputs": lambda nb: [c.update(outputs=[]) for c in nb.cells],
}


@pytest.mark.parametrize("says", CHANGES)
def test_a_bad_reference_makes_the_test_command_fail_before_it_runs_anything(written, alpha, says, capsys):
    edit(alpha, CHANGES[says])
    assert main(["test", "--root", str(written.root)]) == 1
    said = capsys.readouterr().err
    assert f"01-alpha: the reference {'is ' * (says == 'of other code')}" in said
    assert says in said
    assert "run `python -m ctlib.book reference 01-alpha`" in said


def test_missing_broken_and_left_over_references_are_told(written, alpha):
    alpha.write_text("{")
    assert reference.problems(written)[0].startswith("01-alpha: the reference is not a notebook")
    alpha.rename(alpha.with_name("09-gone.ipynb"))
    assert [p.partition(";")[0] for p in reference.problems(written)] == [
        "09-gone.ipynb: no such chapter any more",
        "01-alpha: no reference",
    ]
    alpha.with_name("09-gone.ipynb").unlink()


def nbval(project) -> subprocess.CompletedProcess:
    flags = ["--nbval", "--nbval-current-env", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    words = [sys.executable, "-m", "pytest", *flags, "tests/reference/01-alpha.ipynb"]
    env = {**os.environ, **ONE_THREAD, "CTLIB_BOOK": str(project.book), "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=project.root, env=env, capture_output=True, text=True, check=False)


def test_nbval_passes_every_cell_but_the_one_with_an_edited_number(written, alpha):
    alpha.write_text(alpha.read_text().replace("8.00", "8.01"))
    done = nbval(written)
    assert done.returncode == 1
    assert "1 failed, 6 passed" in done.stdout, done.stdout[-3000:]
    assert "8.01" in done.stdout


def test_the_references_of_the_book_can_be_trusted():
    assert reference.problems(Project()) == []


def test_references_of_the_book_are_small_and_hold_no_machine_paths():
    for path in sorted(Project().reference.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        assert len(text) < 200_000, path.name
        assert str(ROOT) not in text, path.name
        assert all(not o.get("metadata") for c in json.loads(text)["cells"] for o in c.get("outputs", [])), path.name


def test_a_cell_whose_output_is_not_compared_says_why():
    tags = [c.tags for path in sorted(Project().book.glob("*.md")) for c in code_cells(path)]
    ignored = [set(t) for t in tags if "nbval-ignore-output" in t]
    assert ignored
    assert all({"digits-differ-by-machine", "shows-recorded-runs"} & t for t in ignored)
    skipped = [t for t in tags if "nbval-skip" in t]
    assert skipped
    assert all("explorer-drawn-by-test-cells-twice" in t for t in skipped)
