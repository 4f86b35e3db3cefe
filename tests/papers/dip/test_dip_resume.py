"""A fit of the deep image prior that is killed ends bit by bit where it would have; one of another kind is refused."""

import os
import signal

import pytest
import torch
from faults import Faults, in_child
from states import same
from torch import nn

from ctlib.errors import DataError
from ctlib.papers.dip.fit import Guard, MovingVariance, data_energy, fit_dip, log_step, moving_average, perturbed
from ctlib.papers.dip.network import SkipNet, skip_prior
from ctlib.papers.dip.operators import Identity, Mask, bernoulli_mask
from ctlib.papers.dip.resume import CURVES
from ctlib.train import described, load_checkpoint

TRUTH = 0.2 + 0.6 * torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
NOISY = TRUTH + 0.1 * torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
LEFT = Mask(1 - bernoulli_mask((16, 16), 0.9, torch.Generator().manual_seed(0)))
LAST = 21
OPTIONS = {"lr": 0.3, "guard_db": 0.02, "truth": TRUTH, "held_out": (LEFT, LEFT(NOISY)), "snapshots": (2, 13, 20)}


def fitted(path=None, steps=LAST, x0=NOISY, A=None, seed=0, prior=(16, 16), noise=7, every=5, **options):
    torch.set_num_threads(1)
    net, z = skip_prior(prior, seed, 4, channels=4, scales=2)
    A, generator = A or Identity((16, 16)), torch.Generator().manual_seed(noise)
    fit = fit_dip(A, x0, net, z, steps, generator, **{**OPTIONS, **options}, path=path, every=every)
    return fit, net, generator


def outcome(fit, net, generator):
    return {**vars(fit), "net": dict(net.state_dict()), "noise": generator.get_state()}


@pytest.fixture(scope="module")
def whole():
    found = outcome(*fitted())
    assert 0 < found["restored"] < LAST  # the guard's state matters
    return found


def killed_at(step, path, **options):
    """A fit in a child process that ends itself after a step."""

    def callback(done, x):
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return in_child(lambda: fitted(path, callback=callback, **options), Faults(path.parent / "nowhere"))


def test_a_fit_is_the_plain_loop(whole):
    net, z = skip_prior((16, 16), 0, 4, channels=4, scales=2)
    A, generator, average = Identity((16, 16)), torch.Generator().manual_seed(7), None
    fit, guard, moving = fitted(steps=1)[0].first(0), Guard(net, 0.02), MovingVariance()
    optimizer = torch.optim.Adam(net.parameters(), 0.3, fused=True)
    for _ in range(LAST):
        x = net(perturbed(z, 0.03, generator))[0, 0]
        energy = data_energy(A, x, NOISY)
        average = moving_average(average, x.detach(), 0.99)
        fit.variance.append(moving.update(x.detach()))
        log_step(fit, energy, x.detach(), average, TRUTH, (LEFT, LEFT(NOISY)))
        if guard.accept(fit.psnr_fit[-1]):
            optimizer.zero_grad()
            energy.backward()
            optimizer.step()
    assert all(getattr(fit, name) == whole[name] for name in CURVES)
    assert torch.equal(average, whole["average"])
    assert torch.equal(x.detach(), whole["last"])
    assert guard.restored == whole["restored"]
    assert same(dict(net.state_dict()), whole["net"])


def test_killed_again_and_again_it_ends_bit_by_bit_where_it_would_have(whole, tmp_path):
    path, seen = tmp_path / "fit.ckpt", []
    assert killed_at(3, path) == -signal.SIGKILL  # before the first checkpoint
    assert not path.exists()
    for stop in (7, 12, 19):
        assert killed_at(stop, path) == -signal.SIGKILL
        assert load_checkpoint(path)["step"] == stop // 5 * 5
    result = outcome(*fitted(path, callback=lambda step, x: seen.append(step)))
    assert seen == list(range(15, LAST))
    assert same(result, whole)


