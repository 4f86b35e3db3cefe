"""Runs: what their key depends on, what the store takes for a whole run, and how a failing cell is told."""

import json
import os
import socket

import nbformat
import pytest
from minibook import without_figure

from ctlib.book.ledger import staleness
from ctlib.book.project import ROOT, Project, UsageError
from ctlib.book.runner import run, store
from ctlib.book.site import stage


@pytest.fixture
def library(tmp_path):
    """A library with a table, a module nobody imports, a reader module and a pipeline module."""
    files = {
        "__init__.py": "",
        "physics/__init__.py": "from .table import look_up\n",
        "physics/table.py": "from .. import deep, engines\n",
        "physics/water.csv": "1,2\n",
        "deep.py": "import math\n",
        "unused.py": "",
        "engines/__init__.py": "from .table import ENGINES\n",
        "engines/table.py": "ENGINES = ['fast.loops:Engine', 'no.module:Engine']\n",
        "engines/fast/__init__.py": "",
        "engines/fast/loops.py": "",
        "book/__init__.py": "from .ledger.claims import Ledger\n",
        "book/ledger/__init__.py": "",
        "book/ledger/claims.py": "from ..runner.run import x\nfrom ..page import listing\nfrom . import scoreboard\n",
        "book/ledger/scoreboard.py": "",
        "book/page/__init__.py": "",
        "book/page/listing.py": "",
        "book/runner/__init__.py": "",
        "book/runner/run.py": "from ...unused import y\n",
    }
    for name, text in files.items():
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).write_text(text)
    return tmp_path / "lib"


@pytest.fixture
def small(mini, library):
    """A chapter that imports that library."""
    cells = (":tags: [parameters]\n\nn = 1", "from lib import book, physics")
    mini.source("01-alpha").write_text("# One\n" + "".join(f"\n```{{code-cell}}\n{c}\n```\n" for c in cells))
    return Project(mini.root, library)


def key(project: Project, **parameters) -> str:
    return run.run_key(project, "01-alpha", parameters, "ci")


def test_a_chapter_reaches_what_it_imports_through_others_and_their_tables(small):
    names = {p.relative_to(small.library).as_posix() for p in staleness.reached(small, "01-alpha")}
    assert names == {
        "__init__.py",
        "physics/__init__.py",
        "physics/table.py",
        "physics/water.csv",
        "deep.py",
        "engines/__init__.py",
        "engines/table.py",
        "engines/fast/__init__.py",
        "engines/fast/loops.py",  # named by the table as a text
        "book/__init__.py",
        "book/ledger/__init__.py",
        "book/ledger/claims.py",
        "book/page/__init__.py",
        "book/page/listing.py",
    }


@pytest.mark.parametrize(
    "name", ["deep.py", "physics/table.py", "physics/water.csv", "book/page/listing.py", "engines/fast/loops.py"]
)
def test_an_edit_of_a_reached_file_makes_a_new_key(small, name):
    before = key(small)
    (small.library / name).write_text("# edited\n")
    assert key(small) != before


@pytest.mark.parametrize("name", ["book/runner/run.py", "book/ledger/scoreboard.py", "new.py", "physics/.hidden"])
def test_an_edit_elsewhere_does_not(small, name):
    before = key(small)
    (small.library / name).write_text("# edited\n")
    assert key(small) == before


def test_only_numerical_sources_make_a_recorded_run_old(small):
    before = staleness.sources_sha256("01-alpha", small)
    (small.library / "book" / "page" / "listing.py").write_text("# edited\n")
    assert staleness.sources_sha256("01-alpha", small) == before
    (small.library / "deep.py").write_text("# edited\n")
    assert staleness.sources_sha256("01-alpha", small) != before


def test_the_key_depends_on_code_parameters_preset_claims_and_results_and_not_on_prose(small):
    path = small.source("01-alpha")
    keys = [key(small), key(small, n=2), run.run_key(small, "01-alpha", {}, "custom")]
    (small.book / "claims" / "01-alpha.yml").write_text("edited: true\n")
    keys.append(key(small))
    (small.book / "results" / "laptop").mkdir(parents=True)
    (small.book / "results" / "laptop" / "01-alpha.json").write_text("{}\n")
    keys.append(key(small))
    path.write_text(path.read_text().replace("n = 1", "n = 3"))
    keys.append(key(small))
    assert len(set(keys)) == len(keys)
    path.write_text(path.read_text().replace("# One", "# Two"))
    assert key(small) == keys[-1]


def test_the_key_depends_on_the_contents_of_files_and_folders_that_parameters_name(small, tmp_path):
    scan = tmp_path / "scan"
    scan.mkdir()
    (scan / "1.dcm").write_text("a")
    keys = [key(small, n=str(scan)), key(small, n=str(scan / "1.dcm"))]
    (scan / "1.dcm").write_text("b")
    keys += [key(small, n=str(scan)), key(small, n=str(scan / "1.dcm"))]
    assert len(set(keys)) == 4


def test_code_that_does_not_parse_names_the_cell(small):
    small.source("01-alpha").write_text("```{code-cell}\nn = 1\n```\n\n```{code-cell}\n\nx = = 2\n```\n")
    with pytest.raises(UsageError, match="01-alpha: code cell 2, line 1: invalid syntax"):
        staleness.depends("01-alpha", small)


