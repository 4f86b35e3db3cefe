"""Bins that teach one another."""

import pytest
import torch

from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral.losses import distant_terms
from ctlib.papers.spectral2spectral.pairs import bins_loss, fill_bins, hidden_bins


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


X = torch.rand(3, 4, 8, 8, generator=rng(), dtype=torch.float64)


def test_one_to_most_bins_are_hidden_each_as_often():
    hidden = hidden_bins((6000, 4, 1, 1), rng(), 2)[..., 0, 0]
    assert set(hidden.sum(1).tolist()) == {1.0, 2.0}
    assert hidden.mean(0).tolist() == pytest.approx([1.5 / 4] * 4, abs=0.02)
    with pytest.raises(ArgumentError, match="most"):
        hidden_bins((2, 3, 1, 1), rng(), 3)


def nothing(v):
    """A network that adds nothing: a hidden bin is the mean of the others."""
    return torch.zeros_like(v[:, : v.shape[1] // 2])


def test_the_loss_counts_hidden_bins_alone():
    hidden = hidden_bins(X.shape, rng(3), 2).double()
    mean = (X * (1 - hidden)).sum(1, keepdim=True) / (1 - hidden).sum(1, keepdim=True)
    expected = (hidden * (X - mean).square()).sum() / (hidden.sum() * 64)
    assert float(bins_loss(nothing, X, rng(3), 2)) == pytest.approx(float(expected))


def test_independent_noise_of_the_target_adds_its_variance_and_nothing_else():
    """Noise2Noise over bins: the loss of any predictor exceeds its error against the clean bin by the noise."""
    noise = 0.3 * torch.randn(400, 2, 8, 8, generator=rng())
    biased = lambda v: 0.2 + nothing(v)  # noqa: E731
    loss = bins_loss(biased, 1 + noise, rng(1), 1)
    assert float(loss) == pytest.approx(0.09 + 0.2**2 + 0.09, rel=0.02)  # the other bin's noise, the bias, its own


def test_filled_bins_come_from_the_others():
    seen = []
    filled = fill_bins(lambda v: seen.append(v) or nothing(v), X)
    others = torch.stack([X[:, [k for k in range(4) if k != e]].mean(1) for e in range(4)], 1)
    torch.testing.assert_close(filled, others)
    assert seen[0].shape == (12, 8, 8, 8)
    assert bool((seen[0][:3, 0] == 0).all())  # the hidden bin is not shown ...
    assert bool((seen[0][:3, 4] == 1).all())  # ... and named


def test_distant_pairs_lie_two_apart():
    """On a checkerboard neighbors differ, and pixels two apart do not."""
    board = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).double().expand(2, 3, -1, -1)
    fit, regularizer = distant_terms(lambda v: v, board, rng())
    assert (float(fit), float(regularizer)) == (0.0, 0.0)
    with pytest.raises(ArgumentError, match="multiples of four"):
        distant_terms(lambda v: v, X[..., :6], rng())
