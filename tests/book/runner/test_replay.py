"""Stored runs in place of fresh ones: compared with the references by nbval's rules, and only where nothing changed."""

import os
import re
import subprocess
import sys

import nbformat
import pytest
from minibook import FRONT, miniature

from ctlib.book.cli import main
from ctlib.book.project import ROOT
from ctlib.book.runner import reference, run, store, testing
from ctlib.book.session import ONE_THREAD

pytest_plugins = ["pytester"]
QUIET = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
CELLS = [
    (":tags: [parameters]\n", "n = 3    # of nothing | any"),
    ("", "with open('../runs.log', 'a') as log:\n    print(n, file=log)"),
    ("", "print('square')\nn * n"),
    (":tags: [nbval-ignore-output]\n", "import time\nprint(time.time())"),
    (":tags: [nbval-skip]\n", "print('not asked')"),
    (":tags: [raises-exception]\n", "1 / 0"),
    ("", "n + 1"),
]
SLUG = "lab-gamma"


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A book of one chapter that notes each of its runs, its reference, and its stored run: texts of both."""
    project = miniature(tmp_path_factory.mktemp("replayed"))
    for slug in project.chapters():
        project.source(slug).unlink()
    cells = "".join(f"```{{code-cell}} ipython3\n{head}\n{source}\n```\n\n" for head, source in CELLS)
    project.source(SLUG).write_text(FRONT + "# Gamma\n\n" + cells)
    path = reference.write(project, SLUG)
    written = path.read_text()
    path.write_text(written.replace(nbformat.read(path, 4).metadata["ctlib"]["run"], "another"))
    (stored,) = testing.stored(project)
    return project, {p: p.read_text() for p in (path, stored, project.source(SLUG))}, written


@pytest.fixture
def gamma(once):
    """(project, path of the reference, path of the stored run), whole before every test."""
    project, texts, _ = once
    for path, text in texts.items():
        path.write_text(text)
    for log in project.root.rglob("runs.log"):
        log.unlink()
    return project, *list(texts)[:2]


def change(path, edit, seal=False):
    nb = nbformat.read(path, 4)
    edit([c for c in nb.cells if c.cell_type == "code"])
    path.write_text(store.sealed(nb) if seal else nbformat.writes(nb))


def says(number, text):
    """An edit: the outputs of a cell hold another number."""

    def edit(cells):
        cells[number].outputs[-1]["data"]["text/plain"] = text

    return edit


def ran(project) -> list[str]:
    """What the chapter noted: beside the book when it ran for the store, in `tests` when nbval executed it."""
    return [line for log in project.root.rglob("runs.log") for line in log.read_text().split()]


@pytest.fixture
def compare(gamma, pytester):
    """What pytest says of the reference when the stored run takes part."""
    project, path, stored = gamma

    def call(*words):
        flags = [*testing.NBVAL, *QUIET, "--replay", str(stored), "--rootdir", str(project.root)]
        done = pytester.runpytest_inprocess(*flags, *words, str(path))
        assert ran(project) == [], "the chapter was executed"
        return done

    return call


def test_a_stored_run_is_compared_cell_by_cell_and_said_to_be_replayed(gamma, compare):
    done = compare()
    done.assert_outcomes(passed=6, skipped=1)
    done.stdout.fnmatch_lines([f"{SLUG} * replayed: what the stored run {gamma[2].name} put out was compared"])


def test_so_is_a_single_cell(compare):
    compare("-k", "Cell and 6").assert_outcomes(passed=1, deselected=6)


ALTERED = {
    "a number": (2, says(2, "10")),
    "the last number": (6, says(6, "5")),
    "printed text": (2, lambda cells: cells[2].outputs[0].update(text="cube\n")),
    "an output that is missing": (6, lambda cells: cells[6].outputs.clear()),
    "an output too many": (1, lambda cells: cells[1].outputs.extend(cells[6].outputs)),
    "the error that is shown": (5, lambda cells: cells[5].outputs[0].update(evalue="by nothing")),
}


@pytest.mark.parametrize("what", ALTERED)
@pytest.mark.parametrize("side", ["reference", "stored run"])
def test_an_altered_output_fails_on_either_side(gamma, compare, what, side):
    number, edit = ALTERED[what]
    change(gamma[1 if side == "reference" else 2], edit, seal=side == "stored run")
    done = compare()
    done.assert_outcomes(passed=5, failed=1, skipped=1)
    done.stdout.fnmatch_lines([f"FAILED *{SLUG}.ipynb::Cell {number}*"])


def test_what_is_not_compared_may_differ(gamma, compare):
    change(gamma[2], lambda cells: cells[3].outputs[0].update(text="0\n"), seal=True)
    compare().assert_outcomes(passed=6, skipped=1)


def test_a_run_of_other_code_or_with_a_raised_cell_does_not_pass(gamma, compare):
    error = nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=["Traceback of it"])
    change(gamma[2], lambda cells: (cells[3].outputs.append(error), cells[6].update(source="n + 2")), seal=True)
    done = compare()
    done.assert_outcomes(passed=4, failed=2, skipped=1)
    done.stdout.fnmatch_lines(["*Cell execution caused an exception*", "*Traceback of it*", "*is of other code*"])


EDITED = {
    "a number": says(2, "10"),
    "a text that is not compared": lambda cells: cells[3].outputs[0].update(text="0\n"),
    "a source": lambda cells: cells[6].update(source="n + 2"),
    "a tag": lambda cells: cells[6].metadata.update(tags=["nbval-ignore-output"]),
}


@pytest.mark.parametrize("what", EDITED)
def test_a_run_that_was_edited_by_hand_is_not_taken(gamma, what, capsys):
    change(gamma[2], EDITED[what])
    assert testing.stored(gamma[0]) == []
    assert capsys.readouterr().out == f"{SLUG}: the stored run was edited or is damaged; the chapter is executed\n"


def test_a_run_that_is_cut_off_is_not_taken(gamma, capsys):
    gamma[2].write_text(gamma[2].read_text()[:-200])
    assert testing.stored(gamma[0]) == []
    assert capsys.readouterr().out == f"{SLUG}: the stored run is no whole notebook; the chapter is executed\n"


def test_a_reference_is_not_compared_with_the_run_that_it_was_written_from(once, gamma, capsys):
    project, path, _ = gamma
    path.write_text(once[2])
    assert testing.stored(project) == []
    assert "written from the stored run" in capsys.readouterr().out


def test_a_run_in_which_a_cell_raised_is_not_taken(gamma, capsys):
    error = nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
    change(gamma[2], lambda cells: cells[2].outputs.append(error), seal=True)
    assert testing.stored(gamma[0]) == []
    assert "did not end well" in capsys.readouterr().out


def test_an_edited_run_is_not_taken_for_a_page_either(gamma):
    project, _, stored = gamma
    change(stored, says(2, "10"))
    assert run.execute(project, SLUG, {}) == stored
    assert ran(project) == ["3"]
    assert "'10'" not in stored.read_text()
    assert testing.stored(project) == [stored]


@pytest.fixture
def asked(gamma, monkeypatch):
    """The command that the tests would be run by, its environment, and how many runs take part in it."""

    def call(execute=False, **env):
        for name in ONE_THREAD:
            monkeypatch.delenv(name, raising=False)
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        seen = []
        monkeypatch.setattr(subprocess, "call", lambda command, cwd, env: seen.append(command) or 5)
        assert testing.run_tests(gamma[0], ["tests/reference", "-q"], execute) == 5
        (command,) = seen
        assert command[-2:] == ["tests/reference", "-q"]
        return [command[i + 1] for i, word in enumerate(command) if word == "--replay"]

    return call


def test_a_run_takes_part_only_where_it_is_of_this_code_and_asked_for(gamma, asked):
    project, _, stored = gamma
    assert asked() == [str(stored)]
    assert asked(execute=True) == []
    assert asked(OMP_NUM_THREADS="2") == [], "a person tests with other numbers of threads"
    assert asked(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="7") == [], "other devices"
    (project.book / "claims" / f"{SLUG}.yml").write_text("claims: []\n")
    assert asked(CUDA_VISIBLE_DEVICES="") == []
    (project.book / "claims" / f"{SLUG}.yml").unlink()


@pytest.mark.parametrize("long", [False, True])
def test_long_tests_are_run_apart(gamma, monkeypatch, long):
    words = []
    monkeypatch.setattr(subprocess, "call", lambda command, cwd, env: words.extend(command) or 0)
    assert main(["test", "--root", str(gamma[0].root), *["--long"] * long, "tests"]) == 0
    assert words[words.index("pytest") + 1 :][:2] == ["-m", "long" if long else "not long"]
    assert ("--nbval" in words) is not long, "the references belong to the others"
    assert words[-1] == "tests"


def command(project, *words) -> subprocess.CompletedProcess:
    """`test` in a process of its own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | ONE_THREAD
    words = [sys.executable, "-m", "ctlib.book", "test", "--root", str(project.root), *words, "tests/reference", *QUIET]
    words += ["-n", "0"]  # a process for one notebook is enough
    env["PYTHONPATH"] = str(ROOT)
    return subprocess.run(words, cwd=project.root, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_says_which_chapters_it_replayed_and_executes_the_others(gamma):
    project, path, stored = gamma
    done = command(project)
    assert re.search(rf"^{SLUG} +replayed", done.stdout, re.M), done.stdout + done.stderr
    assert (done.returncode, ran(project)) == (0, [])
    done = command(project, "--execute")
    assert re.search(rf"^{SLUG} +executed", done.stdout, re.M), done.stdout + done.stderr
    assert (done.returncode, ran(project)) == (0, ["3"])
    stored.unlink()
    change(path, says(2, "10"))
    done = command(project)
    assert re.search(rf"^{SLUG} +executed", done.stdout, re.M), done.stdout + done.stderr
    assert (done.returncode, ran(project)) == (1, ["3", "3"])