def whole(path):
    """A store entry as a finished run leaves it."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", execution_count=1)])
    nb.metadata["papermill"] = {"end_time": "2026-01-01"}
    nb.metadata["ctlib"] = {"key": path.stem + "rest"}
    return nb


def test_the_store_takes_whole_runs_only(tmp_path):
    path = tmp_path / "abc.ipynb"
    assert not store.finished(path)
    path.write_text(store.sealed(whole(path)))
    assert store.finished(path)
    killed = whole(path)
    killed.metadata["papermill"]["end_time"] = None
    other = whole(path)
    other.metadata["ctlib"]["key"] = "xyz"
    failed = whole(path)
    failed.cells[0].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    for nb in (killed, other, failed):
        path.write_text(store.sealed(nb))
        assert not store.finished(path)
    nbformat.write(whole(path), path)
    assert not store.finished(path), "without a digest"
    failed.cells[0].metadata["tags"] = ["raises-exception"]
    path.write_text(store.sealed(failed))
    assert store.finished(path)
    path.write_text(path.read_text().replace("raises-exception", "raises-exceptions"))
    assert not store.finished(path), "edited by hand"
    path.write_text(store.sealed(failed))
    path.write_text(path.read_text()[:100])
    assert not store.finished(path)


def test_parts_of_dead_processes_of_this_machine_are_removed(tmp_path):
    host, dead = socket.gethostname().partition(".")[0], 2**22 + 1
    names = [f"k.{host}-{os.getpid()}.part.ipynb", f"k.elsewhere-{dead}.part.ipynb", f"k.{host}-{dead}.part.ipynb"]
    for name in names:
        (tmp_path / name).touch()
    store.clean(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(names[:2])


def test_a_run_is_stored_and_taken_from_the_store_and_says_what_it_was_made_with(mini, book, capsys):
    done = book("run", "alpha", "-p", "n", "20")
    assert done.returncode == 0, done.stderr
    verdict, path = done.stdout.splitlines()
    assert verdict == "reproduced      alpha-sum: 22 [20, 24] (n = 3)"
    nb = nbformat.read(path, 4)
    nbformat.validate(nb)
    about = nb.metadata["ctlib"]
    assert (about["slug"], about["preset"], about["parameters"]) == ("01-alpha", "custom", {"n": 20})
    assert {"key", "seconds", "date", "machine", "device", "versions", "commit", "sources_sha256"} <= about.keys()
    again = book("run", "01", "-p", "n", "20", "-p", "rate", "0.5")
    assert again.stdout.splitlines()[1] == path
    assert nbformat.read(path, 4) == nb, "ran again"
    assert [p.name for p in mini.store.rglob("*.ipynb")] == [path.rpartition("/")[2]], "something was left behind"

    text = mini.source("01-alpha").read_text()
    mini.source("01-alpha").write_text(text.replace("# Alpha", "# Alpha, reworded"))
    merged = stage.with_present_text(mini, "01-alpha", nbformat.read(path, 4))
    assert merged.cells[0].source.startswith("# Alpha, reworded")
    assert [c.outputs for c in merged.cells if c.cell_type == "code"] == [
        c.outputs for c in nb.cells if c.cell_type == "code"
    ]
    mini.source("01-alpha").write_text(text.replace("n == 13", "n == 14"))
    with pytest.raises(UsageError, match="changed while the book was being built"):
        stage.with_present_text(mini, "01-alpha", nbformat.read(path, 4))


def test_a_failing_cell_ends_the_run_and_is_named(mini, book):
    done = book("run", "alpha", "-p", "n", "13")
    assert done.returncode == 1
    (kept,) = mini.store.rglob("*.ipynb")
    assert done.stderr == (
        f"error: 01-alpha: code cell 2 (`import numpy as np`): ValueError: thirteen pixels (see {kept})\n"
    )
    assert kept.name.endswith(".failed.ipynb")
    assert json.loads(kept.read_text())["cells"]


def test_an_expectation_that_breaks_raises_at_ci_and_is_recorded_elsewhere(mini, book):
    path = mini.book / "claims" / "01-alpha.yml"
    path.write_text(path.read_text().replace("min: 10", "min: 1000"))
    mini.source("01-alpha").write_text(without_figure(mini.source("01-alpha").read_text()))
    done = book("run", "alpha")
    assert done.returncode == 1
    assert "ClaimFailed: 01-alpha: alpha-sum: not reproduced, expected reproduced" in done.stderr
    done = book("run", "alpha", "--preset", "paper")
    assert (done.returncode, done.stdout.splitlines()[0][:14]) == (0, "not reproduced")


def test_a_failure_shown_on_purpose_is_none(mini, book):
    path = mini.source("lab-beta")
    path.write_text(path.read_text() + "\n```{code-cell} ipython3\n:tags: [raises-exception]\n\n1 / 0\n```\n")
    done = book("run", "beta")
    assert done.returncode == 0, done.stderr
    nb = nbformat.read(done.stdout.strip(), 4)
    assert nb.cells[-1].outputs[0].ename == "ZeroDivisionError"
    assert not [c for c in nb.cells if "papermill-error-cell-tag" in c.metadata.get("tags", [])]


def test_a_killed_kernel_is_told_in_one_line_and_leaves_nothing_half_done(mini, book):
    done = book("run", "beta", "-p", "victim", "kernel", "-p", "seed", "1")
    assert done.returncode == 1
    assert done.stderr == "error: lab-beta: the kernel died (killed, or out of memory); finished runs are kept\n"
    assert list(mini.store.rglob("*.ipynb")) == []
    assert book("run", "beta", "-p", "victim", "kernel", "-p", "seed", "1").returncode == 0


def test_a_page_that_runs_the_book_s_commands_depends_on_them():
    files = {p.relative_to(ROOT).as_posix() for p in staleness.reached(Project(), "howto-chapter")}
    assert {"ctlib/book/lint.py", "ctlib/book/runner/run.py"} <= files
    assert "ctlib/book/lint.py" not in {p.as_posix() for p in staleness.reached(Project(), "howto-engine")}
