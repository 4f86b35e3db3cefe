"""Kept bytes, counted by hand."""

import torch
from torch import nn

from ctlib.train import activation_bytes


def test_a_chain_keeps_what_its_derivatives_need():
    """A linear layer keeps its input, a ReLU its output, which is the next layer's input and counts once."""
    net = nn.Sequential(nn.Linear(10, 20), nn.ReLU(), nn.Linear(20, 5))
    x = torch.rand(8, 10)
    assert activation_bytes(net, lambda: net(x)) == 4 * (8 * 10 + 8 * 20)


def test_meta_tensors_count_as_much_and_grow_with_the_batch():
    def kept(device, batch):
        with torch.device(device):
            net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
            x = torch.zeros(batch, 3, 16, 16)
        return activation_bytes(net, lambda: net(x))

    assert kept("meta", 2) == kept("cpu", 2)
    small = 4 * 2 * 4 + 16  # mean and deviation of the batch norm
    assert abs(kept("meta", 8) - 4 * kept("meta", 2)) <= 4 * small