def test_a_finished_fit_is_loaded_and_its_file_holds_the_result_alone(whole, tmp_path, monkeypatch):
    fitted(tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    monkeypatch.setattr(SkipNet, "forward", lambda net, z: pytest.fail("computed again"))
    assert same(outcome(*fitted(tmp_path / "a")), whole)
    assert (tmp_path / "a").read_bytes() == before
    assert load_checkpoint(tmp_path / "a")["parts"]["fit"].keys() == {"curves", "images", "noise"}


def test_with_double_precision_and_without_truth(tmp_path):
    net, z = skip_prior((16, 16), 0, 4, channels=4, scales=2)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    found = []
    for _ in range(2):
        net.load_state_dict(state)
        run = Identity((16, 16)), NOISY.double(), net.double(), z.double(), 3, torch.Generator().manual_seed(0)
        found.append(fit_dip(*run, path=tmp_path / "c"))
    assert same(vars(found[0]), vars(found[1]))
    assert found[1].psnr_truth == []
    assert found[1].last.dtype == torch.float64


class Tilted(Mask):
    """Another product behind the same fields."""

    def _apply(self, x):
        return 2 * super()._apply(x)


MASK = bernoulli_mask((16, 16), 0.5, torch.Generator().manual_seed(2))
FLIPPED = MASK.clone()
FLIPPED[3, 3] = 1 - FLIPPED[3, 3]
EDITED = NOISY.clone()
EDITED[5, 5] += 0.05
PAIRS = {  # name of what differs: the first fit, the second
    "settings.num_iters": ({}, {"steps": 4}),
    "settings.lr": ({}, {"lr": 0.2}),
    "settings.reg_noise": ({}, {"reg_noise": 0.0}),
    "settings.ema": ({}, {"ema": 0.9}),
    "settings.guard_db": ({}, {"guard_db": 3.0}),
    "settings.precision": ({}, {"precision": "bf16"}),
    "settings.snapshots": ({}, {"snapshots": (1,)}),
    "x0": ({}, {"x0": EDITED}),
    "truth": ({}, {"truth": NOISY}),
    "truth: none": ({}, {"truth": None}),
    "z": ({}, {"seed": 1}),
    "noise": ({}, {"noise": 8}),
    "operator": ({"A": Mask(MASK)}, {"A": Mask(FLIPPED)}),
    "operator: another kind": ({"A": Mask(torch.ones(16, 16))}, {"A": Tilted(torch.ones(16, 16))}),
    "operator held out": ({}, {"held_out": (Mask(MASK), LEFT(NOISY))}),
    "observation held out": ({}, {"held_out": (LEFT, LEFT(TRUTH))}),
}


@pytest.mark.parametrize("differs", PAIRS)
def test_a_checkpoint_of_another_fit_is_refused_or_begun_anew(differs, tmp_path):
    path, (first, second) = tmp_path / "c", PAIRS[differs]
    fitted(path, **{"steps": 3, **first})
    before = path.read_bytes()
    with pytest.raises(DataError, match="delete this file") as caught:
        fitted(path, **{"steps": 3, **second})
    assert caught.value.field == differs.partition(":")[0]
    assert path.read_bytes() == before
    other = outcome(*fitted(path, anew=True, **{"steps": 3, **second}))
    assert same(other, outcome(*fitted(**{"steps": 3, **second})))
    assert same(other, outcome(*fitted(path, **{"steps": 3, **second})))  # its checkpoint took the place


def test_a_network_that_is_trained_or_built_otherwise_is_refused(tmp_path):
    net, z = skip_prior((16, 16), 0, 4, channels=4, scales=2)

    def run(net):
        return fit_dip(Identity((16, 16)), NOISY, net, z, 2, torch.Generator().manual_seed(0), path=tmp_path / "c")

    run(net)
    with pytest.raises(DataError, match="trained already"):
        run(net)
    with pytest.raises(DataError, match="architecture"):
        run(nn.Sequential(skip_prior((16, 16), 0, 4, channels=4, scales=2)[0]))


@pytest.mark.parametrize("module", ["papers.dip.fit", "papers.dip.network", "papers.dip.operators", "train.loop"])
def test_changed_code_of_what_makes_the_numbers_is_refused(module, tmp_path, monkeypatch):
    fitted(tmp_path / "c", steps=2)
    real = described._stripped
    monkeypatch.setattr(described, "_stripped", lambda m: ("edited", set()) if m == f"ctlib.{module}" else real(m))
    with pytest.raises(DataError, match="another training") as caught:
        fitted(tmp_path / "c", steps=2)
    assert caught.value.field == f"code of ctlib.{module}"


def test_a_damaged_checkpoint_is_told_and_may_be_begun_anew(whole, tmp_path):
    (tmp_path / "c").write_bytes(b"cut off")
    with pytest.raises(DataError, match="header"):
        fitted(tmp_path / "c")
    assert same(outcome(*fitted(tmp_path / "c", anew=True)), whole)


def test_half_precision_resumes_too_and_lies_near(whole, tmp_path):
    half, net, _ = fitted(precision="bf16")
    killed_at(12, tmp_path / "c", precision="bf16")
    assert load_checkpoint(tmp_path / "c")["step"] == 10
    assert half.last.dtype == torch.float32
    assert half.energy != whole["energy"]
    assert half.energy[0] == pytest.approx(whole["energy"][0], rel=0.02)
    assert next(net.body.down.parameters()).is_contiguous(memory_format=torch.channels_last)
    assert same(vars(fitted(tmp_path / "c", precision="bf16")[0]), vars(half))
    assert len(half.last.unique()) > 200  # not in steps of half precision
