"""A checkpoint is that of one training: whatever differs is named, what is the same goes on, nothing is overwritten."""

import importlib
import math
import sys
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError, DataError
from ctlib.files import HOST
from ctlib.train import Run, Settings, described, fit, load_checkpoint, save_checkpoint, train
from ctlib.train.checkpoint import plain
from ctlib.train.sketch import alike, sketch

X = torch.rand(12, 4, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)
SETTINGS = Settings(4, 3, 0.01, seed=2)


def net(seed=1, width=8, act=nn.ReLU, **options):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), act(**options), nn.Linear(width, 1))


def conv():
    torch.manual_seed(1)
    return nn.Conv2d(1, 1, 3, padding=1)


def from_arrays(x=X, y=Y):
    return lambda indices, seeds: (x[indices], y[indices])


def weighted(a, b, weight=1.0):
    return weight * (a - b).square().mean()


def closed(power):
    def loss(a, b):
        return (a - b).abs().pow(power).mean()

    return loss


class Huber:
    def __init__(self, delta):
        self.delta = delta

    def __call__(self, a, b):
        return nn.functional.huber_loss(a, b, delta=self.delta)


@dataclass(frozen=True)
class Weighted:
    weight: float

    def __call__(self, a, b):
        return self.weight * (a - b).abs().mean()


class Scaled(nn.Module):
    """Layers that look alike and compute differently."""

    def __init__(self, factor):
        super().__init__()
        self.inner, self.factor = nn.Linear(4, 1), factor

    def forward(self, x):
        return self.factor * self.inner(x)


def scaled(factor):
    torch.manual_seed(1)
    return Scaled(factor)


class Lazy:
    """Samples that are read when asked for, known by their names."""

    def __init__(self, names, shift=0.0):
        self.names, self.shift = names, shift

    def __len__(self):
        return len(self.names)

    def fetch(self, indices, seeds):
        x = X[indices % len(X)] + self.shift
        return x, x.sum(1, keepdim=True)


def edited(x, at, value):
    return x.clone().index_put_(tuple(torch.tensor([k]) for k in at), torch.tensor(value, dtype=x.dtype))


