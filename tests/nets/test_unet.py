"""The U-Net: sizes, parameter counts, what reaches what."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.nets.unet import UNet, make_unet


def count(net):
    return sum(p.numel() for p in net.parameters())


def convolutions(*pairs, kernel=9):
    return sum(kernel * i * o + o for i, o in pairs)


def test_parameters_of_a_plain_unet_by_hand():
    net = UNet(5, 5, width=(4, 6), depth=1)
    expected = convolutions((5, 4), (4, 4), (4, 6), (6, 6))  # encoder
    expected += 4 * 6 * 6 + 6  # transposed
    expected += convolutions((6 + 4, 4), (4, 4)) + convolutions((4, 4), (4, 5), kernel=1)
    assert count(net) == expected


def test_the_size_of_neighbor2neighbors_network():
    """Its public network has 1.26 million weights for RGB, with one more 1x1 convolution of 96 channels in the head."""
    net = UNet(3, 3, width=48, depth=5, decoder_width=96, input_skips=True, deep_convs=1)
    assert count(net) + 96 * 96 + 96 == 1_259_475


@pytest.mark.parametrize("options", [{}, {"input_skips": True}, {"norm": True}, {"residual": True}, {"deep_convs": 1}])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_shapes_and_gradients(options, depth):
    net = make_unet(0, 2, 2, width=4, depth=depth, **options)
    x = torch.randn(3, 2, 16, 24)
    y = net(x)
    assert y.shape == x.shape
    y.square().mean().backward()
    last = net.head[-1].weight.grad
    assert last is not None
    assert float(last.abs().max()) > 0


def test_a_residual_network_starts_as_the_identity():
    x = torch.randn(2, 5, 8, 8)
    assert torch.equal(make_unet(3, 5, 5, width=4, depth=2, residual=True)(x), x)
    assert not torch.equal(make_unet(3, 5, 5, width=4, depth=2)(x), x)


def test_every_input_pixel_within_reach_matters():
    net = make_unet(1, 1, 1, width=4, depth=2).double()
    x = torch.randn(1, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    net(x)[0, 0, 8, 8].backward()
    assert bool((x.grad[0, 0, 4:12, 4:12] != 0).all())


@pytest.mark.parametrize("input_skips", [False, True])
def test_every_decoder_level_sees_its_skip(input_skips):
    """What leaves the encoder's level of its size, or what enters it."""
    net, entered, left, seen = make_unet(4, 2, 1, width=(3, 4, 5), depth=2, input_skips=input_skips), {}, {}, {}

    def keep(i, x, y):
        entered[i], left[i] = x, y

    for i, stage in enumerate(net.encoder):
        stage.register_forward_hook(lambda _, args, out, i=i: keep(i, args[0], out))
    for i, stage in enumerate(net.decoder):
        stage.register_forward_hook(lambda _, args, out, i=i: seen.update({i: (args[0], out)}))
    net(torch.randn(2, 2, 8, 12, generator=torch.Generator().manual_seed(0)))
    for i in range(2):
        joined, skip = seen[i][0], (entered if input_skips else left)[i]
        below = left[2] if i == 1 else seen[i + 1][1]
        assert torch.equal(joined, torch.cat([net.raises[i](below), skip], 1))


def test_seeds_leave_the_global_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a, b, c = make_unet(1, 1, 1, width=4), make_unet(1, 1, 1, width=4), make_unet(2, 1, 1, width=4)
    assert torch.equal(torch.rand(3), expected)
    weights = [net.encoder[0][0][0].weight for net in (a, b, c)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_gain_scales_the_weights():
    a, b = make_unet(1, 1, 1, width=4), make_unet(1, 1, 1, gain=0.1, width=4)
    assert torch.allclose(b.head[0].weight, 0.1 * a.head[0].weight)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"width": (4,)}, "width"), ({"decoder_width": (4, 4, 4)}, "decoder_width"), ({"width": 0}, "width"),
     ({"residual": True, "out_channels": 2}, "residual"), ({"deep_convs": 0}, "deep_convs")],
)  # fmt: skip
def test_bad_arguments(change, name):
    with pytest.raises(ArgumentError, match=name):
        UNet(**({"in_channels": 1, "out_channels": 1, "width": 4, "depth": 2} | change))


@pytest.mark.parametrize("shape", [(1, 1, 6, 8), (1, 2, 8, 8), (1, 8, 8)])
def test_bad_images(shape):
    with pytest.raises(ArgumentError, match="x:"):
        UNet(1, 1, width=4, depth=2)(torch.zeros(shape))


def test_the_initial_weights_follow_slope_and_gain():
    """Kaiming's deviation is gain sqrt(2 / (1 + slope^2) / fan), from the same numbers."""
    plain, other = make_unet(0, 1, 1, slope=0.0), make_unet(0, 1, 1, slope=0.5, gain=3.0)
    for a, b in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(b, a * 3 / 1.25**0.5)
