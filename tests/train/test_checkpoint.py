"""Checkpoint files: exact, whole or absent, and never code."""

import pickle

import pytest
import torch

from ctlib.errors import DataError
from ctlib.train.checkpoint import HEAD, load_checkpoint, save_checkpoint

STATE = {"step": 3, "weights": {"w": torch.arange(5, dtype=torch.float64) / 3}, "names": ["a", "b"], "rate": 0.1}


@pytest.fixture
def file(tmp_path):
    save_checkpoint(tmp_path / "c.ckpt", STATE)
    return tmp_path / "c.ckpt"


def test_what_is_written_is_read(file):
    back = load_checkpoint(file)
    assert torch.equal(back["weights"].pop("w"), STATE["weights"]["w"])
    assert back == {**STATE, "weights": {}}
    assert [p.name for p in file.parent.iterdir()] == ["c.ckpt"]


@pytest.mark.parametrize("keep", [0, 10, HEAD - 1, HEAD, HEAD + 100, -1])
def test_a_truncated_file_is_refused(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError) as caught:
        load_checkpoint(file)
    assert caught.value.path == file
    assert caught.value.field == ("header" if 0 <= keep < HEAD else "SHA-256")


def test_every_flipped_byte_is_noticed(file):
    sound = file.read_bytes()
    for at in range(0, len(sound), 37):
        damaged = bytearray(sound)
        damaged[at] ^= 1
        file.write_bytes(bytes(damaged))
        with pytest.raises(DataError):
            load_checkpoint(file)


class Evil:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('ran').touch()",))


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_with_a_sound_hash_does_not_run(tmp_path, monkeypatch, legacy):
    import hashlib
    import io

    from ctlib.train.checkpoint import MAGIC

    monkeypatch.chdir(tmp_path)
    stream = io.BytesIO()
    torch.save({"x": Evil()}, stream, _use_new_zipfile_serialization=not legacy)
    payload = stream.getvalue()
    (tmp_path / "evil").write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload)
    with pytest.raises(DataError) as caught:
        load_checkpoint(tmp_path / "evil")
    assert caught.value.field == "contents"
    assert not (tmp_path / "ran").exists()
    (tmp_path / "plain").write_bytes(pickle.dumps({"x": 1}))
    with pytest.raises(DataError, match="header"):
        load_checkpoint(tmp_path / "plain")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="none"):
        load_checkpoint(tmp_path / "none.ckpt")


def test_a_write_that_fails_leaves_the_old_file(file, monkeypatch):
    """The disk fills up, the process dies: whatever happens before the rename, the old checkpoint stays."""
    before = file.read_bytes()

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(file, {"step": 4})
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["c.ckpt"]
    monkeypatch.undo()
    save_checkpoint(file, {"step": 4})
    assert load_checkpoint(file) == {"step": 4}
