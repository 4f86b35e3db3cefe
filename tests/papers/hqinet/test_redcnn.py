"""RED-CNN: size, shortcuts, the start as the middle slice."""

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.papers.hqinet.redcnn import REDCNN, make_redcnn


def test_the_original_size():
    """Ten 5x5 layers of 96 channels with biases: 1.85 million weights."""
    inner = 8 * (96 * 96 * 25 + 96)
    assert sum(p.numel() for p in REDCNN().parameters()) == inner + (25 * 96 + 96) + (25 * 96 + 1)


@pytest.mark.parametrize(("slices", "depth", "kernel"), [(1, 5, 5), (3, 5, 3), (3, 2, 3), (1, 3, 5), (1, 1, 3)])
def test_shape_and_start(slices, depth, kernel):
    net = make_redcnn(0, slices, width=4, depth=depth, kernel=kernel)
    x = torch.rand(2, slices, 24, 26, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = net(x)
    assert y.shape == (2, 1, 24, 26)
    torch.testing.assert_close(y, x[:, slices // 2, None])


def test_shortcuts_are_those_of_the_paper():
    """With silent layers on the way up, what is left of the image comes from convolutions 2 and 4."""
    net, x = make_redcnn(0, 1, width=3), torch.rand(1, 1, 26, 26)
    kept = []
    for i, conv in enumerate(net.down):
        conv.register_forward_hook(lambda m, a, out, i=i: kept.append(out.shape[-1]) if i in (1, 3) else None)
    for conv in net.up:
        nn.init.zeros_(conv.weight)
    inputs = []
    for conv in net.up:
        conv.register_forward_pre_hook(lambda m, a: inputs.append(a[0].detach()))
    net(x)
    assert kept == [18, 10]
    zero = [bool((t == 0).all()) for t in inputs]
    assert zero == [False, False, True, False, True]  # after the shortcuts of convolution 4 and 2 something is left


def test_bad_input_names_the_argument():
    for argument, call in (
        ("x", lambda: REDCNN(1, 2)(torch.zeros(1, 1, 20, 30))),
        ("x", lambda: REDCNN(1, 2)(torch.zeros(1, 3, 30, 30))),
        ("depth, kernel", lambda: REDCNN(1, 2, kernel=4)),
    ):
        with pytest.raises(ArgumentError) as caught:
            call()
        assert caught.value.argument == argument


def test_gain_scales_the_weights_of_a_seed():
    one, half = make_redcnn(3, width=4), make_redcnn(3, width=4, gain=0.5)
    for a, b in zip(one.parameters(), half.parameters(), strict=True):
        assert torch.equal(0.5 * a, b)
