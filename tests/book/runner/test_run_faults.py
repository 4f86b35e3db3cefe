"""Runs, records and summaries on a system that fails or ends at any call: one line, nothing lost, nothing left."""

import json
import os
import signal
import subprocess
import time
from functools import partial

import nbformat
import pytest
from faults import CODES, Faults, in_child, injected
from minibook import command

from ctlib.book.ledger import stored_runs
from ctlib.book.page.output import Collector
from ctlib.book.project import ROOT, BookError, Project
from ctlib.book.runner import record, run, store, sweep
from ctlib.errors import CtlibError
from ctlib.files import HOST, Unwritable

DEAD = f"{HOST}-{2**22 + 1}"  # mark of a process that is gone


@pytest.fixture
def quick(mini, monkeypatch):
    """The miniature book with a runner that writes the notebook at once, as papermill does: part by part."""

    def papermill(project, slug, parameters, preset, part, progress, limit_s):
        nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", id="a", execution_count=1)])
        for ended in (None, "2026-01-01"):
            nb.metadata["papermill"] = {"end_time": ended}
            part.write_text(nbformat.writes(nb))

    monkeypatch.setattr(run, "_papermill", papermill)
    monkeypatch.setattr(run, "commit", lambda project: "0")
    monkeypatch.setattr(run.staleness, "depends", lambda slug, project: {"sources": "0"})
    return mini


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def points(work, folder):
    with injected(Faults(folder)) as faults:
        work()
    return faults.count


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("lasting", [False, True])
def test_a_run_on_a_failing_disk_ends_with_one_line_and_the_next_is_whole(quick, kind, lasting):
    num, failed = points(lambda: run.execute(quick, "01-alpha", {}, "paper"), quick.build), 0
    assert num > 8
    for at in range(num):
        values, told = {"n": 20 + at}, None
        with injected(Faults(quick.build, at, kind, lasting)):
            try:
                path = run.execute(quick, "01-alpha", values)
            except CtlibError as error:
                told = str(error)
        kept = set(quick.store.rglob("*"))
        assert not [p for p in kept if ".part" in p.name], at
        if told:
            failed += 1
            assert len(told.splitlines()) == 1
            assert os.strerror(CODES[kind]) in told
        path = run.execute(quick, "01-alpha", values)
        assert store.finished(path)
    assert failed > num / 2


def test_a_run_that_is_killed_anywhere_leaves_nothing_that_counts(quick):
    run.execute(quick, "01-alpha", {}, "laptop")
    for at in range(points(lambda: run.execute(quick, "01-alpha", {}, "paper"), quick.build)):
        assert (
            in_child(lambda at=at: run.execute(quick, "01-alpha", {"n": 20 + at}), Faults(quick.build, at, "killed"))
            == -9
        )
        assert store.finished(run.execute(quick, "01-alpha", {"n": 20 + at}))
        assert not [p for p in quick.store.rglob("*.part*")], at


def test_a_run_that_is_stopped_leaves_no_part(quick, monkeypatch):
    def stopped(project, slug, parameters, preset, part, progress, limit_s):
        part.write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_papermill", stopped)
    with pytest.raises(KeyboardInterrupt):
        run.execute(quick, "01-alpha", {})
    assert files(quick.build) == []


def about(n):
    return {"slug": "01-alpha", "preset": "laptop", "parameters": {"n": n}, "sources_sha256": "0", "seconds": 1.0}


def measured(n):
    figures = {name: (bytes([n]) * 9, name) for name in ("kept", f"only{n}")}
    return Collector(claims={"alpha-sum": {"values": [float(n), n + 1.0]}}, figures=figures)


def kept(project):
    """n of the record that a reader finds, checked as readers do."""
    path = project.book / "results" / "laptop" / "01-alpha.json"
    found = stored_runs.read_run(path, project.book)
    assert found["claims"]["alpha-sum"]["values"][0] == found["parameters"]["n"]
    return found["parameters"]["n"]


def left(project):
    return files(project.book / "results" / "laptop")


@pytest.fixture
def recorded(mini, monkeypatch):
    monkeypatch.setattr(record.provenance, "commit", lambda project: "0")
    record.write(mini, about(11), measured(11))
    return mini


def test_a_record_is_the_old_one_or_the_new_one_wherever_its_writing_is_killed(recorded):
    num, old = points(lambda: record.write(recorded, about(12), measured(12)), recorded.book), 0
    assert num > 15
    for at in range(num):
        record.write(recorded, about(11), measured(11))
        assert (
            in_child(lambda: record.write(recorded, about(12), measured(12)), Faults(recorded.book, at, "killed")) == -9
        )
        old += kept(recorded) == 11
        assert kept(recorded) in (11, 12)
    assert 0 < old < num
    record.write(recorded, about(13), measured(13))
    record.clean_parts(recorded.book / "results" / "laptop", ".*.part")
    assert left(recorded) == ["01-alpha-kept.png", "01-alpha-only13.png", "01-alpha.json"]


