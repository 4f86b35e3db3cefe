"""Every network: the output depends on each weight, each channel that enters a layer, each skip; and on nothing else.

One gradient shows it: a skip that is replaced by zeros leaves the weights that read it without one.
"""

import math

import pytest
import torch
from torch import nn

from ctlib.nets.blocks import ChannelAttention, conv_unit
from ctlib.nets.unet import UNet
from ctlib.papers.dip.network import SkipNet
from ctlib.papers.hqinet.blocks_aspp import ASPP
from ctlib.papers.hqinet.blocks_decoder import DecoderBlock, Reconstruction
from ctlib.papers.hqinet.blocks_scse import SCSE, Bottleneck
from ctlib.papers.hqinet.network import HQINet
from ctlib.papers.hqinet.redcnn import REDCNN
from ctlib.papers.pcct.scatter_net import ScatterNet
from ctlib.papers.tomography.critic import Critic
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor, Sampler
from ctlib.papers.tomography.noise_networks import MeanNet, PosteriorNet, SpreadNet
from ctlib.papers.tomography.residual_unet import DownBlock, LatentUpBlock, ResidualBlock, ResidualUNet, UpBlock

SMALL = {"stem": 4, "mids": (2, 3), "blocks": (1, 2), "aspp": 4, "rates": (1, 2), "low": 2, "decoder": 4}


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def post(z_channels=0):
    return PostProcessor(ResidualUNet(2 + 4, 1, 16, 1, 3, 2, z_channels), Positions("learned", (16, 16)))


def through(kind, **options):
    return kind(ResidualUNet(3, 2, 16, 1, 1), lambda s: s.transpose(-1, -2), post(**options), lambda s: 2 * s)


HALVES = (rand(2, 3, 4, 6), rand(2, 2, 8, 12, seed=1))
NETWORKS = {  # how it is built, what enters
    "U-Net": (lambda: UNet(2, 3, 4, 2), [rand(2, 2, 8, 12)]),
    "U-Net of Neighbor2Neighbor": (
        lambda: UNet(2, 2, 4, 2, 5, residual=True, input_skips=True, deep_convs=1, norm=True), [rand(2, 2, 8, 12)]),
    "channel attention": (lambda: ChannelAttention(4, 2), [rand(2, 4, 3, 5)]),
    "unit": (lambda: conv_unit(2, 3), [rand(2, 2, 3, 5)]),
    "SkipNet": (lambda: SkipNet(3, 2, 4, 2, 2), [rand(2, 3, 8, 12)]),
    "hourglass": (lambda: SkipNet(3, 2, 4, 0, 2, "nearest"), [rand(2, 3, 8, 12)]),
    "scatter, rows": (lambda: ScatterNet(2, (3, 4), 1), [rand(3, 2, 16).abs() + 0.1]),
    "scatter, panels": (lambda: ScatterNet(2, (3, 4), 2), [rand(3, 2, 8, 12).abs() + 0.1]),
    "ASPP": (lambda: ASPP(3, 4, (1, 2)), [rand(2, 3, 8, 8)]),
    "scSE, sum": (lambda: SCSE(4, 2), [rand(2, 4, 5, 5)]),
    "scSE, maximum": (lambda: SCSE(4, 2, "max"), [rand(2, 4, 5, 5)]),
    "bottleneck": (lambda: Bottleneck(3, 2, 2), [rand(2, 3, 6, 6)]),
    "bottleneck at one size": (lambda: Bottleneck(8, 2, scse=False), [rand(2, 8, 6, 6)]),
    "decoder block": (lambda: DecoderBlock(3, 2, 4, 2), [*HALVES]),
    "head": (lambda: Reconstruction(3, 2), [rand(2, 3, 4, 6), rand(2, 3, 8, 12)]),
    "HQINet": (lambda: HQINet(3, **SMALL), [rand(2, 3, 16, 16)]),
    "HQINet without parts": (
        lambda: HQINet(3, **SMALL, scse=False, use_aspp=False, multi_scale=False), [rand(2, 3, 16, 16)]),
    "RED-CNN": (lambda: REDCNN(3, 4, 5, 3), [rand(2, 3, 14, 13)]),
    "residual block": (lambda: ResidualBlock(16), [rand(2, 16, 5, 5)]),
    "down": (lambda: DownBlock(3, 16, 1), [rand(2, 3, 5, 5)]),
    "up": (lambda: UpBlock(3, 2, 16, 1), [*HALVES]),
    "up with z": (lambda: LatentUpBlock(3, 2, 16, 1, 2), [*HALVES, rand(2, 2, 2, 3)]),
    "residual U-Net": (lambda: ResidualUNet(2, 2, 16, 1, 3, 2), [rand(2, 2, 16, 16)]),
    "residual U-Net with z": (lambda: ResidualUNet(2, 2, 16, 1, 3, 2, 2), [rand(2, 2, 16, 16), rand(2, 2, 2, 2)]),
    "critic": (lambda: Critic((3, 4)), [rand(2, 1, 16, 16)]),
    "FBP and U-Net": (lambda: post(), [rand(2, 2, 16, 16)]),
    "end to end": (lambda: through(EndToEnd), [rand(2, 3, 16, 16)]),
    "sampler": (lambda: through(Sampler, z_channels=2), [rand(2, 3, 16, 16), rand(2, 2, 2, 2)]),
    "mean": (lambda: MeanNet(ResidualUNet(3, 1, 16, 1, 1)), [rand(2, 3, 8, 8)]),
    "spread": (lambda: SpreadNet(ResidualUNet(3, 1, 16, 1, 1), 1e-30), [rand(2, 3, 8, 8)]),
    "posterior": (lambda: PosteriorNet(ResidualUNet(3, 2, 16, 1, 1), 1e-30), [rand(2, 3, 8, 8)]),
}  # fmt: skip


