"""The stand-in device refuses what CUDA refuses, takes what CUDA takes, and trains."""

import copy

import numpy as np
import pytest
import torch
from agreement import equal
from stand_in import DEVICE
from torch import nn

from ctlib.train import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread", "device")

MAKERS = {
    "tensor": lambda **o: torch.tensor([1.0, 2.0], **o),
    "as_tensor": lambda **o: torch.as_tensor(np.ones(2), **o),
    "zeros": lambda **o: torch.zeros(2, 3, **o),
    "full": lambda **o: torch.full((2,), 3.0, **o),
    "eye": lambda **o: torch.eye(3, **o),
    "arange": lambda **o: torch.arange(5, **o),
    "linspace": lambda **o: torch.linspace(0, 1, 5, **o),
    "rand": lambda **o: torch.rand(3, generator=torch.Generator(**o).manual_seed(1), **o),
    "randn": lambda **o: torch.randn(3, generator=torch.Generator(**o).manual_seed(1), **o),
    "randperm": lambda **o: torch.randperm(5, generator=torch.Generator(**o).manual_seed(1), **o),
    "randint": lambda **o: torch.randint(9, (4,), generator=torch.Generator(**o).manual_seed(1), **o),
}


@pytest.fixture
def t():
    return torch.tensor([1.0, 2.0, 3.0], device=DEVICE)


@pytest.fixture
def c():
    return torch.tensor([1.0, 2.0, 3.0])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_calls_that_make_tensors(make):
    equal(make(device=DEVICE), make(), DEVICE)


MIXED = {
    "add": lambda t, c: t + c,
    "in place": lambda t, c: t.mul_(c),
    "written to the CPU": lambda t, c: c[0].add_(t[0]),
    "device number, CPU tensor": lambda t, c: t[0] * c,
    "matmul": lambda t, c: t @ c,
    "cat": lambda t, c: torch.cat([t, c]),
    "stack of numbers": lambda t, c: torch.stack([t[0], c[0]]),
    "where": lambda t, c: torch.where(c > 1, t, t),
    "masked_fill": lambda t, c: t.masked_fill(c > 1, 0.0),
    "masked_select": lambda t, c: t.masked_select(c > 1),
    "gather": lambda t, c: t.gather(0, c.long() - 1),
    "index_select": lambda t, c: t.index_select(0, c.long() - 1),
    "index_add": lambda t, c: t.index_add(0, c.long() - 1, t),
    "clamp": lambda t, c: t.clamp(c[0], c[2]),
    "CPU by device index": lambda t, c: c[t.long() - 1],
    "assignment by index": lambda t, c: t.__setitem__(torch.tensor([0, 1, 2]), c),
    "quantile": lambda t, c: t.quantile(c / 3),
    "searchsorted": lambda t, c: torch.searchsorted(t, c),
    "conv": lambda t, c: nn.functional.conv1d(t[None, None], c[None, None]),
    "module": lambda t, c: nn.Linear(3, 1)(t),
    "allclose": lambda t, c: torch.allclose(t, c),
    "randn": lambda t, c: torch.randn(2, device=DEVICE, generator=torch.Generator()),
    "poisson": lambda t, c: torch.poisson(t, generator=torch.Generator()),
    "normal_": lambda t, c: t.normal_(generator=torch.Generator()),
    "randn on the CPU": lambda t, c: torch.randn(2, generator=torch.Generator(DEVICE)),
    "normal_ on the CPU": lambda t, c: c.normal_(generator=torch.Generator(DEVICE)),
}


@pytest.mark.parametrize("call", MIXED.values(), ids=MIXED)
def test_two_devices_do_not_mix(t, c, call):
    with pytest.raises((RuntimeError, IndexError), match=r"(?i)device|cpu"):
        call(t, c)


def test_a_cpu_number_mixes_with_device_tensors(t, c):
    equal(t * c[1] + torch.tensor(1.0), c * c[1] + 1, DEVICE)
    equal(torch.where(t > c[0], c[0], t), c.clamp_max(1), DEVICE)
    equal(t.masked_fill(t > 1, c[0]), c.clamp_max(1), DEVICE)


