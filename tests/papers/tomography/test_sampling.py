"""The sampler's runs: where it starts, what its samples and trainings depend on, refinement, counted inserts."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from ctlib.errors import DataError
from ctlib.geometry import ParallelBeam, Volume
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography import sampling
from ctlib.papers.tomography.adversarial import GanSettings
from ctlib.papers.tomography.bodies import FIELD_MM, bodies
from ctlib.papers.tomography.experiment import Family, average_of_views
from ctlib.papers.tomography.inserts import InsertCount
from ctlib.papers.tomography.losses import data_term
from ctlib.papers.tomography.networks import Sampler
from ctlib.papers.tomography.noise_networks import MeanNet, SpreadNet
from ctlib.papers.tomography.noise_study import NoiseStudy
from ctlib.papers.tomography.readings import Readings
from ctlib.papers.tomography.residual_unet import LATENT_BLOCK
from ctlib.papers.tomography.sampling import SamplerStudy
from ctlib.papers.tomography.scans import RANGE, Scans, both, hit
from ctlib.papers.tomography.signal_levels import SignalLevels
from ctlib.projector import Projector
from ctlib.recon.fbp import filter_sinogram
from ctlib.train import Settings

pytestmark = pytest.mark.usefixtures("one_thread")

N, VIEWS = 16, 12
VOLUME = Volume((N, N), FIELD_MM / N)
A = Projector(ParallelBeam(VOLUME, VIEWS, N, FIELD_MM / N))
FAMILY = Family(
    N, [[4, 4]], [[1, 1]], [1, 3], [2], "fixed", average_of_views(A, math.pi / VIEWS),
    lambda y: filter_sinogram(y, FIELD_MM / N) / RANGE,
)  # fmt: skip
SETTINGS = GanSettings(4, 2, 1e-3, lam=0.1, z_shape=(2, 4, 4))


def make_sampler(seed):
    return seeded(seed, FAMILY.end_to_end, with_ramp=True, kind=Sampler, z_channels=2)


@pytest.fixture(scope="module")
def study():
    parts = {"train": range(6), "val": range(20, 21), "test": range(30, 33)}
    images = {part: bodies(seeds, VOLUME) for part, seeds in parts.items()}
    scans = Scans(A, images, SignalLevels([Readings(s, 2.0, bits=8) for s in (3.0, 5.0)], A(images["train"]), step=1))
    noise = NoiseStudy(scans, 4, (0, 0, 0), Settings(0, 1, 1e-2))
    table = noise.net(MeanNet, 1, 0), noise.net(SpreadNet, 1, 0)
    return SamplerStudy(scans, make_sampler, partial(both, table), SETTINGS, (4,), slice(0, 2))


@pytest.fixture(scope="module")
def end_to_end():
    return seeded(9, FAMILY.end_to_end, with_ramp=True)


@pytest.fixture(scope="module")
def sampler(study, end_to_end):
    net = make_sampler(0)
    net.load_state_dict(study.start(0, end_to_end, 4))
    return net.eval()


def critic(x):
    """In place of a network: high for bright images."""
    return x.mean((1, 2, 3))


def test_gray_images_are_projected_in_their_unit(study):
    truth = study.scans.images["test"]
    torch.testing.assert_close(study.project(truth / 0.04), study.scans.sinograms["test"])


def test_latents_lie_on_the_sphere_of_the_settings(study):
    draw = lambda s: s.sphere(5, torch.Generator().manual_seed(0))  # noqa: E731
    assert draw(study).shape == (5, 2, 4, 4)
    assert draw(study).flatten(1).norm(dim=1).tolist() == pytest.approx([32**0.5] * 5)
    small = replace(study, settings=replace(SETTINGS, z_radius=0.5))
    torch.testing.assert_close(draw(small), draw(study) * 0.5 / 32**0.5)


def test_a_start_is_the_trained_network_but_for_the_block_of_z(study, end_to_end):
    start, again, other = (study.start(s, end_to_end, 4) for s in (0, 0, 1))
    assert all(torch.equal(v, again[k]) for k, v in start.items())
    block = f"g2.unet.up.{LATENT_BLOCK}."
    for name, value in end_to_end.state_dict().items():
        if not name.startswith(block):
            assert torch.equal(start[name], value)
    names = {k for k in start if k not in end_to_end.state_dict()}
    assert names
    assert all(k.startswith(block) for k in names)
    assert set(start) == set(other) == set(make_sampler(0).state_dict())


def test_a_start_is_wider_where_the_readings_leave_more_open(study, end_to_end, sampler, monkeypatch):
    """The scale of z follows the mean log sigma of the training bodies' readings at every signal."""
    seen = []
    right = sampling.fit_scale

    def fit_scale(net, features, log_sigma):
        seen.append((features, log_sigma))
        return right(net, features, log_sigma)

    monkeypatch.setattr(sampling, "fit_scale", fit_scale)
    study.start(0, end_to_end, 4)
    features, log_sigma = seen[0]
    levels, y = study.scans.levels, study.scans.sinograms["train"][:4]
    expected = torch.cat([levels.features(levels.read(y, s, 3000 + i), s) for i, s in enumerate((3.0, 5.0))])
    assert torch.equal(features, expected)
    mu, sigma = study.posterior(features)
    by_hand = [sigma[b][mu[b] > 0.2].log().mean() for b in range(8)]
    torch.testing.assert_close(log_sigma, torch.stack(by_hand))
    assert float(log_sigma[:4].min()) > float(log_sigma[4:].max())  # signal 3 says less than signal 5
    logs = []
    block = sampler.g2.unet.up[LATENT_BLOCK]
    hook = block.first.register_forward_hook(lambda *args: logs.append(args[-1][:, block.split[0] :].mean((1, 2, 3))))
    study.sampled(sampler, features, 1)
    hook.remove()
    scale = torch.cat(logs)
    assert float(scale[:4].mean()) > float(scale[4:].mean())
    assert float(torch.corrcoef(torch.stack([scale, log_sigma]))[0, 1]) > 0.5


