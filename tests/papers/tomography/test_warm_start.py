"""What a sampler takes over from the end-to-end network."""

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor, Sampler
from ctlib.papers.tomography.residual_unet import LATENT_BLOCK, ResidualUNet, join
from ctlib.papers.tomography.warm_start import fit_scale, warm_start


def network(kind, seed, z=0, width=8):
    unet = seeded(seed, ResidualUNet, 2 + 4, 1, width, 1, 3, z_channels=z)
    g1 = seeded(seed + 1, ResidualUNet, 3, 2, 4, 1, 1)
    return kind(g1, lambda s: s, PostProcessor(unet, Positions("fixed", (16, 16))))


def rand(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_all_weights_but_those_of_the_new_layer_are_taken_over():
    trained, fresh = network(EndToEnd, 0), network(Sampler, 10, 4)
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    after, given = warm_start(fresh, trained).state_dict(), trained.state_dict()
    shared = [k for k in after if k in given]
    assert len(shared) == len(after) - 3
    assert all(torch.equal(after[k], given[k]) for k in shared)
    assert any(not torch.equal(before[k], after[k]) for k in shared)


def test_the_features_are_those_of_the_old_block_where_its_attention_is_neutral():
    trained = network(EndToEnd, 0)
    old = trained.g2.unet.up[LATENT_BLOCK]
    nn.init.zeros_(old.attention.excite.weight)
    nn.init.zeros_(old.attention.excite.bias)
    new = warm_start(network(Sampler, 10, 4), trained, log_scale=1.5).g2.unet.up[LATENT_BLOCK]
    x = rand(2, old.shrink.in_channels, 6, 6)
    features = new.first(x)
    assert torch.allclose(features[:, : new.split[0]], old.shrink(old.attention(x))[:, : new.split[0]], atol=1e-5)
    assert torch.allclose(features[:, new.split[0] :], torch.tensor(1.5), atol=1e-6)


def test_z_reaches_the_image_and_more_of_it_with_a_larger_scale():
    trained, x = network(EndToEnd, 0), rand(1, 3, 16, 16)
    z = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    spread = []
    for scale in (-6.0, 0.0, 2.0):
        g = warm_start(network(Sampler, 10, 4), trained, scale)
        with torch.no_grad():
            spread.append(float(g.render(g.prepare(x), z).std(0).mean()))
    assert 0 < spread[0] < spread[1] / 10
    assert spread[1] < spread[2] / 2


def test_other_widths_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        warm_start(network(Sampler, 10, 4, 12), network(EndToEnd, 0))


def logarithms(sampler, features):
    """l of every pixel, (B, pixels), of the first channel of z."""
    block, maps = sampler.g2.unet.up[LATENT_BLOCK], sampler.prepare(features)
    return block.first(join(maps[-1], maps[-2]))[:, block.split[0]].flatten(1).detach()


def readings():
    """Readings of growing amplitude, and a log sigma that grows with it."""
    amplitude = torch.linspace(0.5, 2, 6)
    return amplitude[:, None, None, None] * rand(6, 3, 16, 16), amplitude.log()


def test_the_scale_follows_sigma_with_slope_one_around_the_same_mean():
    x, log_sigma = readings()
    g = warm_start(network(Sampler, 10, 4), network(EndToEnd, 0), 0.7)
    level = fit_scale(g, x, log_sigma, 0.01, 1e9)
    found = logarithms(level, x).mean(1)
    centered = log_sigma - log_sigma.mean()
    assert float(found.mean()) == pytest.approx(0.7, abs=1e-3)
    assert float((centered * found).sum() / centered.square().sum()) == pytest.approx(1, abs=1e-3)


def test_the_weights_are_those_of_ridge_regression_over_pixels():
    x, log_sigma = readings()
    g = warm_start(network(Sampler, 10, 4), network(EndToEnd, 0))
    maps = g.prepare(x)
    pixels = nn.functional.unfold(join(maps[-1], maps[-2]), 3, padding=1).movedim(1, 2).flatten(0, 1).detach().double()
    pixels = pixels - pixels.mean(0)
    target = (log_sigma - log_sigma.mean()).double().repeat_interleave(len(pixels) // 6)
    strength = (0.3 * pixels.square().sum(0).mean()).sqrt()
    rows = torch.cat([pixels, strength * torch.eye(pixels.shape[1], dtype=torch.float64)])
    want = torch.linalg.lstsq(rows, torch.cat([target, torch.zeros(pixels.shape[1]).double()])[:, None]).solution[:, 0]
    fit_scale(g, x, log_sigma, 0.3, 5.0)
    block = g.g2.unet.up[LATENT_BLOCK]
    got = block.first[0].weight[block.split[0] :].detach().double().flatten(1)
    assert torch.equal(got, got[:1].expand_as(got))
    assert float(got[0].abs().sum()) == pytest.approx(5, rel=1e-5)
    assert torch.allclose(got[0] / got[0].norm(), want / want.norm(), atol=1e-4)


def test_features_are_left_alone_and_wrong_shapes_named():
    x, log_sigma = readings()
    g = warm_start(network(Sampler, 10, 4), network(EndToEnd, 0))
    block = g.g2.unet.up[LATENT_BLOCK]
    before = block.first[0].weight[: block.split[0]].clone()
    fit_scale(g, x, log_sigma)
    assert torch.equal(before, block.first[0].weight[: block.split[0]])
    with pytest.raises(ArgumentError):
        fit_scale(g, x, log_sigma[:-1])