def built(name, seed=7):
    """The network in float64 and evaluation, no weight at a special value, and its inputs."""
    make, inputs = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make().double().eval()
        for module in net.modules():
            for key, p in module._parameters.items():
                if p is None:
                    continue
                fan = p[0].numel() if p.ndim > 1 else 1
                nn.init.normal_(p, 0.3 if key == "bias" else 0.0, (2 / fan) ** 0.5 if p.ndim > 1 else 0.2)
                p.data += 0.7 * (p.ndim == 1 and key == "weight")  # of normalizations and PReLU
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
    return net, inputs


def gradients(name, seeds=range(16)):
    """Of random weighings of the output, largest over the seeds (a ReLU may sleep for one): to inputs, to weights."""
    to_inputs, to_weights = [], {}
    for seed in seeds:
        net, inputs = built(name, seed)
        inputs = [x.clone().requires_grad_() for x in inputs]
        out = net(*inputs)
        (out * rand(*out.shape, seed=9)).sum().backward()
        grown = [x.grad.abs() for x in inputs]
        to_inputs = [a.maximum(b) for a, b in zip(to_inputs, grown, strict=True)] if to_inputs else grown
        for key, p in net.named_parameters():
            to_weights[key] = to_weights.get(key, torch.zeros_like(p)).maximum(p.grad.abs())
    return to_inputs, to_weights


@pytest.mark.parametrize("name", NETWORKS)
def test_every_weight_every_channel_and_every_input_counts(name):
    inputs, weights = gradients(name)
    for k, g in enumerate(inputs):
        assert bool(g.flatten(2).amax(2).gt(1e-9).all()), f"a channel of input {k}"
    for key, g in weights.items():
        for axis in range(min(g.ndim, 2)):  # what leaves and what enters a layer
            silent = g.amax([a for a in range(g.ndim) if a != axis]) <= 1e-9
            assert not bool(silent.any()), f"{key}: channels {torch.nonzero(silent).flatten().tolist()} of axis {axis}"


