"""The parameters on a command line: `-p NAME=VALUE` and `-p NAME VALUE`, and what a call for help says of them."""

from __future__ import annotations

from pathlib import Path

from ctlib.book.project import ROOT, Project, UsageError

WITH_PARAMETERS = ("run", "sweep", "record")


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
