"""Outside of `stand_in` nothing of it is left."""

import torch
from stand_in import DEVICE, NAME, stand_in


def test_what_was_patched_is_put_back():
    before = torch.Generator, torch.load, torch.autograd.is_multithreading_enabled()
    with stand_in():
        assert torch.Generator(DEVICE).device.type == NAME
    assert (torch.Generator, torch.load, torch.autograd.is_multithreading_enabled()) == before
    x = torch.ones(3, requires_grad=True)
    x.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]