def test_cpu_indices_reach_into_device_tensors(t, c):
    equal(t[torch.tensor([2, 0])], c[[2, 0]], DEVICE)
    equal(t[c > 1], c[1:], DEVICE)
    t[c > 1] = 5.0
    t[torch.tensor([0])] = torch.tensor(4.0)
    equal(t, torch.tensor([4.0, 5.0, 5.0]), DEVICE)


def test_copies_cross_devices(t, c):
    c[:2] = t[1:]
    t[:1] = c[2:]
    equal(c, torch.tensor([2.0, 3.0, 3.0]), "cpu")
    equal(t.cpu(), torch.tensor([3.0, 2.0, 3.0]), "cpu")
    equal(c.to(t), c, DEVICE)


def test_numpy_needs_the_cpu(t):
    for call in (t.numpy, lambda: np.asarray(t), lambda: np.stack([t.sqrt()])):
        with pytest.raises(TypeError, match=r"Tensor\.cpu\(\)"):
            call()
    assert t.cpu().numpy().tolist() == t.tolist() == [1.0, 2.0, 3.0]


def test_numbers_and_text_need_no_copy(t):
    assert float(t[1]) == t[1].item() == 2.0
    assert f"{t.sum():.1f}" == "6.0"
    assert bool(t[0] > 0)
    assert DEVICE in repr(t)


def test_what_cuda_lacks_is_refused(t):
    with pytest.raises(NotImplementedError, match="no kernel"):
        torch.histogram(t, 3)


def test_a_view_shares_memory(t):
    t.reshape(3, 1)[1] = 7.0
    assert t.tolist() == [1.0, 7.0, 3.0]
    assert copy.deepcopy(t).zero_().sum() == 0
    assert t.sum() == 11


def test_gradients_cross_devices(c):
    x = c.clone().requires_grad_()
    (x.to(DEVICE).square().sum() * 2).cpu().backward()
    equal(x.grad, 4 * c, "cpu")


def network():
    torch.manual_seed(0)
    norm = nn.Sequential(nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.PReLU())
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), norm, nn.Upsample(scale_factor=2), nn.Conv2d(4, 1, 3))


def trained(make, device, steps=3):
    net = network().to(device)
    optimizer = make(net.parameters(), lr=0.01)
    x = torch.linspace(-1, 1, 128, device=device).reshape(2, 1, 8, 8)
    for _ in range(steps):
        optimizer.zero_grad()
        net(x).sin().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return net, optimizer


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RAdam])
def test_training_is_that_of_the_cpu(make):
    found, expected = (trained(make, device)[0].state_dict() for device in (DEVICE, "cpu"))
    equal(dict(found), dict(expected), DEVICE)


def test_a_checkpoint_comes_back_on_its_device(tmp_path):
    net, optimizer = trained(torch.optim.Adam, DEVICE)
    save_checkpoint(tmp_path / "c", {"net": net.state_dict(), "optimizer": optimizer.state_dict()})
    here, there = load_checkpoint(tmp_path / "c"), load_checkpoint(tmp_path / "c", DEVICE)
    equal(here["net"], there["net"] | {k: v.cpu() for k, v in net.state_dict().items()}, "cpu")
    equal(there["net"], here["net"], DEVICE)
    optimizer.load_state_dict(there["optimizer"])
    assert {str(s["exp_avg"].device) for s in optimizer.state.values()} == {DEVICE}


def test_an_earlier_backward_pass_does_no_harm():
    """Autograd counts devices in its first backward pass; the stand-in may be registered after it."""
    x = torch.ones(3, requires_grad=True)
    x.sum().backward()
    y = torch.ones(3, device=DEVICE, requires_grad=True)
    y.square().sum().backward()
    equal(y.grad, 2 * x.grad, DEVICE)
