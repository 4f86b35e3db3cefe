"""HQINet: the paper's size, its blocks one by one, its initialization."""

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.blocks_aspp import ASPP, separable_conv
from ctlib.papers.hqinet.blocks_decoder import DecoderBlock, Reconstruction
from ctlib.papers.hqinet.blocks_scse import SCSE, Bottleneck
from ctlib.papers.hqinet.network import HQINet, initialize, make_hqinet

SMALL = {"stem": 4, "mids": (2, 3), "blocks": (1, 2), "aspp": 6, "rates": (1, 2), "low": 3, "decoder": 5}


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def count(net):
    return sum(p.numel() for p in net.parameters())


def unit(i, o, k):
    return i * o * k * k + 2 * o  # no bias before batch normalization


def counted(slices, stem, mids, blocks, aspp, rates, low, decoder):
    """Weights by hand, from the description."""
    total = unit(slices, stem, 3) + unit(stem, stem, 3)
    widths = [stem]
    for mid, num in zip(mids, blocks, strict=True):
        i, o = widths[-1], 4 * mid
        for k in range(num):
            total += unit(i, mid, 1) + unit(mid, mid, 3) + unit(mid, o, 1)
            total += (i * o + 2 * o) if k == 0 else 0  # the shortcut that changes size
            hidden = max(1, o // 16)
            total += o * hidden + hidden + hidden * o + o + o + 1  # scSE, with biases
            i = o
        widths.append(o)
    deep = widths.pop()
    total += unit(deep, aspp, 1) + len(rates) * (9 * deep + unit(deep, aspp, 1)) + deep * aspp + aspp
    total += unit((2 + len(rates)) * aspp, aspp, 1)
    below = aspp
    for skip in reversed(widths):
        total += unit(skip, low, 1) + unit(below + low, decoder, 3) + unit(decoder, decoder, 3)
        below = decoder
    return total + unit(len(mids) * decoder, decoder, 3) + decoder + 1


def test_the_papers_size_has_36_7_million_weights():
    with torch.device("meta"):
        net = HQINet()
    assert count(net) == counted(3, 64, (64, 128, 256, 512), (3, 4, 6, 3), 256, (6, 12, 18), 48, 256)
    assert abs(count(net) / 1e6 - 36.7) < 0.1


@pytest.mark.parametrize("slices", [1, 3])
def test_small_networks_have_the_counted_weights_and_keep_the_size(slices):
    net = HQINet(slices, **SMALL)
    assert count(net) == counted(slices, 4, (2, 3), (1, 2), 6, (1, 2), 3, 5)
    assert net(rand(2, slices, 16, 24)).shape == (2, 1, 16, 24)


def test_the_papers_network_runs_on_a_slice_of_64_pixels():
    net = make_hqinet(0).eval()
    with torch.no_grad():
        assert net(rand(1, 3, 64, 64)).shape == (1, 1, 64, 64)
        encoded = net.stem(rand(1, 3, 64, 64))
        sizes = [tuple(encoded.shape[1:])]
        for stage in net.stages:
            encoded = stage(encoded)
            sizes.append(tuple(encoded.shape[1:]))
    assert sizes == [(64, 64, 64), (256, 32, 32), (512, 16, 16), (1024, 8, 8), (2048, 4, 4)]


@pytest.mark.parametrize("part", ["scse", "use_aspp", "multi_scale"])
def test_without_a_part_the_network_is_smaller_and_still_runs(part):
    net = HQINet(**SMALL, **{part: False})
    assert count(net) < count(HQINet(**SMALL))
    assert net(rand(1, 3, 16, 16)).shape == (1, 1, 16, 16)


def test_the_output_depends_on_every_slice_and_on_far_pixels():
    net = make_hqinet(1, "paper", **SMALL).eval()
    x = rand(1, 3, 16, 16, seed=3).requires_grad_()
    net(x)[0, 0, 8, 8].backward()
    assert (x.grad.abs().sum((2, 3)) > 0).all()
    assert x.grad[0, 1, 0, 0] != 0  # the pyramid's mean sees everything


def test_scse_is_the_formula_and_keeps_a_constant_constant():
    torch.manual_seed(0)
    block, x = SCSE(6, reduction=2).double(), torch.randn(2, 6, 5, 4, dtype=torch.float64)
    w1, b1, w2, b2 = (
        t.detach() for t in (block.squeeze.weight, block.squeeze.bias, block.excite.weight, block.excite.bias)
    )
    z = x.mean((2, 3))
    s = torch.sigmoid(torch.relu(z @ w1[:, :, 0, 0].T + b1) @ w2[:, :, 0, 0].T + b2)
    q = torch.sigmoid(
        torch.einsum("bcyx,c->byx", x, block.place.weight[0, :, 0, 0].detach()) + block.place.bias.detach()
    )
    torch.testing.assert_close(block(x).detach(), s[:, :, None, None] * x + q[:, None] * x)
    flat = block(torch.full((1, 6, 4, 4), 0.7, dtype=torch.float64)).detach()
    torch.testing.assert_close(flat, flat[..., :1, :1].expand_as(flat))
    largest = SCSE(6, reduction=2, fusion="max").double()
    largest.load_state_dict(block.state_dict())
    torch.testing.assert_close(largest(x).detach(), torch.maximum(s[:, :, None, None] * x, q[:, None] * x))


def test_scse_with_zero_weights_halves_twice():
    """All sigmoids at 1/2: addition gives the input back, the maximum half of it."""
    x = rand(1, 8, 3, 3)
    for fusion, factor in (("add", 1.0), ("max", 0.5)):
        block = SCSE(8, fusion=fusion)
        for p in block.parameters():
            nn.init.zeros_(p)
        torch.testing.assert_close(block(x).detach(), factor * x)


def test_a_bottleneck_whose_body_is_zero_is_its_shortcut():
    block = Bottleneck(8, 2, 1)
    nn.init.zeros_(block.body[-1].weight)
    x = rand(1, 8, 4, 4)
    torch.testing.assert_close(block(x).detach(), x)
    assert Bottleneck(8, 3, 2)(rand(2, 8, 8, 6)).shape == (2, 12, 4, 3)


@pytest.mark.parametrize(("i", "o", "rate"), [(5, 7, 1), (16, 8, 3)])
def test_separable_convolutions_have_the_stated_weights_and_reach(i, o, rate):
    conv = separable_conv(i, o, rate)
    assert sum(p.numel() for m in conv if isinstance(m, nn.Conv2d) for p in m.parameters()) == 9 * i + i * o
    for m in conv:
        if isinstance(m, nn.Conv2d):
            nn.init.ones_(m.weight)
    x = torch.zeros(1, i, 15, 15)
    x[:, :, 7, 7] = 1.0
    with torch.no_grad():
        y = conv.eval()(x)[0, 0]
    hit = torch.nonzero(y)
    assert (hit.amax(0) - hit.amin(0) + 1).tolist() == [2 * rate + 1] * 2
    assert len(hit) == 9


def test_rates_beyond_the_map_read_padding_alone():
    """A tap 6 pixels away in a 4 x 4 map sees nothing: the branch is a 1x1 convolution there."""
    torch.manual_seed(0)
    pyramid = ASPP(4, 3, rates=(6,)).eval()
    x, branch = rand(1, 4, 4, 4), pyramid.atrous[0]
    with torch.no_grad():
        center = branch[0].weight[:, 0, 1, 1][None, :, None, None]
        torch.testing.assert_close(branch(x), branch[3](branch[2](branch[1](x * center))))
    assert pyramid(x).shape == (1, 3, 4, 4)


def test_decoder_doubles_and_thins():
    block = DecoderBlock(6, 10, 5, low=2)
    assert block(rand(2, 6, 3, 4), rand(2, 10, 6, 8)).shape == (2, 5, 6, 8)
    assert block.thin[0].weight.shape == (2, 10, 1, 1)


def test_reconstruction_uses_all_scales_or_the_finest():
    maps = [rand(1, 3, 2, 2).requires_grad_(), rand(1, 3, 4, 4).requires_grad_()]
    for multi_scale in (True, False):
        head = initialize(Reconstruction(3, 2, multi_scale), "kaiming", 0)
        coarse, _ = torch.autograd.grad(head(*maps).square().sum(), maps, allow_unused=True)
        assert (coarse is not None) == multi_scale


def test_the_papers_initialization():
    net = make_hqinet(0, "paper", **{**SMALL, "mids": (8, 16)})
    weights = torch.cat([m.weight.detach().flatten() for m in net.modules() if isinstance(m, nn.Conv2d)])
    biases = [m.bias for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is not None]
    assert abs(float(weights.mean())) < 3e-4
    assert float(weights.std()) == pytest.approx(0.0088, rel=0.03)  # 0.01 truncated at two standard deviations
    assert float(weights.abs().max()) <= 0.02
    assert biases
    assert all((b == 0).all() for b in biases)


def test_a_seed_fixes_the_weights_and_leaves_the_global_stream_alone():
    state = torch.get_rng_state()
    a, b, c = (make_hqinet(s, **SMALL) for s in (0, 0, 1))
    assert (a.head.image.weight == 0).all()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True))


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("x", lambda: HQINet(**SMALL)(torch.zeros(1, 3, 18, 16))),
        ("x", lambda: HQINet(**SMALL)(torch.zeros(1, 1, 16, 16))),
        ("mids, blocks", lambda: HQINet(mids=(2, 2), blocks=(1,))),
        ("fusion", lambda: SCSE(4, fusion="mean")),
        ("rate", lambda: separable_conv(2, 2, 0)),
        ("how", lambda: make_hqinet(0, "xavier", **SMALL)),
    ],
)
def test_bad_input_names_the_argument(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