LAZY = Lazy([f"{k}.dcm" for k in range(40)])
ORDER = [torch.tensor([0, 1]), torch.tensor([5, 4]), torch.tensor([2, 3]), torch.tensor([7, 6])]
PAIRS = {  # name of what differs: the first training, the second
    "settings.lr": ({}, {"settings": Settings(4, 3, 0.02, seed=2)}),
    "settings.steps": ({}, {"settings": Settings(5, 3, 0.01, seed=2)}),
    "settings.batch": ({}, {"settings": Settings(4, 2, 0.01, seed=2)}),
    "settings.seed": ({}, {"settings": Settings(4, 3, 0.01, seed=3)}),
    "settings.schedule": ({}, {"settings": Settings(4, 3, 0.01, "cosine", seed=2)}),
    "settings.precision": ({}, {"settings": Settings(4, 3, 0.01, seed=2, precision="bf16")}),
    "settings.optimizer": ({}, {"settings": Settings(4, 3, 0.01, seed=2, optimizer="radam")}),
    "data: other images": ({}, {"fetch": from_arrays(X.flip(0))}),
    "data: one number": ({}, {"fetch": from_arrays(edited(X, (7, 2), 0.5))}),
    "data: one target": ({}, {"fetch": from_arrays(X, edited(Y, (11, 0), 3.0))}),
    "data: targets exchanged": ({}, {"fetch": from_arrays(X, Y.roll(1, 0))}),
    "data: more samples": ({}, {"fetch": from_arrays(torch.cat([X, X]), torch.cat([Y, Y])), "num_samples": 24}),
    "data: their number": ({}, {"num_samples": 11}),
    "data: image size": (
        {"net": conv, "fetch": from_arrays(torch.ones(12, 1, 8, 8), torch.ones(12, 1, 8, 8))},
        {"net": conv, "fetch": from_arrays(torch.ones(12, 1, 9, 9), torch.ones(12, 1, 9, 9))},
    ),
    "data: double precision": ({}, {"fetch": from_arrays(X.double().float(), Y.double())}),
    "data: negated": ({}, {"fetch": from_arrays(-X, Y)}),
    "data: names of files": (
        {"fetch": LAZY.fetch, "num_samples": 40},
        {"fetch": Lazy([*LAZY.names[:20], "other.dcm", *LAZY.names[21:]]).fetch, "num_samples": 40},
    ),
    "data: what files hold": (
        {"fetch": LAZY.fetch, "num_samples": 40},
        {"fetch": Lazy(LAZY.names, 0.01).fetch, "num_samples": 40},
    ),
    "data: a list": (
        {"fetch": lambda i, s, items=list(X): (torch.stack([items[k] for k in i]), Y[i])},
        {"fetch": lambda i, s, items=list(X + 1): (torch.stack([items[k] for k in i]), Y[i])},
    ),
    "data: augmentation": (
        {"fetch": lambda i, s: (X[i] + torch.tensor(s)[:, None] / 2**63, Y[i])},
        {"fetch": lambda i, s: (X[i] - torch.tensor(s)[:, None] / 2**63, Y[i])},
    ),
    "order": ({"order": ORDER}, {"order": ORDER[::-1]}),
    "order: the usual one": ({"order": ORDER}, {}),
    "loss: another function": ({}, {"loss": nn.functional.l1_loss}),
    "loss: a parameter": ({"loss": partial(weighted, weight=1.0)}, {"loss": partial(weighted, weight=2.0)}),
    "loss: what it closes over": ({"loss": closed(1.0)}, {"loss": closed(2.0)}),
    "loss: its code": ({"loss": lambda a, b: (a - b).abs().mean()}, {"loss": lambda a, b: (a + b).abs().mean()}),
    "loss: a constant": ({"loss": lambda a, b: 2 * b.sum() + a.sum()}, {"loss": lambda a, b: 3 * b.sum() + a.sum()}),
    "loss: a default": ({"loss": lambda a, b, w=1.0: w * a.sum()}, {"loss": lambda a, b, w=3.0: w * a.sum()}),
    "loss: an object": ({"loss": Huber(1.0)}, {"loss": Huber(0.5)}),
    "loss: a dataclass": ({"loss": Weighted(1.0)}, {"loss": Weighted(0.5)}),
    "loss: a module": ({"loss": nn.SmoothL1Loss(beta=1.0)}, {"loss": nn.SmoothL1Loss(beta=0.5)}),
    "architecture": ({}, {"net": partial(net, width=9)}),
    "architecture: activation": ({}, {"net": partial(net, act=nn.Tanh)}),
    "architecture: an option": (
        {"net": partial(net, act=nn.LeakyReLU)},
        {"net": partial(net, act=nn.LeakyReLU, negative_slope=0.3)},
    ),
    "architecture: an attribute": ({"net": partial(scaled, 1.0)}, {"net": partial(scaled, 2.0)}),
    "initial weights": ({}, {"net": partial(net, seed=2)}),
}  # fmt: skip


def trained(path, net=net, loss=nn.functional.mse_loss, fetch=None, num_samples=12, settings=SETTINGS, order=None):
    start = net()
    return start, fit(start, loss, fetch or from_arrays(), num_samples, settings, path, order=order)


@pytest.mark.parametrize("differs", PAIRS)
def test_a_checkpoint_of_another_training_is_refused_and_kept(differs, tmp_path):
    path, (first, second) = tmp_path / "c.ckpt", PAIRS[differs]
    trained(path, **first)
    before = path.read_bytes()
    with pytest.raises(DataError, match="give another path, or delete this file") as caught:
        trained(path, **second)
    assert caught.value.field == differs.partition(":")[0]
    assert ("trained already" in str(caught.value)) == (differs == "initial weights")
    assert len(str(caught.value).splitlines()) == 1
    assert path.read_bytes() == before
    same, run = trained(path, **first)  # and the first goes on
    assert run.step == first.get("settings", SETTINGS).steps
    assert not same.training


def test_what_is_computed_again_in_other_digits_is_the_same_training(tmp_path):
    trained(tmp_path / "c")
    trained(tmp_path / "c", fetch=from_arrays(X * (1 + 1e-6), Y + 1e-7))


