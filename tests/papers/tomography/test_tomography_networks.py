"""End-to-end reconstruction and its parts: where operators sit, where the networks start, what gradients reach."""

import math

import pytest
import torch
from torch import nn

from ctlib.errors import ArgumentError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.linop import scaled
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor, Sampler, position_maps
from ctlib.papers.tomography.noise_networks import MeanNet, PosteriorNet, SpreadNet, reading_features
from ctlib.papers.tomography.readings import Readings, line_integral_prior, posterior_table
from ctlib.papers.tomography.residual_unet import ResidualUNet
from ctlib.projector import Projector
from ctlib.recon import fbp
from ctlib.recon.fbp import filter_sinogram

N, VIEWS = 16, 12


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def projector(n=N, views=VIEWS):
    return Projector(ParallelBeam(Volume((n, n), 1.0), views, n, 1.0))


def back(A):
    return scaled(A.T, math.pi / A.geometry.num_views)


def conv_stack(in_channels: int, out_channels: int, width: int = 16, num_layers: int = 3) -> nn.Sequential:
    """3x3 convolutions with PReLU between them; the last starts at 0."""
    channels = [in_channels, *[width] * (num_layers - 1), out_channels]
    layers = []
    for i in range(num_layers):
        layers += [nn.Conv2d(channels[i], channels[i + 1], 3, padding=1), nn.PReLU()]
    nn.init.zeros_(layers[-2].weight)
    nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def sampler():
    g1 = seeded(0, conv_stack, 3, 2, 4)
    unet = seeded(1, ResidualUNet, 2 + 4, 1, 4, 1, 3, z_channels=2)
    return Sampler(g1, back(projector()), PostProcessor(unet, Positions("fixed", (N, N))))


class Ramp(nn.Module):
    def forward(self, y):
        return filter_sinogram(y, 1.0)


def test_filtered_back_projection_is_one_of_these_models():
    A = projector(64, 96)
    t = torch.linspace(-1, 1, 64, dtype=torch.float64)
    x = torch.exp(-8 * (t[:, None] ** 2 + (t - 0.2) ** 2))  # smooth, and 0 at the edge of the detector
    y = A(x)
    model = EndToEnd(Ramp(), back(A), nn.Identity())
    image = model(y[None, None])[0, 0]
    want = fbp(A, y)
    assert float((image - want).norm() / want.norm()) < 0.1  # by the pixel in fbp, by the ray in A.T


def test_gradients_pass_through_the_back_projection_by_its_adjoint():
    A = projector()
    model = EndToEnd(nn.Identity(), back(A), nn.Identity())
    r, v = rand(1, 2, VIEWS, N, dtype=torch.float64).requires_grad_(), rand(1, 2, N, N, seed=1, dtype=torch.float64)
    (model(r) * v).sum().backward()
    assert torch.allclose(r.grad, math.pi / VIEWS * A(v), rtol=1e-10)


def test_operators_are_no_part_of_the_state():
    net = sampler()
    assert {name.split(".")[0] for name in net.state_dict()} == {"g1", "g2"}
    net(rand(1, 3, VIEWS, N), rand(1, 2, 4, 4)).sum().backward()
    missing = [name for name, p in net.named_parameters() if p.grad is None]
    assert missing == []


def test_the_ramp_residual_is_added_to_the_first_channel_alone():
    g1 = conv_stack(3, 2, 4)  # starts at 0
    model = EndToEnd(g1, back(projector()), nn.Identity(), ramp=Ramp())
    x = rand(1, 3, VIEWS, N)
    s = model.sinogram(x)
    assert torch.equal(s[:, 0], filter_sinogram(x[:, 0], 1.0))
    assert not s[:, 1].any()
    assert not EndToEnd(g1, back(projector()), nn.Identity()).sinogram(x).any()


