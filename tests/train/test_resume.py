"""A training that is killed and started again ends bit by bit where an uninterrupted one does."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from killed import main
from states import same

from ctlib.errors import ArgumentError, ConvergenceError, DataError
from ctlib.train import Run, load_checkpoint, train

STEPS = 12
SCRIPT = Path(__file__).with_name("killed.py")


def test_resume_after_kill_9_is_bit_exact(tmp_path):
    main(tmp_path / "whole", STEPS)
    child = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path / "killed"), str(STEPS)], stdout=subprocess.PIPE, text=True
    )
    for line in child.stdout:
        if int(line) >= 8:  # two steps after the checkpoint of step 6
            child.kill()
            break
    assert child.wait() == -9
    done = load_checkpoint(tmp_path / "killed")["step"]
    assert 6 <= done < STEPS
    _, resumed = main(tmp_path / "killed", STEPS)
    whole, killed = (load_checkpoint(tmp_path / name) for name in ("whole", "killed"))
    assert same(whole, killed)
    assert len(resumed.history["loss"]) == STEPS
    assert resumed.history["loss"][-1] < resumed.history["loss"][0]


def test_a_finished_training_is_not_repeated(tmp_path, capsys):
    main(tmp_path / "c", 3)
    capsys.readouterr()
    net, run = main(tmp_path / "c", 3)
    assert capsys.readouterr().out == ""
    assert run.step == 3
    assert not net.training


def test_other_settings_do_not_continue_a_training(tmp_path):
    main(tmp_path / "c", 3)
    with pytest.raises(DataError) as caught:
        main(tmp_path / "c", 6)
    assert caught.value.field == "settings.steps"


class Counter:
    """Draws from the global stream, as dropout does."""

    def __init__(self):
        self.values = []

    def state_dict(self):
        return {"values": list(self.values)}

    def load_state_dict(self, state):
        self.values = state["values"]


def draws(path, steps, kill_at=None):
    part = Counter()

    def update(step):
        if step == kill_at:
            raise KeyboardInterrupt
        part.values.append(float(torch.rand(())))
        return {"value": part.values[-1]}

    run = Run({"counter": part}, seed=3)
    train(run, update, steps, path, every=1)
    return run, part


def test_random_numbers_of_a_step_depend_on_seed_and_step_alone(tmp_path):
    state = torch.get_rng_state()
    _, whole = draws(None, 6)
    with pytest.raises(KeyboardInterrupt):
        draws(tmp_path / "c", 6, kill_at=4)
    torch.rand(17)
    run, resumed = draws(tmp_path / "c", 6)
    assert resumed.values == whole.values == run.history["value"]
    assert len(set(whole.values)) == 6
    torch.set_rng_state(state)


def test_every_process_draws_a_stream_of_its_own(monkeypatch):
    """Random layers of two processes must not drop the same numbers; the first draws what one process alone draws."""
    drawn = []
    for rank, size in ((0, 1), (0, 2), (1, 2)):
        monkeypatch.setattr("ctlib.train.loop.rank_and_size", lambda rank=rank, size=size: (rank, size))
        drawn.append(draws(None, 3)[1].values)
    alone, first, second = drawn
    assert alone == first
    assert not set(first) & set(second)


def test_several_parts_resume_together(tmp_path):
    """Two players with optimizers of their own, as in adversarial training."""

    def game(path, stop):
        torch.manual_seed(0)
        players = [torch.nn.Linear(3, 3), torch.nn.Linear(3, 1)]
        optimizers = [torch.optim.RAdam(p.parameters(), 0.01) for p in players]

        def update(step):
            losses = {}
            for sign, player, optimizer in zip((1, -1), players, optimizers, strict=True):
                optimizer.zero_grad()
                value = sign * players[1](players[0](torch.randn(5, 3))).mean() + player.weight.square().mean()
                value.backward()
                optimizer.step()
                losses[f"player {sign}"] = value.detach()
            return losses

        names = ("sampler", "critic", "sampler steps", "critic steps")
        run = Run(dict(zip(names, [*players, *optimizers], strict=True)), seed=1)
        return train(run, update, stop, path, every=2)

    game(tmp_path / "whole", 7)
    game(tmp_path / "parts", 4)
    game(tmp_path / "parts", 7)
    assert same(load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "parts"))


def test_divergence_stops_the_run():
    with pytest.raises(ConvergenceError, match="step 2"):
        train(Run({}), lambda k: {"loss": float("nan") if k == 2 else 1.0}, 5)
    with pytest.raises(ArgumentError):
        train(Run({}), lambda k: {}, -1)
