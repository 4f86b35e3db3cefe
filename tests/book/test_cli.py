"""Mistakes on the command line end with one clear line and code 2, before anything runs."""

import pytest

from ctlib.book.cli import main

MISTAKES = {
    "unknown command": (["bild"], "invalid choice: 'bild'"),
    "no command": ([], "required: COMMAND"),
    "unknown chapter": (["run", "07"], "unknown chapter '07'; chapters are: 01-alpha, lab-beta"),
    "unknown chapter of a sweep": (["sweep", "gamma", "--grid", "n=1"], "unknown chapter 'gamma'"),
    "unknown chapter of a record": (["record", "gamma"], "unknown chapter 'gamma'"),
    "unknown chapter of a reference": (["reference", "gamma"], "unknown chapter 'gamma'"),
    "unknown preset": (["run", "alpha", "--preset", "huge"], "unknown preset 'huge'; presets are: ci, laptop, paper"),
    "unknown preset of a build": (["build", "--preset", "huge"], "unknown preset 'huge'"),
    "preset the chapter does not have": (["run", "beta", "--preset", "paper"], "lab-beta: no preset 'paper'"),
    "unknown parameter": (["run", "alpha", "-p", "m", "3"], "no parameter 'm'; it has: n, rate, name, flag, sizes"),
    "unknown parameter of a sweep": (["sweep", "alpha", "--grid", "m=3"], "no parameter 'm'"),
    "parameter twice": (["run", "alpha", "-p", "n", "3", "-p", "n", "4"], "parameter n is given twice"),
    "parameter twice in a grid": (["sweep", "alpha", "--grid", "n=3", "--grid", "n=4"], "n is given twice"),
    "value twice in a grid": (["sweep", "alpha", "--grid", "n=3,3"], "n has the value 3 twice"),
    "parameter in grid and -p": (["sweep", "alpha", "--grid", "n=3", "-p", "n", "4"], "both --grid and -p"),
    "hostile name": (["run", "alpha", "-p", "n=1; import os #", "3"], "is not an identifier"),
    "hostile name of a sweep": (["sweep", "alpha", "--grid", "__import__('os')=3"], "is not an identifier"),
    "text for a number": (["run", "alpha", "-p", "n", "many"], "n needs a value of type int, like 16; got 'many'"),
    "fraction for a count": (["run", "alpha", "-p", "n", "3.5"], "n needs a value of type int"),
    "truth for a number": (["run", "alpha", "-p", "n", "true"], "n needs a value of type int"),
    "not a number": (["run", "alpha", "-p", "rate", "nan"], "rate needs a finite number"),
    "infinite": (["run", "alpha", "-p", "rate", ".inf"], "rate needs a finite number"),
    "text in a list": (["run", "alpha", "-p", "sizes", "[1, two]"], "sizes[1] needs a value of type int"),
    "broken value": (["run", "alpha", "-p", "n", "[1"], "'[1' is not a value"),
    "missing file": (["run", "alpha", "-p", "name", "slice.dcm"], "name: no such file: slice.dcm"),
    "missing folder": (["run", "alpha", "-p", "name", "scans/7"], "no such file: scans/7"),
    "grid without values": (["sweep", "alpha", "--grid", "n="], "needs NAME=value,value"),
    "no workers": (["sweep", "alpha", "--grid", "n=1", "--workers", "0"], "is not a whole number above 0"),
    "summary into a folder": (["sweep", "alpha", "--grid", "n=1", "--out", "."], "is a folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_and_code_2(mini, mistake, capsys):
    words, says = MISTAKES[mistake]
    try:
        code = main([*words, "--root", str(mini.root)])
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2, said
    assert says in said
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) == 1, said
    assert not mini.store.exists(), "something ran"


@pytest.mark.parametrize("mistake", ["unknown command", "unknown chapter", "hostile name"])
def test_so_it_is_in_a_process_of_its_own(book, mistake):
    words, says = MISTAKES[mistake]
    done = book(*words)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert says in done.stderr


def test_a_scheduler_that_is_not_there_is_one_clear_line(book):
    done = book(
        "sweep", "beta", "--grid", "seed=0,1", "--scheduler", "nowhere", DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="1s"
    )
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    assert "no dask scheduler at 'nowhere'" in done.stderr


@pytest.mark.parametrize("name", ["01", "1", "alpha", "01-alpha", "book/01-alpha.md"])
def test_a_chapter_may_be_named_in_several_ways(mini, name):
    assert mini.slug(name) == "01-alpha"


def test_help_names_every_command(book):
    done = book("--help")
    assert done.returncode == 0
    for name in ("build", "run", "sweep", "record", "reference", "fmt", "lint", "test", "lab"):
        assert f"\n    {name}" in done.stdout


def test_fmt_tells_and_mends_a_chapter_that_is_not_canonical(mini, capsys):
    root, path = ["--root", str(mini.root)], mini.source("01-alpha")
    good = path.read_text()
    assert main(["fmt", "--check", *root]) == 0
    path.write_text(good.replace(":tags: [remove-input]\n\n", ":tags: ['remove-input']\n"))
    assert main(["fmt", "--check", *root]) == 1
    assert capsys.readouterr().out.startswith("01-alpha: not canonical; run")
    assert main(["fmt", *root]) == 0
    assert path.read_text() == good
