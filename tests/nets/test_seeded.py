"""Weights from a seed, and widths of equal size."""

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.nets.seeded import draw_weights, he_normal, matched_width, num_parameters, seeded
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor
from ctlib.papers.tomography.residual_unet import ResidualUNet


def stack(width):
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))


def test_seeded_weights_leave_the_global_stream_alone():
    state = torch.get_rng_state()
    nets = [seeded(s, stack, 4) for s in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state())
    first, same, other = (n[0].weight for n in nets)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    torch.manual_seed(1)
    assert torch.equal(first, stack(4)[0].weight)


def test_all_convolutions_are_drawn_anew_and_biases_are_zero():
    """Kaiming's standard deviation: gain sqrt(2 / (1 + slope^2) / (in_channels kernel^2))."""
    net = nn.Sequential(nn.Conv2d(40, 50, 3), nn.BatchNorm2d(50), nn.ConvTranspose2d(50, 40, 2, bias=False))
    assert seeded(0, draw_weights, net, lambda w: he_normal(w, slope=0.5, gain=3.0)) is net
    assert not net[0].bias.any()
    assert float(net[0].weight.detach().std()) == pytest.approx(3 * (2 / 1.25 / 360) ** 0.5, rel=0.02)
    assert float(net[2].weight.detach().std()) == pytest.approx(3 * (2 / 1.25 / 160) ** 0.5, rel=0.03)


def test_parameters_are_counted_by_hand():
    assert num_parameters(stack(5)) == 4 * 5 + 6 * 2
    frozen = stack(5)
    frozen[0].requires_grad_(False)
    assert num_parameters(frozen) == 12


@pytest.mark.parametrize("target", [30, 101, 1000])
def test_the_closest_width_of_all(target):
    off = {w: abs(num_parameters(stack(w)) - target) for w in range(2, 300)}
    assert off[matched_width(stack, target)] == min(off.values())


def test_post_processor_as_large_as_an_end_to_end_network():
    g1, g2 = (
        ResidualUNet(3, 8, 8, 1, depth=1),
        PostProcessor(ResidualUNet(12, 1, 16, 1, 3), Positions("fixed", (48, 48))),
    )
    target = num_parameters(EndToEnd(g1, torch.nn.Identity(), g2))

    def make(w):
        return PostProcessor(ResidualUNet(5, 1, w, 1, depth=3), Positions("fixed", (48, 48)))

    width = matched_width(make, target)
    assert abs(num_parameters(make(width)) / target - 1) <= 0.1
    assert next(make(width).parameters()).device.type == "cpu"


def test_sizes_that_no_width_meets_and_bad_input():
    with pytest.raises(ArgumentError, match="target"):
        matched_width(stack, 17, tolerance=0.01)
    with pytest.raises(ArgumentError, match="target"):
        matched_width(stack, 0)