def test_a_batch_holds_what_is_known_of_its_readings(study):
    batch = study.fetch(torch.tensor([3, 1]), [7, 8])
    features, real = study.scans.fetch_images(torch.tensor([3, 1]), [7, 8])
    mu, sigma = study.posterior(features)
    for given, expected in ((batch.features, features), (batch.real, real), (batch.mu, mu), (batch.sigma, sigma)):
        assert torch.equal(given, expected)
    assert torch.equal(batch.mask, hit(mu))


def test_a_training_follows_from_seed_start_and_kind(study, sampler):
    start = {k: v.clone() for k, v in sampler.state_dict().items()}
    kept = {k: v.clone() for k, v in start.items()}
    first, judge, history = study.train(0, "kl", start)
    again, same, repeated = study.train(0, "kl", start)
    assert all(torch.equal(v, kept[k]) for k, v in start.items())  # the next seed starts there too
    assert history == repeated
    assert {k: len(v) for k, v in history.items()} == dict.fromkeys(("sampler", "match", "spread", "critic"), 4)
    equal = lambda a, b: all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))  # noqa: E731
    assert equal(first, again)
    assert equal(judge, same)
    assert not first.training
    assert not equal(first, study.train(1, "kl", start)[0])
    data, _, by_data = study.train(0, "data", start)
    assert not equal(first, data)
    assert by_data["spread"][0] == history["spread"][0]  # the same samples of the same readings
    assert by_data["match"][0] != history["match"][0]


