"""What was kept of a run is removed only where it is damaged, and a restore that fails leaves no traces."""

import random

import numba
import pytest
import torch

from ctlib.book.chapter import CodeCell
from ctlib.book.page.output import Collector
from ctlib.book.project import BookError
from ctlib.book.runner import pickling, resume, snapshot

CELLS = [CodeCell("a = 1", (), 1)]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A run of one cell that was stopped after it."""
    monkeypatch.setattr(resume, "KEEP_AFTER_S", 0.0)
    kept = resume.Kept(tmp_path / "01-alpha" / f"of-this{resume.UNFINISHED}", "key")
    kept.after(CELLS, 1.0, {"a": torch.arange(1000.0)}, Collector())
    return kept


def restored(kept):
    names = {}
    return kept.restore(CELLS, names, Collector()), names


def the_file(kept):
    (path,) = kept.folder.glob("*.cells")
    return path


def raising(error):
    def load(*args, **options):
        torch.set_default_dtype(torch.float64)  # as what is read back may
        raise error

    return load


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error"), torch.OutOfMemoryError("full")])
def test_what_cannot_be_restored_here_is_kept_and_leaves_no_traces(kept, monkeypatch, error):
    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", raising(error))
        with pytest.raises(BookError, match=f"is kept but cannot be restored here .{type(error).__name__}"):
            restored(kept)
    assert torch.get_default_dtype() == torch.float32
    assert restored(kept)[0] == 1


def test_settings_and_streams_stay_where_only_some_of_the_kept_ones_can_be_set(tmp_path, monkeypatch):
    random.seed(1)
    found = {**snapshot.libraries(), "dtype": torch.float64, "threads": "many"}
    monkeypatch.setattr(snapshot, "libraries", lambda: found)
    snapshot.save(tmp_path / "a.cells", {"a": 1}, {})
    monkeypatch.undo()
    random.seed(2)
    before, names = (random.getstate(), torch.get_num_threads()), {}
    with pytest.raises(BookError, match="set_num_threads"):
        snapshot.load(tmp_path / "a.cells", names)
    assert (random.getstate(), torch.get_num_threads()) == before
    assert torch.get_default_dtype() == torch.float32
    assert names == {}


def test_a_process_with_fewer_threads_goes_on_with_those_it_has():
    before, limit = snapshot.libraries(), numba.config.NUMBA_NUM_THREADS
    try:
        snapshot.set_libraries({**before, "numba": limit + 1})
        assert numba.get_num_threads() == limit
    finally:
        snapshot.set_libraries(before)


@pytest.mark.parametrize("change", ["a bit", "its end"])
def test_a_damaged_file_is_removed(kept, change):
    path = the_file(kept)
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 2000] ^= 1  # torch.load would take it
    path.write_bytes(content[:-200] if change == "its end" else content)
    assert restored(kept) == (0, {})
    assert not path.exists()


def test_a_file_that_others_may_have_written_is_not_read(kept, monkeypatch):
    path = the_file(kept)
    assert (kept.folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    for place, mode in ((path, 0o620), (kept.folder, 0o777)):
        safe = place.stat().st_mode
        place.chmod(mode)
        with pytest.raises(BookError, match=f"others can write {place}"):
            restored(kept)
        place.chmod(safe)
    with monkeypatch.context() as patched:
        patched.setattr("os.getuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(BookError, match="belongs to another user"):
            restored(kept)
    assert restored(kept)[0] == 1


def test_a_lost_graph_costs_the_cells_alone(kept):
    training = kept.folder / "trainings" / "net.ckpt"
    training.parent.mkdir()
    training.touch()
    with pytest.raises(BookError, match="start the run again"):
        kept.failed(BookError(pickling.NO_GRAPH))
    assert [p.name for p in kept.folder.rglob("*")] == ["trainings", "net.ckpt"]


def test_what_other_code_left_is_told(kept, capsys):
    other = resume.Kept(kept.folder.with_name(f"new{resume.UNFINISHED}"), "another key")
    assert restored(other)[0] == 0
    assert f"unfinished runs that are not these: {kept.folder.name}" in capsys.readouterr().err
    assert the_file(kept).exists()
    assert restored(kept)[0] == 1
    assert "not these" not in capsys.readouterr().err


def test_the_key_counts_the_code_that_writes_and_reads_the_file(mini, tmp_path, monkeypatch):
    folder = tmp_path / "runner"
    folder.mkdir()
    for name in resume.READERS:
        (folder / name).write_text("")
    monkeypatch.setattr(resume, "__file__", str(folder / "resume.py"))
    keys = {resume.kept(mini, "01-alpha", {}, "laptop").key}
    for name in ("resume.py", "snapshot.py", "private.py", "inprocess.py"):
        (folder / name).write_text("1")
        keys.add(resume.kept(mini, "01-alpha", {}, "laptop").key)
    assert len(keys) == 5


def test_a_generator_is_kept_once_it_is_used_up(tmp_path):
    used, fresh = (k for k in range(2)), (k for k in range(2))
    assert list(used) == [0, 1]
    snapshot.save(tmp_path / "a", {"used": used}, {})
    names = {}
    snapshot.load(tmp_path / "a", names)
    assert list(names["used"]) == []
    with pytest.raises(snapshot.NotStorable, match="fresh"):
        snapshot.save(tmp_path / "b", {"fresh": fresh}, {})
