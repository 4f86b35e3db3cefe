"""The chapter's runs: scans read once, noise networks that start at the table, families of networks, scores."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from ctlib import metrics
from ctlib.geometry import ParallelBeam, Volume
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography import experiment
from ctlib.papers.tomography.bodies import FIELD_MM, bodies
from ctlib.papers.tomography.experiment import Family, ImageStudy, average_of_views
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


@pytest.fixture
def study(scans):
    return ImageStudy(scans, (1.0, 0.5), Settings(6, 2, 0.01))


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


def test_quality_of_the_truth_and_of_a_constant_error(study, scans):
    gray = scans.gray("test")
    best = study.quality(gray)
    assert best["SSIM"] == pytest.approx(1)
    assert best["RMSE"] == 0
    off = study.quality(gray + 0.1)
    assert off["RMSE"] == pytest.approx(0.1, rel=1e-4)
    assert off["PSNR"] == pytest.approx(20, abs=1e-3)  # of range 1
    assert off["SSIM"] < 0.999
    some = slice(1, 3)
    assert study.quality(gray[some], some)["RMSE"] == 0
    assert study.quality(gray[some], slice(0, 2))["RMSE"] > 0.01
    assert study.scored({3.0: gray, 5.0: gray + 0.1}) == {3.0: best, 5.0: off}
    halves = study.quality(torch.cat([gray[:1] + 0.3, gray[1:]]))
    assert halves["RMSE"] == pytest.approx(0.1, rel=1e-4)  # the mean over three bodies
    assert halves["SSIM"] == pytest.approx(
        float(metrics.ssim(gray[:1, 0] + 0.3, gray[:1, 0], data_range=1.0).mean() + 2) / 3, rel=1e-5
    )


def test_the_truth_has_no_misfit_with_its_line_integrals_and_that_of_mu_with_mu(study, scans):
    one = slice(1, 2)
    gray, y = scans.gray("test")[one], scans.sinograms["test"][one]
    sigma = torch.where(hit(y), 0.1, 1e-4)  # rays through air do not count
    mu = torch.where(hit(y), y + 0.25, 0.1)
    nepers, sigmas = study.misfits(gray, (mu, sigma), one)
    assert nepers == pytest.approx(0, abs=1e-6)
    assert sigmas == pytest.approx(2.5, rel=1e-4)
    error = A(0.1 * RANGE * torch.ones(1, N, N))[hit(y)].square().mean().sqrt()
    nepers, sigmas = study.misfits(gray + 0.1, (y, sigma), one)
    assert nepers == pytest.approx(float(error), rel=1e-4)
    assert sigmas == pytest.approx(float(error) / 0.1, rel=1e-4)


def test_misfits_are_means_over_bodies(study, scans):
    y = scans.sinograms["test"]
    mu = y + torch.tensor([0.1, 0.2, 0.3])[:, None, None] * hit(y)
    known = torch.where(hit(y), mu, 0.0), torch.full_like(y, 0.1)
    assert study.misfits(scans.gray("test"), known)[1] == pytest.approx(2, rel=0.03)


def test_images_are_kept_by_signal(study, scans):
    run = lambda f: f[:, :1]  # noqa: E731
    for part in ("test", "val"):
        found = study.over_signals(run, part)
        assert list(found) == list(SIGNALS)
        assert all(torch.equal(x, scans.features[part][s][:, :1]) for s, x in found.items())
    assert torch.equal(study.over_signals(run)[3.0], scans.features["test"][3.0][:, :1])


def test_a_network_behind_a_reconstruction_sees_its_images(study, scans):
    first = lambda f: BACK(ramp(f[:, 1:2]))  # noqa: E731
    given, target = study.fetch_after(first)(*of_seeds([3, 1], [7, 8]))
    features, images = scans.fetch_images(*of_seeds([3, 1], [7, 8]))
    assert torch.equal(given, first(features))
    assert torch.equal(target, images)


def test_a_training_of_images_gets_better_and_its_seed_sets_it(study, family, scans, tmp_path):
    def trained(seed, steps, checkpoints="", weights=(1.0, 0.5)):
        net = seeded(0, family.end_to_end, with_ramp=True)
        kept = replace(study, checkpoints=checkpoints, weights=weights)
        return kept.train(net, scans.fetch_images, "end to end", seed, steps)

    seen = scans.features["test"][5.0]
    start, end = (study.quality(predict(trained(0, steps), seen)) for steps in (0, 40))
    assert end["RMSE"] < 0.7 * start["RMSE"]
    weights = [trained(*a).g2.unet.head.weight for a in ((0, 2), (0, 2), (1, 2), (0, None), (0, 6))]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(weights[3], weights[4])  # the steps of the settings
    assert not torch.equal(trained(0, 2, weights=(0.0, 1.0)).g2.unet.head.weight, weights[0])
    trained(3, 1, str(tmp_path))
    assert [f.name for f in tmp_path.iterdir()] == ["end-to-end-3.ckpt"]


@pytest.fixture(scope="module")
def few_views():
    """A scan of five views, over the half circle."""
    return Projector(replace(GEOMETRY, num_views=5, angles=None))


def test_another_scan_has_three_methods_at_every_signal(study, family, scans, few_views):
    found = experiment.other_scan(study, family, few_views, math.pi / 5, 4, "few views", 0, 1)
    assert list(found) == ["FBP", "FBP + U-Net", "end to end"]
    assert all(tuple(by) == SIGNALS for by in found.values())
    assert all(x.shape == (3, 1, N, N) for by in found.values() for x in by.values())
    back = average_of_views(few_views, math.pi / 5)
    readings = scans.read(few_views, "test", 3000)
    for s in SIGNALS:
        seen = scans.levels.features(readings[s], s)
        torch.testing.assert_close(found["FBP"][s], back(ramp(seen[:, 1:2])))
    middle = slice(5, 11)
    body = found["FBP"][5.0][:, 0, middle, middle].mean()
    assert float(body) == pytest.approx(float(scans.gray("test")[:, 0, middle, middle].mean()), rel=0.25)


def test_networks_of_another_scan_follow_from_seed_and_steps(study, family, few_views):
    run = lambda seed, steps: experiment.other_scan(  # noqa: E731
        study, family, few_views, math.pi / 5, 4, "few views", seed, steps
    )
    first, again, other, longer = run(0, 1), run(0, 1), run(1, 1), run(0, 12)
    for method in ("FBP + U-Net", "end to end"):
        assert torch.equal(first[method][3.0], again[method][3.0])
        assert not torch.equal(first[method][3.0], other[method][3.0])
        scores = [study.quality(x[method][5.0])["RMSE"] for x in (first, longer)]
        assert scores[1] < scores[0]
    assert torch.equal(first["FBP"][3.0], other["FBP"][3.0])  # nothing is learned
