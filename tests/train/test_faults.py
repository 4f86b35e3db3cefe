"""Trainings on a system that fails: what was learned is not lost, nothing is left lying about, the end is the same.

Every call that changes a file is a point where the disk is full, read-only or broken, or where the process is killed.
"""

import os
import random
import warnings
from contextlib import suppress

import pytest
import torch
from faults import CODES, Faults, in_child, injected
from states import same
from torch import nn

from ctlib.files import Unwritable, clean_parts, replacing, write_whole
from ctlib.train import Settings, fit, load_checkpoint, save_checkpoint

X = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))


def training(path):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
    fetch = lambda i, s: (X[i], X[i].sum(1, keepdim=True))  # noqa: E731
    return fit(net, nn.functional.mse_loss, fetch, 12, Settings(5, 3, 0.01, "cosine", seed=2), path, every=2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The checkpoint of a training that nothing disturbed, and the number of points where something could have."""
    folder = tmp_path_factory.mktemp("whole")
    with injected(Faults(folder)) as faults:
        training(folder / "c.ckpt")
    assert faults.count > 15
    return load_checkpoint(folder / "c.ckpt"), faults.count


def left(folder):
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("lasting", [False, True])
def test_a_failing_disk_costs_a_checkpoint_and_not_the_training(whole, tmp_path, kind, lasting):
    state, points = whole
    for at in range(points):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        run, refused = None, None
        with warnings.catch_warnings(record=True) as told, injected(Faults(folder, at, kind, lasting)):
            warnings.simplefilter("always")
            try:
                run = training(folder / "c.ckpt")
            except Unwritable as error:  # before the first step
                refused = error
        if run is None:
            assert "cannot be written" in str(refused)
            assert left(folder) == []
        else:
            assert run.history == state["history"], at
            assert all("the training goes on" in str(w.message) for w in told)
            assert told or same(load_checkpoint(folder / "c.ckpt"), state)
        assert set(left(folder)) <= {"c.ckpt"}, at
        training(folder / "c.ckpt")
        assert same(load_checkpoint(folder / "c.ckpt"), state), at
        assert left(folder) == ["c.ckpt"]


def test_a_training_that_is_killed_anywhere_ends_bit_by_bit_where_it_would_have(whole, tmp_path):
    state, points = whole
    killed = 0
    for at in range(points):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        killed += in_child(lambda folder=folder: training(folder / "c.ckpt"), Faults(folder, at, "killed")) == -9
        training(folder / "c.ckpt")
        assert same(load_checkpoint(folder / "c.ckpt"), state), at
        assert left(folder) == ["c.ckpt"], at
    assert killed == points


def test_two_trainings_on_one_path_at_once_leave_one_whole_checkpoint(whole, tmp_path):
    path, children = tmp_path / "c.ckpt", []
    for _ in range(3):
        pid = os.fork()
        if not pid:
            try:
                training(path)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]
    assert same(load_checkpoint(path), whole[0])
    assert left(tmp_path) == ["c.ckpt"]


@pytest.mark.parametrize("seed", range(20))
def test_a_file_is_the_old_one_or_the_new_one(seed, tmp_path):
    source = random.Random(seed)
    path, old, new = tmp_path / "deep" / "file[1].json", b"old" * 100, b"new" * source.randint(1, 10**5)
    write_whole(path, old)
    at, kind = source.randrange(5), source.choice(list(CODES))
    refused = None
    with injected(Faults(tmp_path, at, kind)) as faults:
        try:
            write_whole(path, new)
        except Unwritable as error:
            refused = str(error)
    assert path.read_bytes() == (old if refused else new)
    assert refused is None or (faults.count > at and str(path) in refused)
    assert left(tmp_path) == [path.name]


def test_an_error_of_one_s_own_inside_leaves_the_old_file(tmp_path):
    write_whole(tmp_path / "f", "old")
    with suppress(KeyError), replacing(tmp_path / "f") as part:
        part.write_text("half")
        raise KeyError
    assert (tmp_path / "f").read_text() == "old"
    assert left(tmp_path) == ["f"]
    (tmp_path / "f.somewhere-1.part").write_text("of another machine")
    clean_parts(tmp_path, "*.part")
    assert left(tmp_path) == ["f", "f.somewhere-1.part"]


def test_saving_to_a_full_disk_is_told_in_one_line(tmp_path):
    full = Faults(tmp_path, 0, lasting=True)
    with pytest.raises(Unwritable, match="No space left on device") as caught, injected(full):
        save_checkpoint(tmp_path / "c", {"a": 1})
    assert len(str(caught.value).splitlines()) == 1
