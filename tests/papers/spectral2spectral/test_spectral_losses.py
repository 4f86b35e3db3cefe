"""Losses of self-supervised training: sampler statistics, stop-gradient, identities, independent oracles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity as skimage_ssim

from ctlib import metrics
from ctlib.errors import ArgumentError
from ctlib.papers.spectral2spectral import losses
from ctlib.papers.spectral2spectral.losses import (
    neighbor_choice,
    neighbor_terms,
    normalized,
    subsample,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the sampler -----------------------------------------------------------------------------------------------------


def test_the_eight_neighbor_pairs_are_equally_likely():
    first, second = neighbor_choice((4, 1, 100, 100), rng())
    counts = np.bincount((4 * first + second).flatten().numpy(), minlength=16)
    allowed = [4 * i + j for i, j in losses.NEIGHBORS]
    assert counts.sum() == 4 * 50 * 50
    assert counts[allowed].sum() == counts.sum()
    expected = counts.sum() / 8
    chi_square = ((counts[allowed] - expected) ** 2 / expected).sum()
    assert chi_square < 24.3  # 7 degrees of freedom, 0.1 %


@given(seed=st.integers(0, 2**20))
@settings(max_examples=20, deadline=None)
def test_never_the_same_pixel_and_never_the_diagonal(seed):
    first, second = neighbor_choice((2, 3, 8, 12), rng(seed))
    row = [(t // 2, t % 2) for t in (first, second)]
    assert bool(((row[0][0] - row[1][0]).abs() + (row[0][1] - row[1][1]).abs() == 1).all())


def test_both_samples_come_from_their_own_cell_and_spectra_stay_whole():
    y, x = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    place = (8 * y + x).float()
    image = torch.stack([place, 100 + place, -place])[None].repeat(2, 1, 1, 1)
    for choice in neighbor_choice(image.shape, rng(3)):
        s = subsample(image, choice)
        assert s.shape == (2, 3, 3, 4)
        rows, cols = s[:, 0] // 8, s[:, 0] % 8
        assert torch.equal(rows // 2, torch.arange(3.0)[:, None].expand(2, 3, 4))
        assert torch.equal(cols // 2, torch.arange(4.0).expand(2, 3, 4))
        assert torch.equal(s[:, 1], 100 + s[:, 0])
        assert torch.equal(s[:, 2], -s[:, 0])


def test_subsample_takes_the_numbered_pixel():
    image = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    for k in range(4):
        assert float(subsample(image, torch.full((1, 1, 1), k))) == k


def test_odd_sizes_are_refused():
    with pytest.raises(ArgumentError, match="shape"):
        neighbor_choice((1, 1, 5, 4), rng())


# --- Neighbor2Neighbor -----------------------------------------------------------------------------------------------


class Affine(torch.nn.Module):
    """f(x) = a x + b, written so that a pass on a full image can be told from one on a half."""

    def __init__(self, a=0.7, b=0.2):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in (a, b))

    def forward(self, x):
        return self.a * x + self.b


def test_the_regularizer_has_no_gradient_through_the_full_image():
    net, x = Affine(), torch.randn(1, 2, 8, 8, dtype=torch.float64, generator=rng())
    first, second = neighbor_choice(x.shape, rng(1))
    _, regularizer = neighbor_terms(net, x, rng(1))
    got = torch.autograd.grad(regularizer, [net.a, net.b])
    s1, s2 = subsample(x, first), subsample(x, second)
    fixed = (net(s1) - s2 - (subsample(net(x), first) - subsample(net(x), second)).detach()).square().mean()
    through = (net(s1) - s2 - (subsample(net(x), first) - subsample(net(x), second))).square().mean()
    expected, wrong = (torch.autograd.grad(t, [net.a, net.b]) for t in (fixed, through))
    assert torch.allclose(torch.stack(got), torch.stack(expected))
    assert not torch.allclose(torch.stack(got), torch.stack(wrong))


def test_a_perfect_denoiser_of_a_noiseless_image_has_no_regularizer():
    x = torch.randn(1, 2, 8, 8, generator=rng())
    fit, regularizer = neighbor_terms(lambda t: t, x, rng(2))
    assert float(regularizer) < 1e-12
    assert float(fit) > 0.1


def identity_gap(rho, seed=0, num=400_000):
    """E|f(x1) - s|^2 minus the right side of the corrected identity, and its standard error; f(x) = a x + b."""
    g = rng(seed)
    a, b, s, delta, sigma = 0.6, 0.3, 1.0, 0.4, 0.5
    n1 = sigma * torch.randn(num, dtype=torch.float64, generator=g)
    n2 = rho * n1 + sigma * math.sqrt(1 - rho**2) * torch.randn(num, dtype=torch.float64, generator=g)
    f, x2 = a * (s + n1) + b, s + delta + n2
    terms = (f - s) ** 2 - ((f - x2) ** 2 - sigma**2 - delta**2 + 2 * delta * (f - s))
    return float(terms.mean()), float(terms.std() / num**0.5), 2 * a * rho * sigma**2


def test_the_corrected_identity_holds_for_independent_noise_and_misses_by_the_covariance_otherwise():
    gap, error, _ = identity_gap(0.0)
    assert abs(gap) < 4 * error
    gap, error, covariance = identity_gap(0.5)
    assert abs(gap) > 20 * error
    assert abs(gap - covariance) < 4 * error


# --- the other losses ------------------------------------------------------------------------------------------------


def test_paired_loss_is_symmetric_and_its_minimizer_is_the_mean():
    net = Affine(0.0, 0.0)
    first, second = (torch.randn(1, 1, 6, 6, dtype=torch.float64, generator=rng(s)) for s in (1, 2))
    assert torch.equal(losses.paired_loss(net, first, second), losses.paired_loss(net, second, first))
    constant = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    values = torch.stack([losses.paired_loss(Affine(0.0, float(c)), first, second).detach() for c in constant[::50]])
    best = constant[::50][values.argmin()]
    assert abs(best - torch.cat([first, second]).mean()) < 0.05


def test_similar_loss_counts_the_similar_pixels_alone():
    x, target = torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    target[:, :, 2:] = 7.0
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    assert float(losses.similar_loss(lambda t: t, x, target, mask)) == 0.0
    mask[:, :, :2] = True
    assert float(losses.similar_loss(lambda t: t, x, target, mask)) == pytest.approx(1.0)


SCALED = {
    "quantiles": lambda t: normalized(t, 0.005, 0.995),
    "extremes": lambda t: normalized(t, 0.0, 1.0),
    "mean": lambda t: t / t.mean((-2, -1), keepdim=True),
}


@pytest.mark.parametrize("scaling", SCALED)
def test_similarity_is_scikit_images_of_the_scaled_bins(scaling):
    images = torch.rand(2, 3, 24, 30, dtype=torch.float64, generator=rng())
    reference = 0.5 * images[:, :1] + 0.5 * torch.rand(2, 1, 24, 30, dtype=torch.float64, generator=rng(1))
    a, b = (SCALED[scaling](t).expand_as(images).flatten(0, 1).numpy() for t in (images, reference))
    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    theirs = np.mean([skimage_ssim(p, q, **options) for p, q in zip(a, b, strict=True)])
    assert float(losses.spectral_similarity_loss(images, reference, scaling)) == pytest.approx(1 - theirs, abs=1e-6)


def test_similarity_gradient():
    """The limits of the scaling carry none: `normalized` is given an image whose extremes lie elsewhere."""
    x = torch.rand(1, 2, 12, 11, dtype=torch.float64, generator=rng(), requires_grad=True)
    ref = torch.rand(1, 1, 12, 11, dtype=torch.float64, generator=rng(1))
    (slope,) = torch.autograd.grad(losses.spectral_similarity_loss(x, ref), x)
    ends = torch.quantile(x.detach().flatten(-2), torch.tensor([0.005, 0.995]).to(x), dim=-1)[..., None, None]
    held = 1 - metrics.ssim((x - ends[0]) / (ends[1] - ends[0]), normalized(ref), data_range=1.0).mean()
    torch.testing.assert_close(slope, torch.autograd.grad(held, x)[0])
    assert float(slope.abs().max()) > 1e-4


def test_similarity_is_blind_to_any_affine_change_of_a_bin():
    """L_ss = 0 for spectra of rank one plus a constant: the reason why it cannot see a third material."""
    reference = torch.rand(1, 1, 16, 16, dtype=torch.float64, generator=rng())
    images = torch.cat([3 * reference + 1, 0.2 * reference - 5, reference], 1)
    assert float(losses.spectral_similarity_loss(images, reference)) < 1e-9
    other = torch.rand(1, 1, 16, 16, dtype=torch.float64, generator=rng(1))
    assert float(losses.spectral_similarity_loss(torch.cat([images, other], 1), reference)) > 0.1


def test_normalized_limits_are_quantiles_without_gradient():
    x = torch.arange(101.0, dtype=torch.float64).reshape(1, 1, 1, 101).requires_grad_()
    y = normalized(x, 0.0, 1.0)
    assert float(y.detach().min()) == 0.0
    assert float(y.detach().max()) == 1.0
    y.sum().backward()
    assert torch.allclose(x.grad, torch.full_like(x, 0.01))  # 1 / range, the limits held fixed
    inner = normalized(x.detach(), 0.1, 0.9)
    assert float(inner[..., 10]) == pytest.approx(0.0, abs=1e-6)
    assert float(inner[..., 90]) == pytest.approx(1.0, abs=1e-6)


def test_the_whole_loss_is_the_sum_of_its_terms():
    net, g = Affine(), lambda: rng(4)
    x = torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=rng())
    reference = torch.rand(1, 1, 16, 16, dtype=torch.float64, generator=rng(1))
    fit, regularizer = neighbor_terms(net, x, g())
    similarity = losses.spectral_similarity_loss(net(x), reference)
    for lam_s in (0.3, 0.0):
        whole = losses.spectral2spectral_loss(net, x, reference, g(), 2.0, lam_s)
        torch.testing.assert_close(whole, fit + 2 * regularizer + lam_s * similarity, rtol=1e-12, atol=0)


def test_schedules():
    assert losses.loss_weights("paper", 0.25, 1.0, 0.4) == (1.0, 0.1)
    assert losses.loss_weights("swapped", 0.25, 1.0, 0.4) == (0.25, 0.4)
    assert losses.loss_weights("n2n", 0.25, 1.0, 0.4) == (0.5, 0.1)
    with pytest.raises(ArgumentError, match="schedule"):
        losses.loss_weights("cosine", 0.5, 1.0, 1.0)