def test_a_function_that_keeps_records_is_the_same_training(tmp_path):
    """A list of calls grows while the samples stay what they are."""
    seen = []

    def fetch(indices, seeds):
        seen.append(indices)
        return X[indices], Y[indices]

    trained(tmp_path / "c", fetch=fetch)
    assert trained(tmp_path / "c", fetch=fetch)[1].step == 4


def test_looking_at_the_data_changes_no_training(tmp_path):
    """With a path the samples are looked at before the first step; what is drawn then must not count."""
    noisy = lambda i, s: (X[i] + torch.randn(len(i), 4), Y[i])  # noqa: E731
    torch.manual_seed(5)
    state = torch.get_rng_state()
    plain_net, run = trained(None, fetch=noisy)
    torch.set_rng_state(state)
    kept_net, kept = trained(tmp_path / "c", fetch=noisy)
    assert kept.history == run.history
    assert all(torch.equal(a, b) for a, b in zip(plain_net.parameters(), kept_net.parameters(), strict=True))


def test_a_checkpoint_that_says_too_little_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c", {"step": 4, "history": {}, "about": {"lr": 0.01}, "seed": 2, "parts": {}})
    with pytest.raises(DataError, match=r"older version.*delete this file"):
        trained(tmp_path / "c")


def test_a_training_by_hand_knows_its_networks_and_optimizers(tmp_path):
    def run(seed=1, betas=(0.9, 0.999), about=None):
        player = net(seed)
        optimizer = torch.optim.Adam(player.parameters(), 0.01, betas)
        return train(
            Run({"player": player, "optimizer": optimizer}, about or {}), lambda k: {"loss": 1.0}, 2, tmp_path / "c"
        )

    run()
    assert run().step == 2
    wrong = {"initial weights": {"seed": 2}, "optimizer": {"betas": (0.5, 0.9)}, "task": {"about": {"task": 1}}}
    for field, changes in wrong.items():
        with pytest.raises(DataError) as caught:
            run(**changes)
        assert caught.value.field == field


NUMBERS = {"lr": np.float64(0.01), "steps": np.int64(4), "batch": np.int32(3), "seed": np.int64(2)}


@pytest.mark.parametrize("kind", [NUMBERS, {k: torch.tensor(v) for k, v in NUMBERS.items()}])
def test_numbers_of_numpy_and_torch_make_a_checkpoint_that_is_read_again(kind, tmp_path):
    settings = Settings(**kind)
    assert settings == SETTINGS or settings.lr == pytest.approx(0.01)
    assert {type(getattr(settings, name)) for name in ("lr", "steps", "batch", "seed")} == {int, float}
    callback = lambda run: run.history.setdefault("extra", []).append(np.float64(0.5))  # noqa: E731
    fit(net(), nn.functional.mse_loss, from_arrays(), np.int64(12), settings, tmp_path / "c", callback=callback)
    assert load_checkpoint(tmp_path / "c")["history"]["extra"] == [0.5] * 4
    assert fit(net(), nn.functional.mse_loss, from_arrays(), 12, settings, tmp_path / "c").step == 4


def test_a_state_that_could_not_be_read_is_not_written(tmp_path):
    save_checkpoint(tmp_path / "c", {"a": 1})
    with pytest.raises(ArgumentError, match="state"):
        save_checkpoint(tmp_path / "c", {"a": np.zeros(3), "b": object()})
    assert load_checkpoint(tmp_path / "c") == {"a": 1}
    assert plain({"a": (np.float32(0.5), [np.int64(2)])}) == {"a": (0.5, [2])}


def test_sketches_tell_samples_apart_and_not_rounding():
    x = torch.rand(5, 64, 64, generator=torch.Generator().manual_seed(3))
    assert alike(sketch(x), sketch(x.double()))
    assert alike(sketch(x), sketch(x * (1 + 1e-6)))
    assert alike(sketch(x), sketch(x.numpy()))
    for other in (x.flip(-1), x.roll(1, 0), -x, edited(x, (3, 10, 10), 0.0 if x[3, 10, 10] > 0.5 else 1.0), x * 1.001):
        assert not alike(sketch(x), sketch(other))
    assert not alike(sketch(x), sketch(x[:4]))
    assert sketch(torch.zeros(0, 4)).shape == (0, 3)
    assert sketch(torch.zeros(4, 0)).shape == (4, 3)
    assert alike(sketch(torch.full((2, 3), math.nan)), sketch(torch.full((2, 3), math.nan)))
    assert sketch(torch.tensor(2.0)).shape == (1, 3)


