"""Diagrams: blocks, shapes and connections are those of the code that runs."""

import re

import pytest
import torch
from torch import nn

from ctlib.book.page import diagram
from ctlib.book.page.dataflow import INPUT, flow_of
from ctlib.errors import ArgumentError
from ctlib.nets.unet import UNet
from ctlib.papers.dip.network import SkipNet


def conv(a, b):
    return nn.Conv2d(a, b, 3, padding=1)


class Branches(nn.Module):
    """Two branches that join, around which the input is added; `looks` at values, as some networks do."""

    def __init__(self, looks=False):
        super().__init__()
        self.first, self.left, self.right, self.join = conv(1, 4), conv(4, 4), conv(4, 4), conv(8, 1)
        self.looks = looks

    def forward(self, x):
        h = torch.relu(self.first(x))
        if self.looks and float(h.sum()) > 1e9:
            raise ValueError
        return x + self.join(torch.cat([self.left(h), self.right(h).abs()], 1))


@pytest.mark.parametrize("looks", [False, True])
def test_what_flows_where_is_found_without_reading_the_code(looks):
    net = Branches(looks)
    flow = flow_of(net, [(1, 1, 8, 8)])
    assert [(b.name, b.after) for b in flow.blocks] == [
        ("first", (INPUT,)), ("left", (0,)), ("right", (0,)), ("join", (1, 2)),
    ]  # fmt: skip
    assert [b.shape for b in flow.blocks] == [(4, 8, 8)] * 3 + [(1, 8, 8)]
    assert flow.last == (INPUT, 3)
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_equal_blocks_in_a_chain_are_one_with_their_number():
    flow = flow_of(nn.Sequential(conv(1, 4), nn.ReLU(), conv(4, 4), nn.ReLU(), conv(4, 4), conv(4, 1)), [(1, 1, 8, 8)])
    assert [(b.kind, b.count) for b in flow.blocks] == [("convolution 3×3", 3), ("convolution 3×3", 1)]


def test_a_unet_s_skips_join_levels_of_one_resolution():
    flow = flow_of(UNet(1, 1, 4, 2), [(1, 1, 16, 16)])
    at = {b.name: i for i, b in enumerate(flow.blocks)}
    for level in (0, 1):
        joined = flow.blocks[at[f"decoder.{level}"]]
        assert set(joined.after) == {at[f"encoder.{level}"], at[f"raises.{level}"]}
        assert joined.shape[1:] == flow.blocks[at[f"encoder.{level}"]].shape[1:]


def test_a_network_inside_itself_is_opened_to_its_innermost():
    drawn = diagram.network(SkipNet(2, 1, 4, 2, scales=3), (1, 2, 32, 32))
    assert sum("down" in b.lines[0] for b in drawn.boxes) == 3
    assert max(b.row for b in drawn.boxes) == 3
    assert "down 2 convolutions 3×3 gives 4 × 4 × 4" in repr(drawn)


def test_the_svg_says_what_it_shows_and_every_arrow_has_two_ends():
    drawn = diagram.network(UNet(1, 1, 4, 2, residual=True), (1, 1, 16, 16))
    text = drawn._repr_html_()
    assert text.startswith('<div class="ctlib-diagram ctlib-scroll"><svg ')
    assert 'role="img" aria-label="UNet, ' in text
    assert text.count('class="arrow"') == len(set(drawn.arrows))
    assert all(0 <= i < len(drawn.boxes) for pair in drawn.arrows for i in pair)
    assert min(float(s) for s in re.findall(r'font-size="([\d.]+)"', text)) >= 11, "CSS pixels, never scaled"


def test_a_pipeline_runs_its_steps():
    net = nn.Conv1d(3, 5, 1)
    stages = [("counts", (3, 8)), ("logarithm", torch.log1p), ("network", net), ("result", None)]
    drawn = diagram.pipeline(stages)
    assert [(b.kind, b.lines[-1]) for b in drawn.boxes] == [
        ("data", "3 × 8"), ("fixed", "3 × 8"), ("learned", "5 × 8"), ("data", "5 × 8"),
    ]  # fmt: skip
    assert repr(drawn) == "Pipeline: counts (3 × 8), then logarithm (3 × 8), then network (5 × 8), then result (5 × 8)."
    assert drawn.arrows == [(0, 1), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: diagram.network(nn.ReLU(), (1, 1, 8, 8)), "net: got ReLU, needs parts with weights"),
        (lambda: diagram.network(torch.relu, (1, 1, 8, 8)), "needs a torch module and the shape of its input"),
        (lambda: diagram.pipeline([]), "stages: got no stage"),
        (lambda: diagram.pipeline(["counts", "logarithm"]), "stages: got 'counts', needs pairs"),
        (lambda: diagram.pipeline([(torch.relu, "f")]), "stages: got .* needs pairs"),
        (lambda: diagram.pipeline([("f", torch.relu)]), r"stages.0.: .*needs data first: a tensor or a shape"),
        (lambda: diagram.pipeline([("x", (2,)), ("f", 3.5)]), "stages.1.: got f: float, needs a tensor"),
    ],
)
def test_mistakes_are_told(call, says):
    with pytest.raises(ArgumentError, match=says):
        call()
