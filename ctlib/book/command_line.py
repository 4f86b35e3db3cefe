"""What a command line may say: commands, options, parameters as `-p NAME=VALUE` and `-p NAME VALUE`, and help."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctlib.book.project import PRESETS, ROOT, STORE, Project, UsageError

WITH_PARAMETERS = ("run", "sweep", "record")


class Parser(argparse.ArgumentParser):
    """argparse, with one line for a mistake."""

    def error(self, message: str):
        self.exit(2, f"error: {message} (see `{self.prog} --help`)\n")


def at_least_one(text: str) -> int:
    """A count on the command line."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def parser() -> argparse.ArgumentParser:
    top = Parser(prog="python -m ctlib.book", description="Run, render, test and record the book.")
    top.add_argument("--root", default=str(ROOT), help=argparse.SUPPRESS)
    sub = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str):
        p = sub.add_parser(name, help=text, description=text)
        p.add_argument("--root", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        p.add_argument(
            "--store", type=Path, metavar="FOLDER", help=f"of executed runs (default: ${STORE}, _build/store)"
        )
        return p

    def preset(p, default="ci"):
        p.add_argument("--preset", default=default, metavar="|".join(PRESETS), help=f"default: {default}")

    def given(p):  # read by `without_parameters` before argparse sees the command line
        p.add_argument("-p", metavar="NAME=VALUE", dest="given", help="a parameter of the chapter; may be repeated")

    p = command("build", "run every chapter and render the book")
    preset(p)
    p.add_argument("--jobs", type=at_least_one, help="chapters run at once (default: one per core)")
    p = command("run", "run one chapter, with other parameters if given; prints its notebook and verdicts")
    p.add_argument("chapter")
    preset(p)
    given(p)
    p.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    p = command("sweep", "run a chapter over a grid of parameters on dask; continues where it was stopped")
    p.add_argument("chapter")
    p.add_argument(
        "--grid",
        action="append",
        required=True,
        metavar="NAME=a,b,c",
        help="values of a parameter; repeat for a product",
    )
    preset(p)
    given(p)
    p.add_argument("--scheduler", metavar="ADDRESS", help="a dask scheduler (default: processes on this machine)")
    p.add_argument("--workers", type=at_least_one, default=2, help="default: 2")
    p.add_argument("--out", type=Path, help="summary file (default: _build/sweeps/CHAPTER.json, or in the store)")
    p = command("record", "run a chapter at a preset and store its numbers and figures under book/results")
    p.add_argument("chapter")
    preset(p, "laptop")
    given(p)
    p.add_argument("--in-process", action="store_true", help="without Jupyter: run the code cells in this process")
    p = command("reference", "renew the notebooks that the tests compare fresh runs with")
    p.add_argument("chapters", nargs="*")
    p = command("fmt", "write the chapters in canonical form, their code cells formatted")
    p.add_argument("chapters", nargs="*")
    p.add_argument("--check", action="store_true")
    p = command("lint", "check the code cells of the chapters: ruff's rules, and every name bound in one cell")
    p.add_argument("chapters", nargs="*")
    p = command("test", "unit tests, and every chapter against its reference: its stored run, or else a fresh one")
    p.add_argument("--execute", action="store_true", help="execute every chapter, also where the store has its run")
    p.add_argument("--long", action="store_true", help="the tests marked `long` alone, which are left out otherwise")
    p.add_argument("pytest", nargs=argparse.REMAINDER, help="further arguments for pytest")
    command("lab", "open the chapters as notebooks in JupyterLab")
    return top


def command_of(words: list[str]) -> str:
    """The command among the words; "" if there is none."""
    places = (i for i, w in enumerate(words) if not w.startswith("-") and (not i or words[i - 1] != "--root"))
    return next((words[i] for i in places), "")


def without_parameters(words: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """The words of a command line without its parameters, and these: argparse takes -1e-3 for an option."""
    command = command_of(words)
    if command not in WITH_PARAMETERS:
        return words, []
    rest, found, words = [], [], list(words)
    while words:
        word = words.pop(0)
        if word.startswith("--") or not word.startswith("-p"):
            rest.append(word)
            continue
        name = word[2:] or (words.pop(0) if words and not words[0].startswith("--") else "")
        name, equals, value = name.partition("=")
        if not equals:
            if not name or not words or words[0] == "-p" or words[0].startswith("--"):
                said = f"argument -p: {name or 'nothing'} without a value; needs NAME=VALUE or NAME VALUE"
                raise UsageError(f"{said} (see `python -m ctlib.book {command} --help`)")
            value = words.pop(0)
        found.append((name.strip(), value))
    return rest, found


def parameters_of(words: list[str]) -> str:
    """The parameters of the chapter that a call for help names, one line each; "" where it names none."""
    if command_of(words) not in WITH_PARAMETERS:
        return ""
    root = words[words.index("--root") + 1] if "--root" in words[:-1] else ROOT
    project = Project(Path(root).resolve())
    for word in words:
        try:
            slug = project.slug(word)
        except UsageError:
            continue
        from ctlib.book import parameters

        lines = table(parameters.declarations_of(project, slug))
        return f"parameters of {slug}, each with default, meaning and what it may be:\n\n{lines}\n\n"
    return ""


def table(found: dict) -> str:
    """The parameters as lines for a person: name, default, meaning and what is allowed."""
    rows = [(p.name, repr(p.default), f"{p.meaning} | {p.rule}" if p.rule else p.meaning) for p in found.values()]
    name, default = (max((len(r[i]) for r in rows), default=0) for i in (0, 1))
    return "\n".join(f"  {a:{name}}  {b:{min(default, 24)}}  {c}".rstrip() for a, b, c in rows)
