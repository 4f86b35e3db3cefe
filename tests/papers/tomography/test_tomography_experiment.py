"""The chapter's runs: scans read once, noise networks that start at the table, families of networks, scores."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ctlib.geometry import ParallelBeam, Volume
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.bodies import FIELD_MM, bodies
from ctlib.papers.tomography.experiment import Family, average_of_views
from ctlib.papers.tomography.losses import distillation_loss, gaussian_nll, mean_loss
from ctlib.papers.tomography.networks import Sampler
from ctlib.papers.tomography.noise_networks import SMALLEST, MeanNet, PosteriorNet, SpreadNet
from ctlib.papers.tomography.noise_study import NoiseStudy
from ctlib.papers.tomography.readings import Readings
from ctlib.papers.tomography.residual_unet import ResidualUNet
from ctlib.papers.tomography.scans import AT_ONCE, RANGE, Scans, both, hit, predict
from ctlib.papers.tomography.signal_levels import SignalLevels
from ctlib.projector import Projector
from ctlib.recon.fbp import filter_sinogram
from ctlib.train import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

N, VIEWS = 16, 12
VOLUME = Volume((N, N), FIELD_MM / N)
GEOMETRY = ParallelBeam(VOLUME, VIEWS, N, FIELD_MM / N)
A = Projector(GEOMETRY)
BACK = average_of_views(A, math.pi / VIEWS)
SIGNALS = (3.0, 5.0)


def ramp(y):
    """The filter of FBP, in gray values."""
    return filter_sinogram(y, GEOMETRY.pitch_mm) / RANGE


@pytest.fixture(scope="module")
def scans():
    parts = {"train": range(6), "val": range(20, 22), "test": range(30, 33)}
    images = {part: bodies(seeds, VOLUME) for part, seeds in parts.items()}
    return Scans(A, images, SignalLevels([Readings(s, 2.0, bits=8) for s in SIGNALS], A(images["train"]), step=1))


@pytest.fixture
def noise(scans):
    return NoiseStudy(scans, 4, (30, 30, 30), Settings(0, 3, 0.01, "cosine"))


@pytest.fixture
def family():
    return Family(N, [[4, 4], [8, 4]], [[1, 1], [2, 1]], [1, 3], [2, 3], "fixed", BACK, ramp)


def num_weights(net):
    return sum(p.numel() for p in net.parameters())


def of_seeds(indices, seeds):
    return torch.tensor(indices), seeds


def test_test_and_validation_readings_are_drawn_once_from_seeds_of_their_own(scans):
    assert set(scans.readings) == set(scans.features) == {"test", "val"}
    for part, first_seed in (("test", 1000), ("val", 2000)):
        for i, s in enumerate(SIGNALS):
            expected = scans.levels.read(A(scans.images[part]), s, first_seed + i)
            assert torch.equal(scans.readings[part][s], expected)
            assert torch.equal(scans.features[part][s], scans.levels.features(expected, s))
    again = Scans(A, scans.images, scans.levels)
    assert all(torch.equal(again.readings["test"][s], scans.readings["test"][s]) for s in SIGNALS)


def test_readings_of_another_scan_have_its_views(scans):
    B = Projector(replace(GEOMETRY, num_views=5, angles=None))
    readings = scans.read(B, "test", 7)
    assert {s: tuple(r.shape) for s, r in readings.items()} == {s: (3, 5, N) for s in SIGNALS}
    assert torch.equal(readings[5.0], scans.levels.read(B(scans.images["test"]), 5.0, 8))


def test_fresh_readings_depend_on_body_and_seed_alone(scans):
    features, y = scans.fetch_sinograms(*of_seeds([0, 4, 2], [5, 6, 8]))
    torch.rand(3)
    alone, one = scans.fetch_sinograms(*of_seeds([4], [6]))
    assert torch.equal(alone[0], features[1])
    assert torch.equal(one[0], y[1])
    assert torch.equal(y, A(scans.images["train"])[[0, 4, 2]])
    assert not torch.equal(scans.fetch_sinograms(*of_seeds([4], [8]))[0][0], features[1])
    same, images = scans.fetch_images(*of_seeds([0, 4, 2], [5, 6, 8]))
    assert torch.equal(same, features)
    assert torch.equal(images[:, 0], scans.images["train"][[0, 4, 2]] / 0.04)
    assert torch.equal(scans.gray("train")[[0, 4, 2]], images)


def test_a_hit_is_a_line_integral_that_is_not_airs():
    assert hit(torch.tensor([0.0, 0.19, 0.21, 2.0])).tolist() == [False, False, True, True]


def test_a_few_at_a_time_are_as_good_as_all():
    inputs, sizes = torch.rand(2 * AT_ONCE + 3, 3, 4, 4), []
    net = seeded(0, nn.Conv2d, 3, 1, 3)

    def counted(x):
        sizes.append(len(x))
        return net(x)

    out = predict(counted, inputs)
    torch.testing.assert_close(out, net(inputs).detach())
    assert not out.requires_grad
    assert sizes == [16, 16, 3]
    mu, sigma = both((net, lambda f: net(f).exp()), inputs)
    torch.testing.assert_close(mu, out)
    torch.testing.assert_close(sigma, out.exp())


def test_noise_networks_start_at_the_table(noise, scans):
    features = scans.features["test"][3.0]
    mu, sigma = features[:, 1], features[:, 2].exp().clamp_min(SMALLEST)
    torch.testing.assert_close(noise.net(MeanNet, 1, 0)(features), mu)
    torch.testing.assert_close(noise.net(SpreadNet, 1, 0)(features), sigma)
    torch.testing.assert_close(noise.net(PosteriorNet, 2, 0)(features), torch.stack([mu, sigma], 1))
    first, again, other = (noise.net(MeanNet, 1, s).body.down[0].conv.weight for s in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_two_stages_get_better_than_the_table(noise, scans):
    y, seen = scans.fetch_sinograms(torch.arange(6), list(range(6)))[::-1]
    mean, spread = noise.two_stages(0)
    mu, sigma = both((mean, spread), seen)
    table_mu, table_sigma = seen[:, 1], seen[:, 2].exp()
    assert float(mean_loss(y, mu)) < 0.8 * float(mean_loss(y, table_mu))
    assert float(gaussian_nll(y, mu, sigma)) < float(gaussian_nll(y, mu, table_sigma)) - 0.02
    alone, untrained = replace(noise, steps=(30, 0, 0)).two_stages(0)
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), mean.parameters(), strict=True))
    torch.testing.assert_close(untrained(seen), table_sigma.clamp_min(SMALLEST))


def test_the_student_starts_as_the_mean_network_and_learns_its_teachers(noise, scans):
    nets = noise.two_stages(1)
    seen = scans.features["val"][3.0]
    with torch.no_grad():
        teacher = tuple(net(seen) for net in nets)
        start = replace(noise, steps=(0, 0, 0)).distilled(nets, 1)(seen)
        torch.testing.assert_close(start[:, 0], teacher[0])
        torch.testing.assert_close(start[:, 1], seen[:, 2].exp().clamp_min(SMALLEST))
        before = float(distillation_loss(start.unbind(1), teacher))
    student = noise.distilled(nets, 1)
    with torch.no_grad():
        assert float(distillation_loss(student(seen).unbind(1), teacher)) < before


def test_a_noise_network_is_read_from_its_checkpoint(noise, tmp_path):
    kept = replace(noise, steps=(2, 1, 1), checkpoints=str(tmp_path))
    nets = kept.two_stages(0)
    kept.distilled(nets, 0)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["mean-0.ckpt", "spread-0.ckpt", "student-0.ckpt"]
    again = kept.two_stages(0)  # no step is left to do
    for one, other in zip(nets, again, strict=True):
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(a, b)


def test_estimates_are_judged_on_the_test_bodies_and_the_rays_asked_for(noise, scans):
    y = scans.sinograms["test"]
    rays, sigma = hit(y), torch.full_like(y, 0.1)
    mu = torch.where(rays, y - 0.15, 99.0)
    found = noise.judged((mu, sigma), rays)
    assert found["mean"] == pytest.approx(1.5, abs=1e-4)
    assert found["sd"] == pytest.approx(0, abs=1e-4)
    assert (found["within 68 %"], found["within 95 %"]) == (0, 1)
    assert found["nll"] == pytest.approx(0.5 * 1.5**2 + math.log(0.1 * math.sqrt(2 * math.pi)), abs=1e-3)


def test_residuals_are_those_of_the_validation_bodies_in_sigma(noise, scans):
    y = scans.sinograms["val"]
    rays, sign = hit(y), torch.where(torch.arange(N) % 2 == 0, 1.0, -1.0)
    asked = []

    def mean(features):
        asked.append(features)
        return torch.where(rays, y - 0.2 * sign, 99.0)

    assert noise.rms_residual((mean, lambda f: torch.full_like(y, 0.1)), 5.0, rays) == pytest.approx(2, rel=1e-4)
    assert torch.equal(asked[0], scans.features["val"][5.0])


@pytest.mark.parametrize("pitch", [1.0, 0.5])
@pytest.mark.parametrize("seen", [12, 6, 3])
def test_a_sinogram_of_ones_gives_pi_times_the_share_of_the_half_circle(seen, pitch):
    scan = ParallelBeam(VOLUME, seen, int(2 * N / pitch), pitch * FIELD_MM / N, angles=GEOMETRY.angles[:seen])
    back = average_of_views(Projector(scan), math.pi / VIEWS)
    image = back(torch.ones(1, *scan.sino_shape))[0]
    assert float(image.mean()) == pytest.approx(math.pi * seen / VIEWS, rel=0.01)
    assert float(image.std()) < 0.05 * float(image.mean())


def test_back_projection_behind_the_ramp_is_filtered_back_projection(scans):
    found = BACK(ramp(scans.sinograms["test"]))
    truth = scans.gray("test")[:, 0]
    middle = slice(5, 11)
    assert float(found[:, middle, middle].mean()) == pytest.approx(float(truth[:, middle, middle].mean()), rel=0.05)


def test_sizes_of_a_family_have_the_weights_of_their_parts(family):
    for size, (width, num, channels) in enumerate(zip([(4, 4), (8, 4)], [(1, 1), (2, 1)], [2, 3], strict=True)):
        g1 = ResidualUNet(3, channels, width[0], num[0], 1)
        g2 = ResidualUNet(channels + 4, 1, width[1], num[1], 3)  # four maps of positions
        assert num_weights(family.end_to_end(size)) == num_weights(g1) + num_weights(g2)
    post = family.post(4, 0)
    assert num_weights(post) == num_weights(ResidualUNet(5, 1, 4, 1, 3))
    assert post(torch.rand(2, 1, N, N)).shape == (2, 1, N, N)


def test_members_differ_from_the_family_where_asked(family):
    plain = family.end_to_end()
    without = family.end_to_end(positions="none")
    learned = family.end_to_end(positions="learned")
    assert num_weights(plain) - num_weights(without) == 4 * 9 * 4  # four channels fewer into the first 3x3 layer
    assert num_weights(learned) - num_weights(plain) == 4 * N * N
    assert family.end_to_end(channels=5).g1.head.out_channels == 5
    sampler = family.end_to_end(kind=Sampler, z_channels=3)
    assert type(sampler) is Sampler
    assert sampler.g2.unet.z_channels == 3
    assert sampler(torch.rand(1, 3, VIEWS, N), torch.rand(2, 3, 4, 4)).shape == (2, 1, N, N)


def test_a_family_uses_its_back_projection_and_its_ramp_where_asked(family):
    features = torch.rand(2, 3, VIEWS, N)
    net = family.end_to_end()
    torch.testing.assert_close(net.images(features), BACK(net.g1(features)))
    double = family.end_to_end(back=lambda y: 2 * BACK(y))
    torch.testing.assert_close(double.images(features), 2 * BACK(double.g1(features)))
    with_ramp = family.end_to_end(with_ramp=True)
    nn.init.zeros_(with_ramp.g1.head.weight)
    nn.init.zeros_(with_ramp.g1.head.bias)
    found = with_ramp.images(features)
    torch.testing.assert_close(found[:, 0], BACK(ramp(features[:, 0])))
    assert (found[:, 1] == 0).all()


def test_curves_of_the_networks_of_rays_change_no_training(noise):
    curves, short = {}, replace(noise, steps=(6, 6, 6))
    watched, alone = short.two_stages(3, curves), short.two_stages(3)
    for one, other in zip(watched, alone, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    short.distilled(watched, 3, curves)
    assert list(curves) == ["mean, 3", "spread, 3", "student, 3"]
    assert all(steps == list(range(1, 7)) for steps, _ in curves.values())
    assert curves["spread, 3"][1][-1] == pytest.approx(short.nll(lambda f: both(watched, f)))