@pytest.mark.parametrize("name", NETWORKS)
def test_samples_of_a_batch_do_not_see_each_other(name):
    net, inputs = built(name)
    with torch.no_grad():
        whole = net(*inputs)
        other = net(*(torch.cat([x[:1], 2 - x[1:]]) for x in inputs))
        alone = net(*(x[:1] for x in inputs))
    torch.testing.assert_close(other[:1], whole[:1], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(alone, whole[:1], rtol=1e-10, atol=1e-12)
    assert not torch.equal(other[1:], whole[1:])


REACH = {  # pixels that a pixel of the output sees in each direction: of networks without means over the image
    "RED-CNN": (lambda: REDCNN(1, 3, 3, 3), 6, 32),
    "U-Net": (lambda: UNet(1, 1, 3, 1), 9, 64),
    "unit": (lambda: conv_unit(1, 2, slope=0.1), 1, 16),
    "bottleneck": (lambda: Bottleneck(1, 2, scse=False), 1, 16),
    "SkipNet": (lambda: SkipNet(1, 1, 3, 1, 1), 12, 64),
}


@pytest.mark.parametrize("name", REACH)
def test_what_lies_beyond_the_reach_is_not_seen(name):
    make, reach, n = REACH[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = make().double().eval()
    x = rand(1, 1, n, n).requires_grad_()
    net(x)[0, 0, n // 2, n // 2].backward()
    y, _ = torch.nonzero(x.grad[0, 0]).unbind(1)
    assert len(y)
    assert int((y - n // 2).abs().max()) <= reach


def blocked(net, layer, skip):
    """Gradient to a layer `skip` when nothing passes through `layer` (its weights are 0): only the skip is left."""
    net.get_submodule(layer).weight.data.zero_()
    x = rand(1, 3, 16, 16)
    net(x).square().sum().backward()
    return net.get_submodule(skip).weight.grad


@pytest.mark.parametrize(("layer", "skip"), [("down.4", "down.3"), ("down.2", "down.1")])
def test_each_shortcut_of_red_cnn_carries_on(layer, skip):
    net, _ = built("RED-CNN")
    assert float(blocked(net, layer, skip).abs().max()) > 1e-9


def test_red_cnn_without_its_layers_is_the_middle_slice():
    net, _ = built("RED-CNN")
    for p in net.parameters():
        p.data.zero_()
    x = rand(2, 3, 14, 14)
    assert torch.equal(net(x), x[:, 1:2])


def silenced(module):
    for p in module.parameters():
        p.data.zero_()


def test_sums_hand_on_what_enters_where_their_branch_is_silent():
    """Residual blocks, shortcuts, the image added to a U-Net, tables that networks correct, the ramp beside g1."""
    x = rand(2, 8, 6, 6)
    block = ResidualBlock(8).double()
    silenced(block.body)
    assert torch.equal(block(x), x)
    bottleneck, _ = built("bottleneck at one size")
    silenced(bottleneck.body)
    torch.testing.assert_close(bottleneck(x), x.relu())
    halving, _ = built("bottleneck")
    silenced(halving.body)
    x = rand(2, 3, 6, 6)
    torch.testing.assert_close(halving(x), halving.shortcut(x).relu())
    net, (x,) = built("U-Net of Neighbor2Neighbor")
    silenced(net.head)
    assert torch.equal(net(x), x)
    x = rand(2, 3, 8, 8)
    for name, want in (
        ("mean", x[:, 1]),
        ("spread", x[:, 2].exp()),
        ("posterior", torch.stack([x[:, 1], x[:, 2].exp()], 1)),
    ):
        net, _ = built(name)
        silenced(net.body)
        torch.testing.assert_close(net(x), want)
    net, (x,) = built("end to end")
    silenced(net.g1)
    assert torch.equal(net.sinogram(x)[:, :1], 2 * x[:, :1])
    assert not net.sinogram(x)[:, 1:].any()


def test_joins_put_each_map_at_its_own_channels():
    """Order against position: the U-Net's decoder reads what was raised first, the skip behind it."""
    seen = {}
    net, (x,) = built("U-Net")
    stage = net.decoder[0]
    hook = stage.register_forward_pre_hook(lambda _, args: seen.update(joined=args[0]))
    net(x)
    hook.remove()
    torch.testing.assert_close(seen["joined"][:, 4:], net.encoder[0](x))


def test_z_counts_as_much_as_the_features_say():
    net, inputs = built("up with z")
    conv = net.first[0]
    conv.weight.data[net.split[0] :] = 0
    conv.bias.data[net.split[0] :] = -40.0  # exp(l) = e^-40 (times PReLU's slope): z is as good as gone
    h, skip, z = inputs
    net.first[1].weight.data.fill_(1.0)
    torch.testing.assert_close(net(h, skip, z), net(h, skip, 0 * z), rtol=0, atol=1e-12)
    conv.bias.data[net.split[0] :] = 100.0  # held below e^8
    assert float((net(h, skip, z) - net(h, skip, 0 * z)).abs().max()) > 1
    assert math.isfinite(float(net(h, skip, z).abs().max()))


def test_rates_that_read_padding_alone_are_told(recwarn):
    """The paper's rate of 18 on the 16 x 16 map of a 256 x 256 image never meets a pixel."""
    net = ASPP(2, 2, (6, 18)).eval()
    net(torch.zeros(1, 2, 19, 4))
    assert not recwarn
    with pytest.warns(UserWarning, match=r"rates \(6, 18\): some read padding alone on maps of \(16, 16\)"):
        net(torch.zeros(1, 2, 16, 16))