def test_a_folder_is_made_and_a_place_that_cannot_be_written_is_told_before_the_first_step(tmp_path):
    trained(tmp_path / "new" / "deeper" / "c")
    (tmp_path / "file").write_text("")
    steps = []
    with pytest.raises(DataError, match="cannot be written") as caught:
        fit(net(), nn.functional.mse_loss, from_arrays(), 12, SETTINGS, tmp_path / "file" / "c", callback=steps.append)
    assert isinstance(caught.value, OSError)
    assert not steps


def test_what_killed_trainings_left_is_cleaned(tmp_path):
    dead = tmp_path / f"c.{HOST}-{2**22 + 1}.part"
    dead.write_bytes(b"half")
    trained(tmp_path / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of losses of its own."""
    (tmp_path / "losses_of_mine").mkdir()
    files = {
        "__init__.py": "",
        "loss.py": "from .helper import power\n\n\ndef loss(a, b):\n    return (a - b).abs().pow(power()).mean()\n",
        "helper.py": 'def power():\n    """Of the error."""\n    from . import late\n    return late.POWER\n',
        "late.py": "POWER = 2.0\n",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / "losses_of_mine" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "losses_of_mine"
    for name in [m for m in sys.modules if m.startswith("losses_of_mine")]:
        del sys.modules[name]


EDITS = {  # file, text, another one, whether that is another loss
    "a helper behind it": ("helper.py", "late.POWER", "late.POWER + 1", True),
    "a module imported late": ("late.py", "2.0", "3.0", True),
    "a comment": ("loss.py", "def loss", "# a comment\ndef loss", False),
    "a docstring": ("helper.py", "Of the error.", "Of the residual.", False),
    "a module that nothing imports": ("unused.py", "", "x = 1", False),
}


@pytest.mark.parametrize("what", EDITS)
def test_the_code_behind_a_loss_counts_its_comments_do_not(package, tmp_path, what):
    name, old, new, counts = EDITS[what]

    def run():
        for module in [m for m in sys.modules if m.startswith("losses_of_mine")]:
            del sys.modules[module]
        described._stripped.cache_clear()
        importlib.invalidate_caches()
        return trained(tmp_path / "c", loss=importlib.import_module("losses_of_mine.loss").loss)

    run()
    assert run()[1].step == 4
    (package / name).write_text((package / name).read_text().replace(old, new) if old else new)
    if counts:
        with pytest.raises(DataError, match="code of the loss"):
            run()
    else:
        assert run()[1].step == 4


@pytest.mark.parametrize("change", ["weight = 0.7", "table = {'weight': 2.0}", "def part(d): return d.abs()"])
def test_a_loss_of_a_notebook_is_what_its_globals_make_it(tmp_path, change):
    cell = """
weight, table = 0.5, {"weight": 1.0}
def part(d): return d.square()
def loss(a, b): return (lambda d: weight * table["weight"] * part(d).mean())(a - b)
"""
    space = {"__name__": "a_notebook"}
    exec(cell, space)
    fit(net(), space["loss"], from_arrays(), 12, SETTINGS, tmp_path / "c.pt")
    fit(net(), space["loss"], from_arrays(), 12, SETTINGS, tmp_path / "c.pt")
    exec(change, space)
    with pytest.raises(DataError, match="loss"):
        fit(net(), space["loss"], from_arrays(), 12, SETTINGS, tmp_path / "c.pt")


def test_frozen_weights_are_another_training(tmp_path):
    fit(net(), weighted, from_arrays(), 12, SETTINGS, tmp_path / "c.pt")
    frozen = net()
    frozen[0].requires_grad_(False)
    with pytest.raises(DataError, match="architecture"):
        fit(frozen, weighted, from_arrays(), 12, SETTINGS, tmp_path / "c.pt")
