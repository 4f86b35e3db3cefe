"""Widths of equal size."""

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.nets.seeded import matched_width, num_parameters
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor
from ctlib.papers.tomography.residual_unet import ResidualUNet


def stack(width):
    return nn.Sequential(nn.Linear(3, width), nn.Linear(width, 2))


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
