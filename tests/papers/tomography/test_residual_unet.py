"""The residual U-Net: sizes, weights by hand, its blocks one by one, and where z enters."""

import math

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.residual_unet import (
    SIZES,
    LatentUpBlock,
    ResidualBlock,
    ResidualUNet,
    UpBlock,
    group_norm,
    join,
    unet_of_size,
)


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(p.numel() for p in net.parameters())


def conv(i, o, k):
    return i * o * k * k + o


def counted(inputs, outputs, width, blocks, depth, every):
    """Weights by hand, from the description."""
    w = [width * 2 ** (i // every) for i in range(depth + 1)]
    residual = [blocks * (2 * conv(c, c, 3) + 2 * c + 1) for c in w]
    total = conv(width, outputs, 1)
    for i in range(depth + 1):
        total += conv(w[i - 1] if i else inputs, w[i], 3) + residual[i]
    for i in range(depth):
        joined = w[i + 1] + w[i]
        hidden = max(1, joined // 16)
        total += conv(joined, hidden, 1) + conv(hidden, joined, 1) + conv(joined, w[i], 1) + residual[i]
    return total


@pytest.mark.parametrize("options", [(3, 2, 6, 1, 3, 2), (1, 1, 4, 2, 2, 1), (5, 1, 8, 1, 4, 2)])
def test_weights_are_those_counted_by_hand(options):
    inputs, outputs, width, blocks, depth, every = options
    net = ResidualUNet(inputs, outputs, width, blocks, depth, every)
    assert count(net) == counted(*options)
    assert net(rand(2, inputs, 16, 16)).shape == (2, outputs, 16, 16)


def test_named_sizes_grow_and_the_smallest_end_to_end_pair_has_the_papers_channels():
    with torch.device("meta"):
        weights = [count(unet_of_size(size, 1, 1)) for size in SIZES]
    assert weights == sorted(weights)
    assert weights == [counted(1, 1, width, num, 4, 2) for width, num in SIZES.values()]
    assert [SIZES[s][0] for s in ("XXS", "XS", "S")] == [32] * 3
    assert {SIZES[s][0] for s in ("S-64", "M", "L", "XL", "XXL")} == {64}
    assert SIZES["S"][1] == SIZES["S-64"][1]  # "the only difference is the number of channels"


def test_channels_double_every_two_strided_convolutions():
    net = ResidualUNet(1, 1, 4, 1, 4)
    assert [block.conv.out_channels for block in net.down] == [4, 4, 8, 8, 16]
    assert [block.conv.stride[0] for block in net.down] == [1, 2, 2, 2, 2]


@pytest.mark.parametrize("shape", [(15, 22), (9, 16)])
def test_sizes_need_not_be_powers_of_two(shape):
    assert ResidualUNet(1, 1, 4, 1, 3)(rand(1, 1, *shape)).shape == (1, 1, *shape)


def test_every_weight_has_a_gradient_and_every_sample_is_alone():
    net = seeded(0, ResidualUNet, 2, 1, 4, 1, 3)
    x = rand(2, 2, 16, 16)
    net(x).square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())
    assert torch.allclose(net(x)[:1], net(x[:1]), atol=1e-6)


def test_a_residual_block_is_the_identity_plus_its_body():
    block, x = ResidualBlock(4), rand(1, 4, 6, 6)
    want = block.body[3](nn.functional.prelu(block.body[1](block.body[0](x)), block.body[2].weight))
    assert torch.allclose(block(x) - x, want, atol=1e-6)
    nn.init.zeros_(block.body[3].weight)
    nn.init.zeros_(block.body[3].bias)
    assert torch.equal(block(x), x)


def test_group_normalization_has_groups_for_any_number_of_channels():
    x = rand(3, 12, 5, 5)
    groups = group_norm(12)(x).unflatten(1, (4, 3)).flatten(2)  # gcd(12, 8) = 4 groups of 3
    assert groups.mean(-1).abs().max() < 1e-6
    assert (groups.var(-1, correction=0) - 1).abs().max() < 1e-3
    assert group_norm(7).num_groups == 1


def test_join_enlarges_constants_to_constants_and_keeps_the_skip():
    skip = rand(1, 1, 5, 8)
    joined = join(torch.full((1, 2, 3, 4), 5.0), skip)
    assert joined.shape == (1, 3, 5, 8)
    assert torch.equal(joined[:, :2], torch.full((1, 2, 5, 8), 5.0))
    assert torch.equal(joined[:, 2:], skip)


@pytest.mark.parametrize("z_channels", [0, 2])
def test_every_block_up_sees_what_the_block_down_of_its_size_gives(z_channels):
    """Replacing a skip by zeros would leave all shapes, counts and gradients right."""
    net = seeded(2, ResidualUNet, 1, 1, 4, 1, 3, z_channels=z_channels)
    given, seen = {}, {}
    for i, block in enumerate(net.down):
        block.register_forward_hook(lambda _, args, out, i=i: given.update({i: out}))
    for i, block in enumerate(net.up):
        block.register_forward_hook(lambda _, args, out, i=i: seen.update({i: (*args[:2], out)}))
    net(rand(2, 1, 16, 24), *([rand(2, 2, 2, 3, seed=1)] if z_channels else []))
    for i in range(3):
        below, skip, _ = seen[i]
        assert torch.equal(skip, given[i])
        assert torch.equal(below, given[3] if i == 2 else seen[i + 1][2])


@pytest.mark.parametrize("block", [UpBlock(3, 2, 4, 1), LatentUpBlock(3, 2, 4, 1, 1)])
def test_a_block_up_depends_on_every_channel_of_both_its_inputs(block):
    inputs = [rand(1, 3, 4, 4).requires_grad_(), rand(1, 2, 8, 8).requires_grad_()]
    block(*inputs, *([rand(1, 1, 2, 2)] if isinstance(block, LatentUpBlock) else [])).square().sum().backward()
    for x in inputs:
        assert float(x.grad.abs().amax((0, 2, 3)).min()) > 0


def test_the_last_channels_scale_z_by_their_exponential():
    block = LatentUpBlock(3, 2, 5, 1, z_channels=2)
    block.blocks = nn.Identity()
    nn.init.zeros_(block.first[0].weight)
    with torch.no_grad():
        block.first[0].bias.copy_(torch.tensor([1.0, 2.0, 3.0, math.log(4), 50.0]))
    z = torch.ones(1, 2, 2, 2) * torch.tensor([0.5, -1.0])[:, None, None]
    out = block(rand(1, 3, 4, 4), rand(1, 2, 8, 8), z)
    assert out.shape == (1, 5, 8, 8)
    assert out[0, :, 3, 3].tolist() == pytest.approx([1, 2, 3, 4 * 0.5, -math.exp(8)], rel=1e-5)


def test_z_enters_the_third_last_block_at_a_quarter_of_the_size():
    net = seeded(1, ResidualUNet, 1, 1, 4, 1, 4, z_channels=3)
    assert [type(b).__name__ for b in net.up] == ["UpBlock", "UpBlock", "LatentUpBlock", "UpBlock"]
    maps = net.deep(rand(1, 1, 32, 32))
    assert [tuple(m.shape[-2:]) for m in maps] == [(32, 32), (16, 16), (8, 8), (4, 4)]
    z = rand(1, 3, 2, 2, seed=1).requires_grad_()
    (late,) = torch.autograd.grad(net.late([m.detach() for m in maps], z).sum(), z)
    (whole,) = torch.autograd.grad(net(rand(1, 1, 32, 32), z).sum(), z)
    assert torch.allclose(late, whole)
    assert late.abs().min() > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: unet_of_size("XXXL", 1, 1),
        lambda: ResidualUNet(1, 1, 0),
        lambda: ResidualUNet(1, 1, 4, depth=2, z_channels=1),
        lambda: ResidualUNet(1, 1, 4, depth=3, z_channels=8),
        lambda: ResidualUNet(1, 1, 4)(torch.zeros(1, 2, 16, 16)),
        lambda: ResidualUNet(1, 1, 4, z_channels=2)(torch.zeros(1, 1, 16, 16)),
        lambda: ResidualUNet(1, 1, 4)(torch.zeros(1, 1, 16, 16), torch.zeros(1, 2, 2, 2)),
    ],
)
def test_wrong_arguments_are_named(call):
    with pytest.raises(ArgumentError):
        call()
