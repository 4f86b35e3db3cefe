"""Every command that README, CONTRIBUTING and the pages show is understood by what it calls; cheap ones are run."""

import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from ctlib.book import cli, command_line, parameters
from ctlib.book.project import ROOT, Project
from ctlib.book.runner.sweep import parse_grid

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "book").glob("*.md"))]
BLOCK = re.compile(r"^(`{3,})(?:bash|console|sh|shell)\n(.*?)^\1", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`((?:python -m|make(?= )|pytest|papermill|jupytext|ruff|conda|\.ci/)[ \w/][^`(]*)`")
NO_PROGRAM = {".", "git"}  # `. .venv/bin/activate`, `git tag v<version>`
EXAMPLES = {"slug": "02-deep-image-prior"}  # what <...> may stand for


def commands():
    """(document, words) of every command."""
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        lines = [line for block in BLOCK.finditer(text) for line in block[2].replace("\\\n", " ").splitlines()]
        lines += [" ".join(m[1].split()) for m in INLINE.finditer(BLOCK.sub("", text))]
        for line in lines:
            filled = re.sub(r"<(\w+)>", lambda m: EXAMPLES.get(m[1], "1.0"), line).removeprefix("$ ")
            for part in filled.split("&&"):
                if words := shlex.split(part, comments=True):
                    yield path.name, words


ALL = sorted({(name, *words) for name, words in commands()})


def those(*start):
    """Commands that begin so, as test parameters."""
    found = [words for _, *words in ALL if tuple(words[: len(start)]) == start]
    return pytest.mark.parametrize("words", found, ids=[" ".join(words) for words in found])


def test_the_documents_show_commands_and_each_is_of_a_known_program():
    programs = {words[0] for _, *words in ALL}
    assert programs - NO_PROGRAM == {"python", "make", "pytest", "papermill", "jupytext", "ruff", "conda", ".ci/run"}
    assert len([words for _, *words in ALL if words[:3] == ["python", "-m", "ctlib.book"]]) >= 15


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder with the files that the examples name."""
    for name in ("slice.dcm", "scan.npy"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@those("python", "-m", "ctlib.book")
def test_a_command_of_the_book_is_understood(words, elsewhere):
    project, (rest, given) = Project(), command_line.without_parameters([w for w in words[3:] if w != "--help"])
    args = command_line.parser().parse_args(rest)
    for chapter in [getattr(args, "chapter", None), *getattr(args, "chapters", [])]:
        slug = project.slug(chapter) if chapter else None
    if given or getattr(args, "grid", None):
        values = parameters.parse_given(project, slug, given)
        grid = parse_grid(project, slug, getattr(args, "grid", None) or [])
        for name, axis in grid.items():
            for value in axis:
                parameters.resolve(project, slug, args.preset, {**values, name: value})
        changed = parameters.resolve(project, slug, args.preset, values)
        assert values.keys() <= changed.keys(), "an example shows another value than the default"
    elif slug and hasattr(args, "preset"):
        parameters.resolve(project, slug, args.preset)


@those("make")
def test_a_target_of_make_exists(words):
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert words[1] in targets  # `make -n` would run the lines that call make again
    if file := [w.partition("=")[2] for w in words if w.startswith("FILE=")]:
        assert (ROOT / file[0]).is_file()


@those("papermill")
def test_a_papermill_command_names_parameters_of_its_chapter(words):
    from papermill.cli import papermill

    context = papermill.make_context("papermill", words[1:])
    chapter = next(w for _, *ws in ALL for w in ws if ws[0] == "jupytext" and context.params["notebook_path"] in ws)
    slug = Project().slug(re.search(r"book/\S+\.md", " ".join(next(w for _, *w in ALL if w[0] == "jupytext")))[0])
    assert chapter
    given = [(name, str(value)) for name, value in context.params["parameters"]]
    assert parameters.resolve(Project(), slug, "ci", parameters.parse_given(Project(), slug, given))
    assert (ROOT / context.params["cwd"]).is_dir()


@those("jupytext")
def test_a_jupytext_command_writes_the_notebook(words, tmp_path):
    shutil.copytree(
        ROOT / "book", tmp_path / "book", ignore=lambda folder, names: [n for n in names if n[-3:] != ".md"]
    )
    subprocess.run([sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, check=True, timeout=120)
    assert [p.suffix for p in tmp_path.iterdir() if p.is_file()] == [".ipynb"]


@those("conda")
def test_a_conda_command_names_the_environment(words):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert words[-1] in ("environment.yml", environment["name"])


@pytest.mark.parametrize("program", ["pytest", "ruff", ".ci/run"])
def test_files_and_folders_that_a_command_names_exist(program):
    found = [words for _, *words in ALL if words[0] == program]
    assert found
    for word in (w for words in found for w in words[1:] if "/" in w or w in ("tests", "ctlib")):
        assert (ROOT / word).exists(), word
    assert not program.startswith(".") or (ROOT / program).is_file()


CHEAP = [["fmt", "--check", "02"], ["lint", "02"], ["run", "02", "--help"]]


@pytest.mark.parametrize("words", CHEAP, ids=" ".join)
def test_cheap_commands_run(words, capsys):
    if "--help" not in words:
        assert cli.main(words) == 0
    else:
        with pytest.raises(SystemExit, match="0"):
            cli.main(words)
        said = capsys.readouterr().out
        for p in parameters.declarations_of(Project(), "02-deep-image-prior").values():
            assert re.search(rf"^  {p.name} .*{re.escape(p.rule)}$", said, re.MULTILINE), p.name


def test_the_example_of_the_library_in_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENTS[0].read_text(encoding="utf-8"), re.DOTALL)
    values = {}
    exec(code.replace("(256, 256)", "(32, 32)").replace("num_views=360", "num_views=24"), values)
    assert np.isfinite(values["image"].numpy()).all()
    assert values["image"].shape == (32, 32)
