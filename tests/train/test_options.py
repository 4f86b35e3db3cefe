"""Options of `fit`: optimizers, schedules, orders, callbacks; and that a stopped training goes on bit by bit."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError, DataError
from ctlib.train import Settings, batch_indices, fit, learning_rate, load_checkpoint, stream
from ctlib.train.schedules import warm_up_rate

X = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
W = torch.tensor([[1.0, -2.0, 0.5, 3.0]])


def radam(steps, batch, lr, **options):
    """Settings of the tomography paper."""
    return Settings(steps, batch, lr, "warm-up", optimizer="radam", **options)


def noisy(indices, seeds):
    """Inputs with noise from each sample's seed, as readings are."""
    noise = [torch.randn(4, generator=torch.Generator().manual_seed(s)) for s in seeds]
    return X[indices] + 0.01 * torch.stack(noise), X[indices] @ W.T


def fitted(settings, **options):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.PReLU(), nn.Linear(8, 1))
    return net, fit(net, nn.functional.mse_loss, noisy, 12, settings, **options)


def test_it_minimizes():
    _, run = fitted(radam(300, 4, 0.03, rise=20, halve=100))
    assert sum(run.history["loss"][-10:]) < 0.1 * sum(run.history["loss"][:10])


def test_first_steps_are_momentum_with_the_rate_of_the_schedule():
    """For five steps rho <= 5 and RAdam is momentum without division: m / (1 - 0.9^t), {cite}`liu2020`."""
    net = nn.Linear(1, 1, bias=False)
    start, slope = net.weight.detach().clone(), 3.0
    settings = radam(4, 1, 0.1, start_lr=0.01, rise=2)
    fit(net, lambda a, b: a.mean(), lambda i, s: (torch.full((1, 1), slope), torch.zeros(1, 1)), 1, settings)
    moved = (
        sum(warm_up_rate(k, 0.1, 0.01, 2, 0) for k in range(4)) * slope
    )  # constant gradient: m / (1 - 0.9^t) = slope
    torch.testing.assert_close(start - net.weight.detach(), torch.full((1, 1), moved), rtol=1e-5, atol=0)


def test_noise_is_drawn_anew_and_repeated_by_the_seed():
    seen = []

    def fetch(indices, seeds):
        seen.append(tuple(seeds))
        return noisy(indices, seeds)

    for _ in range(2):
        net = nn.Linear(4, 1)
        fit(net, nn.functional.mse_loss, fetch, 12, radam(5, 3, 0.01, seed=7))
    assert seen[:5] == seen[5:]
    assert len({s for step in seen[:5] for s in step}) == 15


def test_resume_is_bit_exact(tmp_path):
    settings = radam(12, 3, 0.03, rise=4, halve=5, seed=2)
    whole, run = fitted(settings, path=tmp_path / "whole")

    def stop(run):
        if run.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(settings, path=tmp_path / "cut", every=3, callback=stop)
    assert load_checkpoint(tmp_path / "cut")["step"] == 6
    resumed, again = fitted(settings, path=tmp_path / "cut")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert again.history == run.history
    assert not resumed.training
    with pytest.raises(DataError, match=r"settings.rise: is 4, this training has 5"):
        fitted(radam(12, 3, 0.03, rise=5, halve=5, seed=2), path=tmp_path / "cut")


def test_half_precision_keeps_the_weights_in_single():
    net, run = fitted(radam(3, 4, 0.01, precision="bf16"))
    assert next(net.parameters()).dtype == torch.float32
    assert run.history["loss"][0] == pytest.approx(fitted(radam(1, 4, 0.01))[1].history["loss"][0], rel=0.02)


@pytest.mark.parametrize("bad", [{"steps": -1}, {"batch": 0}, {"lr": 1e-7}, {"start_lr": 0.0}, {"precision": "fp8"}])
def test_bad_settings(bad):
    with pytest.raises(ArgumentError):
        radam(**{"steps": 1, "batch": 1, "lr": 0.1, **bad})


RATES = {
    "constant": lambda k: 0.1,
    "cosine": lambda k: 0.05 * (1 + math.cos(math.pi * k / 7)),
    "drop": lambda k: 0.1 if k < 3.5 else 0.01,
    "warm-up": lambda k: (0.01, 0.1 * 0.1**0.5, 0.1, 0.1, 0.05, 0.05, 0.025)[k],
}


