"""The scatter network: the paper's sizes, ratios in (0, 1), and training by either loss."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.nets.seeded import num_parameters, seeded
from ctlib.papers.pcct.scatter_net import (
    ScatterNet,
    cross_loss,
    direct_loss,
    limit_gradient,
    scatter_ratio,
    without_scatter,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def counted(bins, channels, taps):
    """Weights by hand: convolutions with bias, two numbers per channel of each batch normalization."""
    conv = lambda i, o: i * o * taps + o  # noqa: E731
    total, width = 0, bins
    for c in (*channels, channels[-1]):
        total += conv(width, c) + 2 * c
        total += conv(c, c) + 2 * c
        width = c
    return total - conv(width, width) - 2 * width + conv(width, bins)  # the last one ends in the bins, plain


@pytest.mark.parametrize(("ndim", "channels"), [(2, (64, 128, 128, 64)), (1, (16, 32, 16))])
def test_the_parameter_count_is_that_of_the_description(ndim, channels):
    assert num_parameters(ScatterNet(4, channels, ndim)) == counted(4, channels, 3**ndim)


def test_the_papers_sizes():
    net = ScatterNet()
    counts = torch.rand(1, 4, 384, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = net.encoder(counts)
        ratio = net.bottleneck(features)
    assert features.shape == (1, 64, 24, 16)
    assert ratio.shape == (1, 4, 12, 8)
    assert 0 < float(ratio.min()) < float(ratio.max()) < 1


def small(stride=1, seed=0):
    return seeded(seed, ScatterNet, 2, (8, 8), 1, stride)


def scans(num=4, views=3, columns=32):
    """Bodies of two materials; scatter is a smooth share of the counts: everything behind has a closed form."""
    g = torch.Generator().manual_seed(0)
    u = torch.linspace(-1, 1, columns, dtype=torch.float64)
    size = 0.5 + 0.4 * torch.rand(num, 1, views, 1, generator=g).double()
    paths = 3 * (1 - (u / size) ** 2).clamp_min(0).sqrt() * torch.tensor([1.0, 0.3]).double()[:, None, None]
    mixing = torch.tensor([[0.9, 0.4], [0.5, 0.8]]).double()  # (E, M)
    primary = torch.exp(-torch.einsum("em,nmvu->nevu", mixing, paths))
    scatter = 0.05 * torch.exp(-(u**2)) * size.expand_as(primary)
    decompose = lambda counts: -torch.linalg.solve(mixing, counts.log()[..., None])[..., 0]  # noqa: E731
    return paths, primary + scatter, scatter, decompose


def test_views_are_seen_by_themselves_and_the_ratio_has_the_detectors_size():
    net, counts = small().double().eval(), scans()[1]
    ratio = scatter_ratio(net, counts)
    assert ratio.shape == counts.shape
    torch.testing.assert_close(scatter_ratio(net, counts[1:2, :, 2:]), ratio[1:2, :, 2:])
    panel = ScatterNet(2, (4, 4), 2).eval()
    assert scatter_ratio(panel, torch.rand(1, 2, 3, 16, 8)).shape == (1, 2, 3, 16, 8)


def test_a_smooth_scatter_passes_an_edge_and_a_ratio_does_not():
    """A network that knows the coarse ratio exactly: interpolated scatter is exact where it is linear in the column."""
    counts = torch.ones(1, 1, 1, 32, dtype=torch.float64)
    counts[..., 13:] = 0.05  # the edge of a body inside a cell
    line = torch.linspace(0.01, 0.012, 32, dtype=torch.float64)
    net = ScatterNet(1, (2, 2), ndim=1, last_stride=1).double().eval()
    cells = torch.nn.functional.avg_pool1d(torch.stack([line.expand(1, 32), counts[0, 0]]), 4)
    net.forward = lambda views: cells[:1] / cells[1:]
    found = scatter_ratio(net, counts) * counts
    torch.testing.assert_close(found[..., 2:-2], line[2:-2].expand_as(found[..., 2:-2]), rtol=1e-9, atol=0)
    apart = scatter_ratio(net, counts, spread="ratio") * counts
    assert (apart / line - 1).abs().max() > 0.5
    with pytest.raises(ArgumentError, match="spread"):
        scatter_ratio(net, counts, spread="nearest")


def test_no_more_than_95_percent_is_taken_for_scatter():
    net = small().double()
    torch.nn.init.constant_(net.bottleneck[1].bias, 10.0)
    assert scatter_ratio(net, scans()[1]).max() == 0.95


def test_the_network_starts_from_a_small_ratio():
    torch.manual_seed(0)
    assert 0.02 < small().double()(scans()[1][:, :, 0]).mean() < 0.12
    with pytest.raises(ArgumentError, match="start"):
        ScatterNet(2, (4,), 1, start=0.0)


def test_corrected_counts_stay_positive():
    counts = scans()[1]
    corrected = without_scatter(counts, scatter_ratio(small().double(), counts))
    assert (corrected > 0).all()
    assert (corrected < counts).all()


def test_both_losses_vanish_at_the_truth():
    paths, counts, scatter, decompose = scans()
    ratio = scatter / counts
    assert direct_loss(ratio, counts, scatter) == 0
    assert cross_loss(ratio, counts, paths, decompose, lambda p: p) < 1e-12


def test_the_cross_loss_has_the_gradient_of_its_formula():
    paths, counts, _, decompose = scans(1, 1, 8)
    ratio = torch.full_like(counts, 0.1).requires_grad_()
    reconstruct = lambda p: p.cumsum(-1)  # noqa: E731
    call = lambda r: cross_loss(r, counts, paths - 50, decompose, reconstruct, gradient_limit=None)  # noqa: E731
    assert torch.autograd.gradcheck(call, (ratio,))


@pytest.mark.parametrize("loss", ["direct", "cross"])
def test_training_by_either_loss_removes_scatter(loss):
    """Cross never sees the scatter, and finds it all the same."""
    paths, counts, scatter, decompose = scans()
    net = small().double()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        ratio = scatter_ratio(net, counts)
        if loss == "direct":
            value = direct_loss(ratio, counts, scatter)
        else:
            value = cross_loss(ratio, counts, paths, decompose, lambda p: p)
        value.backward()
        optimizer.step()
    error = (ratio - scatter / counts).abs().mean()
    assert error < 0.3 * (scatter / counts).mean()


def test_gradients_are_cut_off_and_values_kept():
    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = limit_gradient(x, 0.5)
    assert torch.equal(y, x)
    (y * torch.tensor([0.1, 5.0, -5.0])).sum().backward()
    assert torch.equal(x.grad, torch.tensor([0.1, 0.5, -0.5]))


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("ndim", lambda: ScatterNet(ndim=3)),
        ("channels", lambda: ScatterNet(channels=())),
        ("counts", lambda: small()(torch.ones(1, 2, 30))),
        ("counts", lambda: small()(torch.ones(1, 3, 32))),
        ("counts", lambda: small()(torch.ones(1, 2, 32, 32))),
        ("limit", lambda: limit_gradient(torch.ones(1), 0.0)),
    ],
)
def test_bad_input_names_the_argument(argument, call):
    with pytest.raises(ArgumentError) as caught:
        call()
    assert caught.value.argument == argument
