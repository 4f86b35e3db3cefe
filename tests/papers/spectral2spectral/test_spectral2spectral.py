"""The self-training prior, its rivals' pairs, and the material subspace."""

import pytest
import torch

from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.geometry import FanBeam, Volume
from ctlib.nets.unet import make_unet
from ctlib.papers.spectral2spectral.noise2noise import ThinnedPairs, half_views
from ctlib.papers.spectral2spectral.noise2sim import box_distance, similar_slices
from ctlib.papers.spectral2spectral.noise_level import neighbor_correlation, noise_level
from ctlib.papers.spectral2spectral.prior import SelfTrainedPrior, batches, bin_scale
from ctlib.papers.spectral2spectral.subspace import MaterialSubspace, within
from ctlib.projector import Projector


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


class Gain(torch.nn.Module):
    """One factor per bin."""

    def __init__(self, bins):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(bins))

    def forward(self, x):
        return x * self.factor[:, None, None]


def test_batches_visit_every_slice_before_any_again():
    drawn = batches(6, 2, rng())
    for _ in range(3):
        assert sorted(torch.cat([next(drawn) for _ in range(3)]).tolist()) == list(range(6))
    assert next(batches(2, 4, rng())).numel() == 2


def test_the_prior_learns_what_its_loss_says_in_the_scale_of_its_bins():
    """Loss |f(x) - 2 x|^2 on scaled images: the outcome is twice the input, whatever a bin's unit is."""
    x = torch.rand(3, 2, 8, 8, generator=rng()) * torch.tensor([1e-3, 50.0])[:, None, None]
    prior = SelfTrainedPrior(Gain(2), lambda f, v, i, p: (f(v) - 2 * v).square().mean(), 2, 300, rng(), lr=0.05)
    torch.testing.assert_close(prior(x, 0), 2 * x, rtol=1e-3, atol=0)


def test_the_loss_sees_the_right_slices_and_the_progress():
    x, seen = torch.rand(4, 1, 8, 8, generator=rng()), []

    def loss(net, v, index, progress):
        torch.testing.assert_close(v * bin_scale(x), x[index])
        seen.append(progress)
        return net(v).square().mean()

    prior = SelfTrainedPrior(Gain(1), loss, 2, 5, rng(), batch=2)
    prior(x, 0)
    prior(x, 1)
    assert seen == [k / 10 for k in range(10)]
    assert len(prior.losses) == 10


def test_trained_once_or_again():
    x, loss = torch.rand(2, 1, 8, 8, generator=rng()), lambda f, v, i, p: f(v).square().mean()
    again, once = (SelfTrainedPrior(Gain(1), loss, 3, 4, rng(), retrain=r) for r in (True, False))
    steps = []
    for prior in (again, once):
        for k in range(3):
            prior(x, k)
            steps.append(prior.step)
    assert steps == [4, 8, 12, 12, 12, 12]
    once(x, 0)  # another use of a trained network
    assert once.step == 12


def test_the_learning_rate_falls_five_times():
    x, loss = torch.rand(2, 1, 8, 8, generator=rng()), lambda f, v, i, p: f(v).square().mean()
    prior = SelfTrainedPrior(Gain(1), loss, 1, 50, rng(), lr=1.0, decay=0.9)
    prior(x, 0)
    assert prior.optimizer.param_groups[0]["lr"] == pytest.approx(0.9**5)


def test_a_prior_is_reproducible():
    def once():
        x = torch.rand(3, 2, 8, 8, generator=rng())
        net = make_unet(1, 2, 2, width=4, depth=1)
        return SelfTrainedPrior(net, lambda f, v, i, p: (f(v) - v).square().mean(), 1, 5, rng(2))(x, 0)

    assert torch.equal(once(), once())


def test_a_loss_that_is_not_finite_is_an_error():
    prior = SelfTrainedPrior(Gain(1), lambda f, v, i, p: f(v).sum() * torch.nan, 1, 2, rng())
    with pytest.raises(ConvergenceError, match="step 0"):
        prior(torch.rand(1, 1, 4, 4), 0)
    with pytest.raises(ArgumentError, match="num_outer"):
        SelfTrainedPrior(Gain(1), None, 0, 2, rng())


# --- Noise2Noise and Noise2Sim ---------------------------------------------------------------------------------------


def test_thinned_pairs_add_up_and_are_redrawn():
    counts = torch.poisson(torch.full((2, 5, 6, 7), 30.0), generator=rng())
    pairs = ThinnedPairs(counts, lambda c: c, rng(1), every=2)
    a, b, c = pairs(), pairs(), pairs()
    assert torch.equal(a[0] + a[1], counts)
    assert torch.equal(a[0], b[0])
    assert not torch.equal(a[0], c[0])
    with pytest.raises(ArgumentError, match="every"):
        ThinnedPairs(counts, lambda c: c, rng(), 0)


