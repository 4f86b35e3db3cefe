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
    "hostile name": (["run", "alpha", "-p", "n=1; import os #", "3"], "unrecognized arguments: 3"),
    "hostile name of a sweep": (["sweep", "alpha", "--grid", "__import__('os')=3"], "is not an identifier"),
    "text for a number": (["run", "alpha", "-p", "n", "many"], "n: got 'many', needs a whole number, 1 to 4096"),
    "fraction for a count": (["run", "alpha", "-p", "n", "3.5"], "n: got 3.5, needs a whole number"),
    "truth for a number": (["run", "alpha", "-p", "n", "true"], "n: got 'true', needs a whole number"),
    "below the range": (["run", "alpha", "-p", "n", "0"], "n: got 0, needs a whole number, 1 to 4096"),
    "far above the range": (["run", "alpha", "-p", "n", "9" * 40], "n: got 1e+40, needs a whole number, 1 to"),
    "negative exponent": (["run", "alpha", "-p", "n", "-1e-3"], "n: got -0.001, needs a whole number"),
    "an option's look": (["run", "alpha", "-p", "n", "-x"], "n: got '-x', needs a whole number"),
    "minutes and seconds": (["run", "alpha", "-p", "n", "1:30"], "n: got '1:30', needs a whole number"),
    "sixteens": (["run", "alpha", "-p", "n", "0x10"], "n: got '0x10', needs a whole number"),
    "eights": (["run", "alpha", "-p", "n", "0o17"], "n: got '0o17', needs a whole number"),
    "a comma for a point": (["run", "alpha", "-p", "rate", "1,5"], "rate: got '1,5', needs a number"),
    "a unit": (["run", "alpha", "-p", "n", "16 pixels"], "n: got '16 pixels', needs a whole number"),
    "other digits": (["run", "alpha", "-p", "n", "\u0663"], "needs a whole number"),
    "nothing for a number": (["run", "alpha", "-p", "n", ""], "n: got '', needs a whole number"),
    "nothing after the sign": (["run", "alpha", "-p", "n="], "n: got '', needs a whole number"),
    "none for a number": (["run", "alpha", "-p", "n", "None"], "n: got 'None', needs a whole number"),
    "two lines": (["run", "alpha", "-p", "n", "1\n2"], "n: got '1\\n2', needs a whole number"),
    "code": (["run", "alpha", "-p", "n", "__import__('os').getpid()"], "needs a whole number"),
    "a number for a truth": (["run", "alpha", "-p", "flag", "1"], "flag: got '1', needs true or false"),
    "a word for a truth": (["run", "alpha", "-p", "flag=maybe"], "flag: got 'maybe', needs true or false"),
    "not a number": (["run", "alpha", "-p", "rate", "nan"], "rate: got nan, needs a finite number"),
    "infinite": (["run", "alpha", "-p", "rate", ".inf"], "rate: got inf, needs a finite number"),
    "infinite by its size": (["run", "alpha", "-p", "rate", "1e999"], "rate: got inf, needs a finite number"),
    "text in a list": (
        ["run", "alpha", "-p", "sizes", "[1, two]"],
        "sizes: got '[1, two]', needs a list of whole numbers",
    ),
    "fraction in a list": (
        ["run", "alpha", "-p", "sizes", "1,2.5"],
        "sizes: got [1, 2.5], needs a list of whole numbers",
    ),
    "range in a list": (
        ["run", "alpha", "-p", "sizes", "1,-2"],
        "sizes: got [1, -2], needs a list of whole numbers, 0 to",
    ),
    "list in a list": (["run", "alpha", "-p", "sizes", "[[1]]"], "sizes: got '[[1]]', needs a list"),
    "list for a number": (["run", "alpha", "-p", "n", "[1]"], "n: got '[1]', needs a whole number"),
    "mapping for a list": (["run", "alpha", "-p", "sizes", "{1: 2}"], "needs a list"),
    "broken value": (["run", "alpha", "-p", "n", "[1"], "n: got '[1', needs a whole number"),
    "broken list": (["run", "alpha", "-p", "sizes", "[1"], "sizes: got '[1', needs a list"),
    "a choice that is none": (
        ["run", "beta", "-p", "victim", "dog"],
        "victim: got 'dog', needs one of \"\", kernel, worker",
    ),
    "negative where none may be": (["sweep", "beta", "--grid", "wait=0,-1"], "wait: got -1.0, needs a number, >= 0"),
    "parameter without a value": (["run", "alpha", "-p", "n"], "-p: n without a value; needs NAME=VALUE or NAME VALUE"),
    "parameter before another": (["run", "alpha", "-p", "n", "-p", "rate", "1"], "-p: n without a value"),
    "parameter before an option": (["run", "alpha", "-p", "n", "--preset", "ci"], "-p: n without a value"),
    "nothing after -p": (["run", "alpha", "-p"], "-p: nothing without a value"),
    "a name with blanks": (["run", "alpha", "-p", "my n=3"], "'my n' is not an identifier"),
    "an empty name": (["run", "alpha", "-p", "=3"], "'' is not an identifier"),
    "missing file": (
        ["run", "alpha", "-p", "name", "slice.dcm"],
        "name: got 'slice.dcm', needs a word or file to read: no such",
    ),
    "missing folder": (
        ["run", "alpha", "-p", "name", "scans/7"],
        "needs a word or file to read: no such file or folder",
    ),
    "a folder for a file": (["run", "alpha", "-p", "name", "./"], "is a folder"),
    "a zero byte": (["run", "alpha", "-p", "name", "a\0.dcm"], "the name holds a zero byte"),
    "a name too long": (["run", "alpha", "-p", "name", "x" * 5000 + ".dcm"], "name: got 'xxx"),
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