def test_trainings_are_kept_by_kind_and_seed(study, sampler, tmp_path):
    kept = replace(study, checkpoints=str(tmp_path), settings=replace(SETTINGS, steps=1))
    start = {name: t.clone() for name, t in sampler.state_dict().items()}
    first = kept.train(3, "data", start)[0]
    assert [f.name for f in tmp_path.iterdir()] == ["gan-data-3.ckpt"]
    again = kept.train(3, "data", start)[0]  # no step is left to do
    assert torch.equal(again.g2.unet.head.weight, first.g2.unet.head.weight)
    with pytest.raises(DataError, match="initial weights"):
        kept.train(3, "data", make_sampler(5).state_dict())


def test_samples_are_images_of_different_z(study, sampler):
    features = study.scans.features["test"][3.0]
    found = study.sampled(sampler, features, 4, seed=2)
    assert found.shape == (4, 3, N, N)
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for b in range(3):
            z = study.sphere(4, source)
            for k in range(4):
                by_hand = sampler(features[b : b + 1], z[k : k + 1])[0, 0]
                torch.testing.assert_close(found[k, b], by_hand, rtol=1e-4, atol=1e-5)
    assert all(not torch.allclose(found[0], found[k]) for k in (1, 2, 3))
    assert torch.equal(found, study.sampled(sampler, features, 4, seed=2))
    assert not torch.allclose(found, study.sampled(sampler, features, 4, seed=3))


def test_the_few_bodies_are_sampled_at_every_signal(study, sampler):
    found = study.sampled_at(sampler, 3)
    assert list(found) == [3.0, 5.0]
    for s, x in found.items():
        assert x.shape == (3, 2, N, N)
        assert torch.equal(x, study.sampled(sampler, study.scans.features["test"][s][:2], 3))


def test_refinement_lowers_the_objective_that_it_reports(study, sampler):
    J, match, rmse, images = study.refined((sampler, critic, {}), 3.0, 5, 0.5)
    assert J.shape == match.shape == rmse.shape == (6, 2)
    assert images.shape == (6, 2, N, N)
    assert (J[-1] < J[0]).all()
    features, truth = study.scans.features["test"][3.0][:2], study.scans.images["test"][:2] / 0.04
    mu, sigma = study.posterior(features)
    for k in (0, 5):
        y = A(0.04 * images[k])
        terms = [data_term(*(t[b][mu[b] > 0.2] for t in (y, mu, sigma))) for b in range(2)]
        torch.testing.assert_close(match[k], torch.stack(terms), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(J[k].float(), match[k] + 0.1 * critic(images[k][:, None]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rmse[k], (images[k] - truth).square().mean((1, 2)).sqrt(), rtol=1e-4, atol=1e-5)


def test_a_refinement_begins_with_a_sample_of_its_seed(study, sampler):
    run = lambda seed, steps=1: study.refined((sampler, critic, {}), 5.0, steps, 0.5, seed)  # noqa: E731
    first, again, other = run(0)[3], run(0)[3], run(1)[3]
    assert torch.equal(first, again)
    assert not torch.allclose(first[0], other[0])
    z = study.sphere(2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        start = sampler(study.scans.features["test"][5.0][:2], z)[:, 0]
    torch.testing.assert_close(first[0], start)
    assert run(0, 0)[3].shape == (1, 2, N, N)


def test_candidates_of_different_bodies_are_refined_on_their_own(study, sampler):
    pair = study.refined((sampler, critic, {}), 3.0, 2, 0.5)
    alone = replace(study, few=slice(0, 1)).refined((sampler, critic, {}), 3.0, 2, 0.5)
    torch.testing.assert_close(pair[0][:, :1], alone[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(pair[3][:, :1], alone[3], rtol=1e-3, atol=1e-4)


def test_rates_are_shares_of_all_inserts_and_false_ones_a_body():
    counts = [
        InsertCount((True, True, False), ((1, 2),)),
        InsertCount((True,), ()),
        InsertCount((), ((3, 4), (5, 6), (7, 8))),
    ]
    assert sampling.rates(counts) == pytest.approx((3 / 4, 4 / 3))
    assert sampling.rates(counts[1:2]) == (1, 0)