@pytest.mark.parametrize("schedule", RATES)
def test_every_step_takes_the_rate_of_the_schedule(schedule):
    """Under a constant gradient each of Adam's steps is the learning rate: the weight is where their sum puts it."""
    settings = Settings(
        7, 1, 0.1, schedule, **({"start_lr": 0.01, "rise": 2, "halve": 2} if schedule == "warm-up" else {})
    )
    net, at = nn.Linear(1, 1, bias=False), []
    start = net.weight.item()
    look = lambda run: at.append(start - net.weight.item())  # noqa: E731
    fit(net, lambda a, b: a.mean(), lambda i, s: (torch.ones(1, 1), torch.zeros(1, 1)), 1, settings, callback=look)
    want = [sum(RATES[schedule](j) for j in range(k + 1)) for k in range(7)]
    assert at == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "make"),
    [
        (Settings(9, 5, 0.02, "cosine", seed=4), partial(torch.optim.Adam, fused=True)),
        (radam(9, 5, 0.02, start_lr=1e-3, rise=4, halve=3, seed=4), partial(torch.optim.RAdam, foreach=True)),
    ],
)
def test_fit_is_the_plain_loop_bit_by_bit(settings, make):
    """The loop written by hand: the same streams and the same order of operations, so the same weights."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.PReLU(), nn.Linear(8, 1))
    optimizer, losses = make(net.parameters(), settings.lr), []
    for step in range(9):
        inputs, targets = noisy(batch_indices(12, 5, step, 4), [stream("sample", 4, step, place) for place in range(5)])
        optimizer.param_groups[0]["lr"] = learning_rate(settings, step)
        optimizer.zero_grad()
        value = nn.functional.mse_loss(net(inputs), targets)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    fitted_net, run = fitted(settings)
    assert run.history["loss"] == losses
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), fitted_net.parameters(), strict=True))


def test_samples_come_in_the_order_given_and_batches_may_differ():
    order, seen = [torch.tensor([3, 1]), torch.tensor([2]), torch.tensor([2, 0])], []

    def fetch(indices, seeds):
        seen.append((indices.tolist(), len(seeds)))
        return noisy(indices, seeds)

    fit(nn.Linear(4, 1), nn.functional.mse_loss, fetch, 12, Settings(3, 2, 0.01), order=order)
    assert seen == [([3, 1], 2), ([2], 1), ([2, 0], 2)]


def test_a_loss_may_see_several_targets_and_several_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 1)

        def forward(self, x):
            return self.net(x), x.sum(1)

    def loss(estimate, target, total, weight):
        assert torch.equal(estimate[1], total)
        return (weight * (estimate[0] - target).square()).mean()

    def fetch(indices, seeds):
        x = X[indices]
        return x, x @ W.T, x.sum(1), torch.ones(len(x), 1)

    run = fit(Two(), loss, fetch, 12, Settings(100, 6, 0.1, "cosine"))
    assert run.history["loss"][-1] < 0.1 * run.history["loss"][0]


class Smallest:
    """A callback with a memory."""

    def __init__(self):
        self.loss = float("inf")

    def __call__(self, run):
        self.loss = min(self.loss, run.history["loss"][-1])

    def state_dict(self):
        return {"loss": self.loss}

    def load_state_dict(self, state):
        self.loss = state["loss"]


def test_a_callback_with_a_state_resumes_with_the_run(tmp_path):
    settings, first, second, whole = Settings(6, 3, 1e-3), Smallest(), Smallest(), Smallest()

    def stop(run):
        first(run)
        if run.step == 4:
            raise KeyboardInterrupt

    stop.state_dict, stop.load_state_dict = first.state_dict, first.load_state_dict
    with pytest.raises(KeyboardInterrupt):
        fitted(settings, path=tmp_path / "c", every=2, callback=stop)
    _, run = fitted(settings, path=tmp_path / "c", callback=second)
    fitted(settings, callback=whole)
    assert second.loss == whole.loss == min(run.history["loss"])


@pytest.mark.parametrize("wrong", [{"rise": 3}, {"halve": 3, "schedule": "cosine"}, {"optimizer": "sgd"}])
def test_a_rise_without_its_schedule_is_refused(wrong):
    with pytest.raises(ArgumentError):
        Settings(**{"steps": 1, "batch": 1, "lr": 0.1, **wrong})


def test_checkpoints_are_written_every_so_many_steps_and_at_the_end(tmp_path, monkeypatch):
    from ctlib.train import loop

    saved = []
    save = loop.save_checkpoint
    monkeypatch.setattr(loop, "save_checkpoint", lambda path, state: [saved.append(state["step"]), save(path, state)])
    fitted(Settings(5, 3, 1e-3), path=tmp_path / "c", every=2)
    assert saved == [2, 4, 5]
    assert load_checkpoint(tmp_path / "c")["step"] == 5
    fitted(Settings(5, 3, 1e-3), path=tmp_path / "d")
    assert saved == [2, 4, 5, 5]


def test_the_last_checkpoint_holds_the_weights_and_what_the_callback_added(tmp_path):
    extra = lambda run: run.history.setdefault("extra", []).append(run.step)  # noqa: E731
    net, run = fitted(Settings(3, 3, 1e-2), path=tmp_path / "c", callback=extra)
    state = load_checkpoint(tmp_path / "c")
    assert state["history"] == {"loss": run.history["loss"], "extra": [1, 2, 3]}
    assert all(torch.equal(state["parts"]["net"][k], v) for k, v in net.state_dict().items())
