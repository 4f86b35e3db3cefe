"""Networks and their blocks."""

import torch
from torch import nn

from ctlib.nets.blocks import ChannelAttention
from ctlib.nets.seeded import seeded
from ctlib.nets.unet import make_unet


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def attention():
    return seeded(0, ChannelAttention, 4, 2).double()


def made(make, seed=0):
    """A constructor whose weights come from a stream of their own, so that two calls agree."""
    return lambda **options: seeded(seed, make, **options)


def linear():
    return nn.Linear(2, 3)


EXAMPLES = {
    "ctlib.nets.blocks.ChannelAttention": lambda: dict(call=made(ChannelAttention), channels=4, reduction=2),
    "ctlib.nets.blocks.ChannelAttention.channel_weights": lambda: dict(
        call=attention().channel_weights, x=rand(2, 4, 3, 5)
    ),
    "ctlib.nets.blocks.ChannelAttention.forward": lambda: dict(call=attention(), x=rand(2, 4, 3, 5)),
    "ctlib.nets.seeded.seeded": lambda: dict(seed=1, make=linear),
    "ctlib.nets.seeded.matched_width": lambda: dict(make=lambda width: nn.Linear(width, 1), target=5, tolerance=0.1),
    "ctlib.nets.unet.make_unet": lambda: dict(
        seed=1, in_channels=1, out_channels=2, gain=0.5, width=2, depth=1, deep_convs=1, slope=0.1
    ),
    "ctlib.nets.unet.UNet.forward": lambda: dict(
        call=make_unet(0, 2, 1, width=2, depth=1).double(), x=rand(2, 2, 4, 6)
    ),
}
SKIP = {
    "ctlib.nets.blocks.batch": "the check itself",
    "ctlib.nets.blocks.conv_unit": "made within networks; its weights are of the global stream",
    "ctlib.nets.seeded.he_normal": "draws weights in place from the global stream",
    "ctlib.nets.unet.UNet": "by make_unet: its own weights are of the global stream",
}
ALLOW = {"ctlib.nets.unet.make_unet": {"width: numpy axis": "one width a level"}}