def test_half_views_are_the_even_and_the_odd_ones():
    geometry = FanBeam(Volume((8, 8)), 7, 12, 2.0, 30.0, 60.0)
    x = torch.rand(8, 8, dtype=torch.float64, generator=rng())
    whole = Projector(geometry, backend="sparse")(x)
    even, odd = half_views(geometry)
    assert (even.num_views, odd.num_views) == (4, 3)
    torch.testing.assert_close(Projector(even, backend="sparse")(x), whole[0::2])
    torch.testing.assert_close(Projector(odd, backend="sparse")(x), whole[1::2])


def test_box_distance_by_brute_force():
    a, b = (torch.rand(1, 3, 12, 12, dtype=torch.float64, generator=rng(s)) for s in (0, 1))
    got = box_distance(a, b, 5)
    square = (a - b).square().mean(1)[0]
    assert got.shape == (1, 1, 12, 12)
    assert float(got[0, 0, 6, 7]) == pytest.approx(float(square[4:9, 5:10].mean().sqrt()))
    with pytest.raises(ArgumentError, match="window"):
        box_distance(a, b, 4)


def test_similar_slices_are_near_and_masked_where_they_differ():
    x = torch.zeros(5, 1, 32, 32) + torch.arange(5.0)[:, None, None, None] * 1e-3 + 1
    x[2, :, :, 16:] += 5.0
    index = torch.arange(5).repeat(20)
    other, similar = similar_slices(x, index, rng(), reach=2, limit=0.1)
    place = ((other[:, 0, 0, 0] - 1) / 1e-3).round().long()
    assert set((place - index).abs().tolist()) == {1, 2}
    changed = (place == 2) | (index == 2)
    assert bool(similar[~changed].all())
    assert not bool(similar[changed][:, :, :, 24:].any())
    assert bool(similar[changed][:, :, :, :8].all())
    with pytest.raises(ArgumentError, match="two slices"):
        similar_slices(x[:1], index[:1], rng())


# --- noise and subspace ----------------------------------------------------------------------------------------------


def test_noise_level_of_white_noise_on_a_ramp():
    ramp = torch.linspace(0, 50, 200, dtype=torch.float64)
    noise = 0.3 * torch.randn(2, 200, 200, dtype=torch.float64, generator=rng())
    level = noise_level(noise + ramp + 2 * ramp[:, None])
    assert level.shape == (2, 1, 1)
    assert torch.allclose(level, torch.tensor(0.3, dtype=torch.float64), rtol=0.02)


def test_neighbor_correlation_of_white_and_of_averaged_noise():
    noise = torch.randn(3, 200, 200, dtype=torch.float64, generator=rng())
    assert float(neighbor_correlation(noise).abs().max()) < 0.02
    averaged = (noise + noise.roll(1, -1)) / 2  # correlation 1/2 along x, 0 along y
    assert torch.allclose(neighbor_correlation(averaged), torch.tensor(0.25, dtype=torch.float64), atol=0.02)
    mask = torch.zeros(200, 200, dtype=torch.bool)
    mask[:, :100] = True
    half = torch.where(mask, averaged, 100 * noise)
    assert torch.allclose(neighbor_correlation(half, mask), torch.tensor(0.25, dtype=torch.float64), atol=0.02)


def test_the_subspace_projection_is_weighted_least_squares():
    matrix = torch.rand(5, 3, dtype=torch.float64, generator=rng())
    sigma = torch.tensor([0.1, 0.2, 0.3, 0.5, 2.0], dtype=torch.float64)
    space = MaterialSubspace.spanned_by(matrix, sigma)
    x = torch.randn(2, 5, 4, 6, dtype=torch.float64, generator=rng(1))
    got = space.spectra(space.coordinates(x)).movedim(1, 0).flatten(1)
    white = torch.linalg.lstsq(matrix / sigma[:, None], x.movedim(1, 0).flatten(1) / sigma[:, None]).solution
    torch.testing.assert_close(got, matrix @ white)
    torch.testing.assert_close(space.down @ space.up, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(space.down * sigma @ (space.down * sigma).T, torch.eye(3, dtype=torch.float64))


def test_a_prior_within_the_subspace_sees_white_noise():
    """Bins of different noise, coordinates of unit noise: one threshold serves all."""
    matrix, sigma = torch.rand(5, 3, generator=rng()), torch.tensor([0.1, 0.2, 0.3, 0.5, 2.0])
    space, seen = MaterialSubspace.spanned_by(matrix, sigma), []
    noise = sigma[:, None, None] * torch.randn(2, 5, 100, 100, generator=rng(1))
    out = within(space, lambda c, k: seen.append(c) or c)(noise, 0)
    covariance = torch.cov(seen[0].movedim(1, 0).flatten(1))
    assert torch.allclose(covariance, torch.eye(3), atol=0.04)
    torch.testing.assert_close(out, space.spectra(space.coordinates(noise)))
