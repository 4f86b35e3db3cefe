"""`tools/train.py`: knows the pages that have a plan, makes what one asks, and finds it again."""

import importlib.util
import re

import pytest
from tiny import TINY

from ctlib.book.project import Project

ROOT = Project().root
MADE = re.compile(r"^study = (?:\w+\.)?(\w+)\(globals\(\)\)", re.M)


@pytest.fixture
def tool(monkeypatch):
    """The command: its exit code."""
    spec = importlib.util.spec_from_file_location("train_tool", ROOT / "tools" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def command(*words):
        monkeypatch.setattr("sys.argv", ["train.py", *map(str, words)])
        return module.main()

    command.pages = module.PAGES
    return command


def test_every_page_whose_experiment_has_a_plan_is_known(tool):
    studies = {p.stem: MADE.search(p.read_text(encoding="utf-8")) for p in (ROOT / "book").glob("*.md")}
    found = {slug: m[1] for slug, m in studies.items() if m}
    named = {slug: path.partition(":")[2] for slug, path in tool.pages.items()}
    assert {slug: found[slug] for slug in named} == named
    assert found.keys() - named.keys() == {"04a-hqinet-tested"}  # its plan is that of 04


def test_trainings_are_made_told_and_found_again(tool, tmp_path, capsys, one_thread):
    changes = [word for name, value in TINY["02a-why-it-works"].items() for word in ("-p", name, str(value))]
    words = ("02a", tmp_path / "new", "--preset", "ci", *changes)
    assert tool(*words, "--minutes", 1e-9) == 4
    assert tool(*words) == 0
    assert "all done" in capsys.readouterr().out
    files = sorted((tmp_path / "new").iterdir())
    times = [f.stat().st_mtime_ns for f in files]
    assert [f.suffix for f in files] == [".fit", ".fit"]
    assert tool(*words) == 0
    assert [f.stat().st_mtime_ns for f in sorted((tmp_path / "new").iterdir())] == times


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("01",), "01-forward-model has no plan"),
        (("gamma",), "unknown chapter 'gamma'"),
        (("02", "-p", "n", "7"), "parameter n: got 7"),
        (("02", "-p", "m", "7"), "no parameter 'm'"),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_starts(tool, tmp_path, capsys, words, said):
    with pytest.raises(SystemExit) as end:
        tool(words[0], tmp_path / "new", *words[1:])
    assert end.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
