"""Validation while training: its curve, the best weights, and that both survive a kill bit by bit."""

import os
import signal

import pytest
import torch
from faults import Faults, in_child
from states import same
from torch import nn

from ctlib.errors import ArgumentError, ConvergenceError, DataError
from ctlib.train import Settings, fit, load_checkpoint

G = torch.Generator().manual_seed(0)
X, Y = torch.rand(12, 4, generator=G), torch.rand(12, 1, generator=G)
LEFT = torch.rand(6, 4, generator=G), torch.rand(6, 1, generator=G)
STEPS = 14
SETTINGS = Settings(STEPS, 3, 0.3, seed=2)


def on(pairs, scale=1.0):
    """A validation that looks at noisy inputs, from the global stream, as a Monte Carlo estimate would."""

    def validate(net):
        assert not net.training
        assert not torch.is_grad_enabled()
        return scale * (net(pairs[0] + 0.1 * torch.randn(6, 4)) - pairs[1]).square().mean()

    return validate


VALIDATE = on(LEFT)


def trained(path=None, stop=None, every=4, validate=VALIDATE, validate_every=3, **options):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))
    seen = []

    def callback(run):
        seen.append({k: v.clone() for k, v in net.state_dict().items()})
        if run.step == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    fetch = lambda i, s: (X[i], Y[i])  # noqa: E731
    found = {"validate": validate, "validate_every": validate_every, **options}
    run = fit(net, nn.functional.mse_loss, fetch, 12, SETTINGS, path, every, callback, **found)
    return net, run, seen


def test_the_network_ends_with_the_weights_of_the_least_value():
    net, run, seen = trained()
    values, at = run.history["validation"], run.history["validation_step"]
    assert at == [3, 6, 9, 12, 14]
    best = at[min(range(5), key=values.__getitem__)]
    assert best != STEPS  # or there were nothing to restore
    assert same(dict(net.state_dict()), seen[best - 1])
    assert not net.training


def test_the_last_weights_can_be_kept_and_looking_changes_no_training():
    net, run, seen = trained(keep="last")
    assert run.history["validation"] == trained()[1].history["validation"]
    assert same(dict(net.state_dict()), seen[-1])
    plain, blind, _ = trained(validate=None, validate_every=0)
    assert blind.history == {"loss": run.history["loss"]}
    assert same(dict(plain.state_dict()), dict(net.state_dict()))


def test_the_first_of_equal_values_is_the_best():
    net, _, seen = trained(validate=lambda net: 1.0)
    assert same(dict(net.state_dict()), seen[2])


@pytest.mark.parametrize("keep", ["best", "last"])
def test_killed_again_and_again_it_ends_with_the_same_curve_and_weights(keep, tmp_path):
    whole, run, _ = trained(keep=keep)
    for stop in (2, 7, 11, 13):
        work = lambda stop=stop: trained(tmp_path / "c", stop, keep=keep)  # noqa: E731
        assert in_child(work, Faults(tmp_path / "nowhere")) == -signal.SIGKILL
    assert load_checkpoint(tmp_path / "c")["step"] == 12
    for _ in range(2):  # the second finds it finished
        net, resumed, _ = trained(tmp_path / "c", keep=keep)
        assert resumed.history == run.history
        assert same(dict(net.state_dict()), dict(whole.state_dict()))


OTHERS = {  # field: what the second training has
    "validate_every": {"validate_every": 4},
    "keep": {"keep": "last"},
    "validation": {"validate": on((LEFT[0], LEFT[1] + 0.01))},
    "validation: a parameter": {"validate": on(LEFT, 2.0)},
    "validation: another function": {"validate": lambda net: 1.0},
    "parts": {"validate": None, "validate_every": 0},
}


@pytest.mark.parametrize("differs", OTHERS)
def test_a_checkpoint_of_another_validation_is_refused(differs, tmp_path):
    trained(tmp_path / "c")
    with pytest.raises(DataError, match="delete this file") as caught:
        trained(tmp_path / "c", **OTHERS[differs])
    assert caught.value.field in (differs.partition(":")[0], "validate_every", "keep")


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"validate_every": 0}, "validate_every"),
        ({"validate_every": 2.5}, "validate_every"),
        ({"keep": "worst"}, "keep"),
        ({"validate": None}, "validate"),
        ({"validate": 1.0}, "validate"),
    ],
)
def test_wrong_options_are_named(wrong, name):
    with pytest.raises(ArgumentError, match=f"^{name}: "):
        trained(**wrong)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_value_that_is_not_finite_ends_the_training(value):
    with pytest.raises(ConvergenceError, match=f"step 3: the validation is {value}"):
        trained(validate=lambda net: float(value))


@pytest.mark.parametrize("value", [None, torch.zeros(2), {"loss": 1.0}])
def test_a_validation_that_gives_no_number_is_named(value):
    with pytest.raises(ArgumentError, match=r"validate\(net\): .*one number"):
        trained(validate=lambda net: value)


def test_a_validation_that_raises_costs_no_checkpoint(tmp_path):
    """It is seen at once, and the training goes on from its last checkpoint when the validation works again."""
    whole, calls = trained(), []

    def validate(net):
        calls.append(len(calls))
        if len(calls) == 4:
            raise OSError("the disk of the validation data is gone")
        return VALIDATE(net)

    with pytest.raises(OSError, match="is gone"):
        trained(tmp_path / "c", validate=validate)
    assert load_checkpoint(tmp_path / "c")["step"] == 8
    net, run, _ = trained(tmp_path / "c", validate=validate)
    assert run.history == whole[1].history
    assert same(dict(net.state_dict()), dict(whole[0].state_dict()))
