"""Two processes on CPUs train the network that one process trains."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from two_processes import weights

from ctlib.errors import ArgumentError
from ctlib.train import load_checkpoint, rank_and_size, replicate
from ctlib.train.distributed import average, whole_batch_norm

SCRIPT = Path(__file__).with_name("two_processes.py")


def torchrun(out, *words):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(out), *map(str, words)], env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == (0 if len(words) == 1 else 1), done.stderr[-2000:]
    return load_checkpoint(out) if done.returncode == 0 else done.stderr


def test_two_processes_are_one(tmp_path):
    """Batch normalization, gradients, sample order, augmentation and validation are those of the whole batch.

    The two are stopped on the way, behind the best weights.
    """
    one = weights(6)
    best = min(range(6), key=one["validation"].__getitem__)
    assert "exitcode  : 3" in torchrun(tmp_path / "two", 6, 5)
    assert load_checkpoint(tmp_path / "two.ckpt")["step"] == 4 > best + 1
    two = torchrun(tmp_path / "two", 6)
    for name, value in one["net"].items():
        torch.testing.assert_close(two["net"][name], value, rtol=1e-7, atol=1e-9, msg=name)
    for name in ("loss", "validation", "validation_step"):
        assert two[name] == pytest.approx(one[name], rel=1e-9)
    # and what two processes saved, one process continues: the file knows nothing of their number
    saved = load_checkpoint(tmp_path / "two.ckpt")
    for name, value in saved["parts"]["validation"]["weights"].items():
        assert torch.equal(value, two["net"][name])


def test_without_a_group_nothing_changes():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    assert rank_and_size() == (0, 1)
    assert replicate(net) is net
    assert average(torch.tensor(2.0)) == 2


def test_whole_batch_norm_keeps_the_weights_and_one_process_results():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double()
    x = torch.rand(3, 1, 6, 6, dtype=torch.float64)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    expected = net(x)
    stats = net[1].running_var.clone()
    net.load_state_dict(before)
    assert whole_batch_norm(net) is net
    torch.testing.assert_close(net(x), expected, rtol=0, atol=0)
    assert torch.equal(net[1].running_var, stats)


def test_a_batch_is_divided_evenly(monkeypatch):
    monkeypatch.setattr("ctlib.train.supervised.rank_and_size", lambda: (0, 3))
    with pytest.raises(ArgumentError, match="batch: got 4"):
        weights(1)
