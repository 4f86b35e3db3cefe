"""The deep image prior's networks: sizes, ranges, parameter counts, seeds."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.nets.seeded import num_parameters
from ctlib.papers.dip.network import SkipNet, hourglass, skip_prior


def counted(scales, channels, skip, inputs):
    """Weights by hand: convolutions with bias, two numbers per channel of each batch normalization."""
    conv = lambda i, o, k: i * o * k * k + o  # noqa: E731
    total = conv(channels, 1, 1)
    for s in range(scales):
        i = inputs if s == 0 else channels
        total += conv(i, channels, 3) + conv(channels, channels, 3) + 2 * 2 * channels  # down
        total += (conv(i, skip, 1) + 2 * skip) if skip else 0
        joined = channels + skip
        total += 2 * joined + conv(joined, channels, 3) + conv(channels, channels, 1) + 2 * 2 * channels
    return total


@pytest.mark.parametrize(("scales", "channels", "skip", "inputs"), [(5, 128, 4, 32), (3, 16, 4, 8), (4, 8, 0, 2)])
def test_the_parameter_count_is_that_of_the_description(scales, channels, skip, inputs):
    net = SkipNet(inputs, 1, channels, skip, scales)
    assert num_parameters(net) == counted(scales, channels, skip, inputs)


def test_the_original_size_has_2_2_million_weights():
    assert num_parameters(SkipNet()) == 2_217_573


@pytest.mark.parametrize("up", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(32, 32), (48, 64)])
def test_output_has_the_inputs_size_and_lies_in_the_unit_interval(up, size):
    net = SkipNet(4, 3, (8, 6, 5), (2, 0, 1), 3, up)
    y = net(torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0))).detach()
    assert y.shape == (2, 3, *size)
    assert 0 < float(y.min()) < float(y.max()) < 1
    assert hourglass(channels=8, scales=3)(torch.rand(1, 2, *size)).shape == (1, 1, *size)


def test_a_seed_fixes_weights_and_input_and_leaves_the_global_stream_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    (a, za), (b, zb), (c, zc) = (skip_prior((16, 16), s, 4, channels=4, scales=2) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(za, zb)
    assert not torch.equal(za, zc)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))
    assert 0 <= float(za.min()) < float(za.max()) <= 0.1


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("z", lambda: SkipNet(2, channels=4, scales=3)(torch.zeros(1, 2, 20, 24))),
        ("z", lambda: SkipNet(2, channels=4, scales=3)(torch.zeros(1, 2, 8, 8))),
        ("channels", lambda: SkipNet(channels=(4, 4), scales=3)),
        ("up", lambda: SkipNet(up="cubic")),
        ("scales", lambda: SkipNet(channels=4, scales=0)),
    ],
)
def test_bad_input_names_the_argument(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