def test_positions_say_where_a_pixel_is():
    maps = position_maps((3, 5))
    assert maps[:, 1, 2].tolist() == [0, 0, 0, 1]
    assert maps[:, 2, 0].tolist() == [-1, 1, 2, 1]
    x = rand(2, 3, 3, 5)
    fixed, learned, none = (Positions(kind, (3, 5)) for kind in ("fixed", "learned", "none"))
    assert torch.equal(fixed(x), torch.cat([x, maps.expand(2, -1, -1, -1)], 1))
    assert torch.equal(none(x), x)
    assert learned(x).shape == (2, 7, 3, 5)
    assert [sum(p.numel() for p in m.parameters()) for m in (fixed, learned, none)] == [0, 4 * 15, 0]
    learned(x).sum().backward()
    assert torch.equal(learned.maps.grad, torch.full((4, 3, 5), 2.0))
    with pytest.raises(ArgumentError):
        fixed(rand(1, 1, 5, 3))
    with pytest.raises(ArgumentError):
        Positions("sine", (3, 5))


def test_the_baseline_is_not_residual():
    """Without its last weights the baseline gives its bias, not the noisy image."""
    unet = seeded(0, ResidualUNet, 1 + 4, 1, 4, 1, 2)
    net = PostProcessor(unet, Positions("fixed", (N, N)))
    nn.init.zeros_(unet.head.weight)
    nn.init.constant_(unet.head.bias, 0.5)
    assert torch.equal(net(rand(2, 1, N, N)), torch.full((2, 1, N, N), 0.5))


def test_samples_of_one_reading_share_what_does_not_depend_on_z():
    net, r, z = sampler(), rand(1, 3, VIEWS, N), rand(3, 2, 4, 4, seed=1)
    maps = net.prepare(r)
    together = net.render(maps, z)
    assert together.shape == (3, 1, N, N)
    for i in range(3):
        assert torch.allclose(together[i : i + 1], net(r, z[i : i + 1]), atol=1e-6)
    assert (together[0] - together[1]).abs().max() > 1e-4


def test_a_trained_end_to_end_network_gives_the_sampler_all_but_the_first_layer_of_the_latent_block():
    net = sampler()
    unet = seeded(5, ResidualUNet, 2 + 4, 1, 4, 1, 3)
    trained = EndToEnd(
        seeded(6, conv_stack, 3, 2, 4), back(projector()), PostProcessor(unet, Positions("fixed", (N, N)))
    )
    missing, unexpected = net.load_state_dict(trained.state_dict(), strict=False)
    assert {m.rpartition("first")[0] for m in missing} == {"g2.unet.up.2."}
    assert {u.split(".")[4] for u in unexpected} == {"attention", "shrink"}
    assert torch.equal(net.g2.unet.head.weight, unet.head.weight)


def table_features(noise=0.0):
    model = Readings(3.0, 3.0)
    y = 2 + rand(2, VIEWS, N).clamp(-2, 2)
    table = posterior_table(model, *line_integral_prior(y, 64))
    r = model.sample(y, torch.Generator().manual_seed(0))
    mu, sigma = table(r)
    return reading_features(model.line_integrals(r), mu, sigma), mu, sigma


def test_noise_networks_start_at_the_exact_table():
    features, mu, sigma = table_features()
    assert features.shape == (2, 3, VIEWS, N)
    assert bool(torch.isfinite(features).all())
    assert torch.equal(MeanNet(conv_stack(3, 1))(features), mu)
    assert torch.allclose(SpreadNet(conv_stack(3, 1))(features), sigma, rtol=1e-5)
    m, s = PosteriorNet(conv_stack(3, 2))(features).unbind(1)
    assert torch.equal(m, mu)
    assert torch.allclose(s, sigma, rtol=1e-5)


def test_spreads_stay_positive_and_learn():
    features, _, _ = table_features()
    body = conv_stack(3, 1)
    nn.init.constant_(body[-1].bias, -100.0)
    assert torch.equal(SpreadNet(body, smallest=0.01)(features), torch.full((2, VIEWS, N), 0.01))
    student = PosteriorNet(conv_stack(3, 2))
    m, s = student(features).unbind(1)
    (m.sum() + s.sum()).backward()
    assert student.body[-1].weight.grad.abs().max() > 0
    assert student.body[-1].bias.grad.shape == (2,)
