"""The key of a run: every ingredient altered in turn makes another one, and what does not count makes none."""

import os
import re
from pathlib import Path

import pytest

from ctlib.book.ledger import staleness
from ctlib.book.project import ROOT, Project
from ctlib.book.runner import inputs, provenance, run
from ctlib.book.runner.inputs import fingerprint

LIBRARY = {
    "__init__.py": "",
    "core.py": "from . import deeper\n",
    "deeper.py": "x = 1\n",
    "unused.py": "",
    "table.csv": "1,2\n",
    "tables/kv.csv": "3,4\n",
    "tables/deep/kv.csv": "5,6\n",
    "others/__init__.py": "",
    "others/table.csv": "7,8\n",
}
CELLS = """# Page

```{code-cell}
:tags: [parameters]

n = 1         # pixels | >= 1
data = ""     # a scan | file or folder to read
out = ""      # checkpoints | folder to write
plain = ""    # declared by no rule
```

```{code-cell}
from lib import core
shown = "lab-named"
```
"""


@pytest.fixture
def page(mini, tmp_path):
    """A chapter that imports a small library, and a folder of scans with two bare names twice."""
    for name, text in LIBRARY.items():
        (tmp_path / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lib" / name).write_text(text)
    mini.source("01-alpha").write_text(CELLS)
    for name in ("a/1-01.dcm", "b/1-01.dcm", "scan.npy", "scan.json", "scan2.npy", "deep/x/y.dcm"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    return Project(mini.root, tmp_path / "lib")


def key(page, preset="ci", **parameters):
    return run.run_key(page, "01-alpha", parameters, preset)


def append(path, text="# edited\n"):
    path.write_text(path.read_text() + text)


def same_size(path):
    """Another content of the same length and time."""
    state = path.stat()
    path.write_text(path.read_text()[::-1])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def record(project, slug):
    folder = project.book / "results" / "paper"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{slug}.json").write_text("{}")


CHANGES = {
    "a cell": lambda p: append(p.source("01-alpha"), "\n```{code-cell}\n1 + 1\n```\n"),
    "a default": lambda p: p.source("01-alpha").write_text(CELLS.replace("n = 1", "n = 2")),
    "a module": lambda p: append(p.library / "core.py"),
    "a module behind it": lambda p: append(p.library / "deeper.py"),
    "a table": lambda p: append(p.library / "table.csv"),
    "a table in a folder of tables": lambda p: append(p.library / "tables" / "kv.csv"),
    "a table deeper": lambda p: append(p.library / "tables" / "deep" / "kv.csv"),
    "a new table": lambda p: (p.library / "new.csv").write_text("1"),
    "a claim": lambda p: append(p.book / "claims" / "01-alpha.yml"),
    "a claim of a chapter that it names": lambda p: (p.book / "claims" / "lab-named.yml").write_text("a: 1"),
    "a record": lambda p: record(p, "01-alpha"),
    "a record of a chapter that it names": lambda p: record(p, "lab-named"),
}
NEUTRAL = {
    "prose": lambda p: append(p.source("01-alpha"), "\nMore words.\n"),
    "a module that nobody imports": lambda p: append(p.library / "unused.py"),
    "a table of another package": lambda p: append(p.library / "others" / "table.csv"),
    "a chapter beside it": lambda p: append(p.source("lab-beta"), "\n```{code-cell}\n1\n```\n"),
    "a claim of another chapter": lambda p: (p.book / "claims" / "lab-beta.yml").write_text("a: 1"),
    "a record of another chapter": lambda p: record(p, "lab-beta"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_sources_makes_a_new_key(page, what):
    before = key(page)
    CHANGES[what](page)
    assert key(page) != before


@pytest.mark.parametrize("what", NEUTRAL)
def test_a_change_elsewhere_makes_none(page, what):
    before = key(page)
    NEUTRAL[what](page)
    assert key(page) == before


def test_parameters_and_preset_count(page):
    keys = [key(page), key(page, n=2), key(page, n=3), key(page, "paper"), key(page, "custom"), key(page, plain="x")]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["python", *provenance.NUMERIC, *provenance.READERS])
def test_the_version_of_a_package_counts(page, name, monkeypatch):
    found = provenance._installed((name,)) if name != "python" else {"python": "3"}
    before = key(page)
    if name == "python":
        monkeypatch.setattr(provenance.platform, "python_version", lambda: "9.9")
    else:
        version = provenance.importlib.metadata.version
        other = lambda n: "9.9" if n == name else version(n)  # noqa: E731
        monkeypatch.setattr(provenance.importlib.metadata, "version", other)
    assert key(page) != before or not found


def test_device_processor_engine_settings_threads_and_schema_count(page, monkeypatch):
    before = key(page)
    for place, name, value in (
        (provenance, "device", lambda: "another"),
        (provenance.platform, "machine", lambda: "another"),
        (run, "ONE_THREAD", {"OMP_NUM_THREADS": "2"}),
        (run, "STORE_FORMAT", run.STORE_FORMAT + 1),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            assert key(page) != before, name
    for name in provenance.SETTINGS:
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert key(page) != before, name
    assert key(page) == before


EDITS = {
    "b/1-01.dcm edited": lambda d: append(d / "b" / "1-01.dcm"),
    "a/1-01.dcm edited": lambda d: append(d / "a" / "1-01.dcm"),
    "exchanged": lambda d: [(d / "a").rename(d / "c"), (d / "b").rename(d / "a"), (d / "c").rename(d / "b")],
    "the same size and time": lambda d: same_size(d / "a" / "1-01.dcm"),
    "deep": lambda d: append(d / "deep" / "x" / "y.dcm"),
    "added": lambda d: (d / "a" / "2.dcm").write_text("new"),
    "added, empty": lambda d: (d / "a" / "2.dcm").touch(),
    "removed": lambda d: (d / "a" / "1-01.dcm").unlink(),
    "renamed": lambda d: (d / "a" / "1-01.dcm").rename(d / "a" / "1-02.dcm"),
    "moved": lambda d: (d / "a" / "1-01.dcm").rename(d / "1-01.dcm"),
    "json beside npy": lambda d: append(d / "scan.json"),
    "a link's target": lambda d: append(d.parent / "target.dcm"),
}


@pytest.mark.parametrize("stated", [False, True])
@pytest.mark.parametrize("what", EDITS)
def test_a_change_in_a_folder_of_data_makes_a_new_key(page, tmp_path, what, stated, monkeypatch):
    """`stated`: as in large collections, whose files are not read."""
    if stated:
        monkeypatch.setattr(inputs, "SMALL", 0)
        monkeypatch.setattr(inputs, "_content", lambda file: pytest.fail("it was read"))
    data = tmp_path / "data"
    (tmp_path / "target.dcm").write_text("t")
    (data / "link.dcm").symlink_to(tmp_path / "target.dcm")
    for parameter in ("data", "plain"):
        assert key(page, **{parameter: str(data)}) == key(page, **{parameter: str(data)})
    before = key(page, data=str(data)), key(page, plain=str(data))
    EDITS[what](data)
    assert key(page, data=str(data)) != before[0]
    assert key(page, plain=str(data)) != before[1]


def test_a_file_counts_with_those_that_share_its_stem_and_no_others(page, tmp_path):
    data = tmp_path / "data"
    before = key(page, data=str(data / "scan.npy"))
    for name, counts in {"scan2.npy": False, "a/1-01.dcm": False, "scan.json": True, "scan.npy": True}.items():
        append(data / name)
        assert (key(page, data=str(data / "scan.npy")) != before) == counts, name
        before = key(page, data=str(data / "scan.npy"))
    (data / "brain.nii.gz").write_text("a")
    before = fingerprint(data / "brain.nii.gz")
    (data / "brain.json").write_text("{}")
    assert fingerprint(data / "brain.nii.gz") != before


def test_times_count_where_contents_do_not(page, tmp_path, monkeypatch):
    file = tmp_path / "data" / "a" / "1-01.dcm"
    before = fingerprint(tmp_path / "data")
    os.utime(file, ns=(1, 1))
    assert fingerprint(tmp_path / "data") == before, "the same files, touched"
    monkeypatch.setattr(inputs, "FEW", 2)
    before = fingerprint(tmp_path / "data")
    os.utime(file, ns=(2, 2))
    assert fingerprint(tmp_path / "data") != before


def test_a_folder_to_write_into_does_not_count(page, tmp_path):
    (tmp_path / "ckpt").mkdir()
    before = key(page, out=str(tmp_path / "ckpt"))
    (tmp_path / "ckpt" / "a.ckpt").write_text("1")
    assert key(page, out=str(tmp_path / "ckpt")) == before


def test_loops_of_links_broken_links_and_pipes_end(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "a" / "pipe")
    before = fingerprint(tmp_path / "a")
    (tmp_path / "nothing").write_text("now there")
    assert fingerprint(tmp_path / "a") != before
    assert re.fullmatch(r"[0-9a-f]{64}", fingerprint(tmp_path / "missing"))


def test_data_that_change_during_a_run_are_told_and_not_kept(page, tmp_path, monkeypatch):
    def papermill(project, slug, parameters, preset, part, progress, limit_s):
        part.write_text('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
        append(tmp_path / "data" / "scan.json")

    monkeypatch.setattr(run, "_papermill", papermill)
    with pytest.raises(run.ChapterFailed, match="the data changed during the run"):
        run.execute(page, "01-alpha", {"data": str(tmp_path / "data" / "scan.npy")})
    assert [p.name.split(".", 1)[1] for p in page.store.rglob("*.ipynb")] == ["failed.ipynb"]


def test_a_large_collection_is_walked_and_not_read(tmp_path, monkeypatch):
    for folder in range(20):
        (tmp_path / f"{folder}").mkdir()
        for k in range(150):
            (tmp_path / f"{folder}" / f"{k}.dcm").touch()
    with open(tmp_path / "0" / "0.dcm", "r+b") as file:
        file.truncate(1 << 40)  # a terabyte, without a byte on the disk
    monkeypatch.setattr(inputs, "_content", lambda file: pytest.fail("it was read"))
    before = fingerprint(tmp_path)
    (tmp_path / "7" / "7.dcm").rename(tmp_path / "8" / "7b.dcm")
    assert fingerprint(tmp_path) != before


def test_the_spectra_of_the_library_count():
    names = {p.relative_to(ROOT).as_posix() for p in staleness.reached(Project(), "01-forward-model")}
    tables = {p.relative_to(ROOT).as_posix() for p in Path(ROOT, "ctlib", "physics", "tables").glob("*.csv")}
    assert tables
    assert tables <= names