@pytest.mark.parametrize("kind", CODES)
def test_a_record_that_cannot_be_written_is_said_and_the_old_one_stays(recorded, kind, capsys):
    for at in range(points(lambda: record.write(recorded, about(12), measured(12)), recorded.book)):
        record.write(recorded, about(11), measured(11))
        capsys.readouterr()
        failed = False
        with injected(Faults(recorded.book, at, kind)):
            try:
                record.write(recorded, about(12), measured(12))
            except BookError as error:
                failed = os.strerror(CODES[kind]) in str(error)
        if failed:
            assert json.loads(capsys.readouterr().out)["parameters"] == {"n": 12}
        assert kept(recorded) in ((11, 12) if failed else (12,))
        assert not [name for name in left(recorded) if ".part" in name or ".ready" in name], at


def test_a_summary_that_cannot_be_written_is_said_row_by_row(mini, monkeypatch, capsys):
    rows = lambda tasks, address, workers: iter([(p, {"numbers": {"a": "1"}}) for p, _ in tasks.values()])  # noqa: E731
    monkeypatch.setattr(sweep, "_results", rows)
    out = mini.root / "sums" / "beta.json"
    with injected(Faults(mini.root / "sums", 1, lasting=True)), pytest.raises(Unwritable, match="No space left"):
        sweep.sweep(mini, "lab-beta", {"seed": [0, 1]}, out=out)
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["parameters"] for row in summary["rows"]] == [{"seed": 0}, {"seed": 1}]
    assert not out.exists()
    assert sweep.sweep(mini, "lab-beta", {"seed": [0, 1]}, out=out)["rows"] == json.loads(out.read_text())["rows"]
    (mini.root / "file").write_text("")
    monkeypatch.setattr(sweep, "_results", lambda *a: pytest.fail("it ran, and its summary has no place"))
    with pytest.raises(Unwritable):
        sweep.sweep(mini, "lab-beta", {"seed": [0]}, out=mini.root / "file" / "beta.json")


def test_a_point_on_a_full_disk_is_a_row_that_says_so(quick):
    with injected(Faults(quick.build, 2, lasting=True)):
        row = sweep.point(str(quick.root), str(quick.store), "01-alpha", {"n": 5}, "custom")
    assert "No space left on device" in row["error"]


def test_what_killed_runs_left_is_cleaned_and_what_others_have_open_is_kept(tmp_path):
    for name in (f"k.{DEAD}.part.ipynb", f"k.ipynb.{DEAD}.part", f"k.{HOST}-{os.getpid()}.part.ipynb", "k.ipynb"):
        (tmp_path / name).touch()
    for name in (f"ctlib.{DEAD}.abc", f"ctlib.{HOST}-{os.getpid()}.abc", "ctlib.else-1.abc", "other"):
        (tmp_path / name / "inner").mkdir(parents=True)
    store.clean(tmp_path)
    store.clean_folders(tmp_path)
    names = {p.name for p in tmp_path.iterdir()}
    own = f"{HOST}-{os.getpid()}"
    assert names == {f"k.{own}.part.ipynb", "k.ipynb", f"ctlib.{own}.abc", "ctlib.else-1.abc", "other"}


def test_the_place_of_the_store_is_said_by_option_or_environment(mini, book, tmp_path, monkeypatch):
    assert mini.store == mini.root / "_build" / "store"
    assert mini.sweeps == mini.root / "_build" / "sweeps"
    done = book("run", "beta", "--store", str(tmp_path / "option"), CTLIB_BOOK_STORE=str(tmp_path / "environment"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "option" / "lab-beta"))
    monkeypatch.setenv("CTLIB_BOOK_STORE", str(tmp_path / "environment"))
    assert Project(mini.root).store == tmp_path / "environment"
    assert Project(mini.root).sweeps == tmp_path / "environment" / "sweeps"
    (tmp_path / "file").write_text("")
    done = book("run", "beta", "--store", str(tmp_path / "file" / "store"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
    assert "cannot be written" in done.stderr
    assert not mini.build.exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_command_that_is_ended_leaves_nothing_or_the_next_one_clears_it(mini, book, tmp_path, name):
    """Ctrl-C, a job that runs out of its time, and a kill that nobody can answer."""
    tmp, number = tmp_path / "t", getattr(signal, name)
    tmp.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp)}
    words = command(mini, "run", "beta", "-p", "wait", "60")
    options = {"env": environment, "text": True, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    if name != "SIGKILL":  # what a shell starts in the background inherits that Ctrl-C is not heard
        options["preexec_fn"] = partial(signal.signal, number, signal.SIG_DFL)
    with subprocess.Popen(words, **options) as child:
        deadline = time.time() + 90
        while not list(mini.store.rglob("*.part.ipynb")):
            assert child.poll() is None, child.communicate()
            assert time.time() < deadline
            time.sleep(0.05)
        time.sleep(0.5)
        child.send_signal(number)
        out, err = child.communicate(timeout=60)
    if name == "SIGKILL":
        assert child.returncode == -9
        assert list(mini.store.rglob("*.part.ipynb"))
        assert [p.name for p in tmp.glob("ctlib.*")]
        assert book("run", "beta", TMPDIR=str(tmp)).returncode == 0
    else:
        assert (child.returncode, out, err) == (130, "", "interrupted; finished runs are kept\n")
    assert not list(mini.store.rglob("*.part*"))
    assert not list(tmp.glob("ctlib.*"))
