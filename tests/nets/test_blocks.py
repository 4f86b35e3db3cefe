"""Shared blocks: each option of the convolution unit, and channel attention by its formula."""

import pytest
import torch
from torch import nn

from ctlib.nets.blocks import ChannelAttention, conv_unit
from ctlib.nets.seeded import seeded


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kinds(net):
    return [type(m).__name__ for m in net]


def test_a_unit_is_convolution_normalization_and_relu():
    unit, x = seeded(0, conv_unit, 3, 4), rand(2, 3, 6, 5)
    y = nn.functional.conv2d(x, unit[0].weight, None, padding=1)
    mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(unit(x), torch.relu((y - mean) / (var + 1e-5).sqrt()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "names", "bias", "shape"),
    [
        ({}, ["Conv2d", "BatchNorm2d", "ReLU"], False, (1, 4, 6, 5)),
        ({"norm": False}, ["Conv2d", "ReLU"], True, (1, 4, 6, 5)),
        ({"bias": True, "slope": 0.2}, ["Conv2d", "BatchNorm2d", "LeakyReLU"], True, (1, 4, 6, 5)),
        ({"kernel": 5, "stride": 2}, ["Conv2d", "BatchNorm2d", "ReLU"], False, (1, 4, 3, 3)),
        ({"ndim": 1}, ["Conv1d", "BatchNorm1d", "ReLU"], False, (1, 4, 6)),
    ],
)
def test_options_of_a_unit(options, names, bias, shape):
    unit = conv_unit(3, 4, **options)
    assert kinds(unit) == names
    assert (unit[0].bias is not None) == bias
    assert unit.eval()(rand(1, 3, *(6, 5)[: len(shape) - 2])).shape == shape


def test_slope_and_padding_reach_the_pixels():
    unit = conv_unit(1, 1, norm=False, slope=0.3, padding_mode="reflect")
    nn.init.constant_(unit[0].weight, -1.0)
    nn.init.zeros_(unit[0].bias)
    assert torch.allclose(unit(torch.ones(1, 1, 4, 4)), torch.tensor(-9 * 0.3))  # at the border as inside
    assert conv_unit(1, 1, 1, padding_mode="reflect")[0].padding_mode == "zeros"


def test_channel_attention_is_its_formula():
    block, x = seeded(1, ChannelAttention, 32), rand(2, 32, 5, 4)
    w1, w2 = (m.weight.detach()[:, :, 0, 0] for m in (block.squeeze, block.excite))
    hidden = torch.relu(x.mean((2, 3)) @ w1.T + block.squeeze.bias.detach())
    s = torch.sigmoid(hidden @ w2.T + block.excite.bias.detach())
    assert hidden.shape == (2, 2)
    torch.testing.assert_close(block(x).detach(), x * s[:, :, None, None])


@pytest.mark.parametrize(("channels", "reduction", "hidden"), [(32, 4, 8), (33, 16, 2), (3, 4, 1)])
def test_channel_attention_squeezes_by_its_reduction(channels, reduction, hidden):
    assert ChannelAttention(channels, reduction).squeeze.out_channels == hidden
