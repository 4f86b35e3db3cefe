"""The library on the stand-in device: the CPU's values, and nothing comes back on another device."""

import math
from functools import partial

import pytest
import torch
from agreement import equal
from stand_in import DEVICE
from torch import nn

from ctlib import metrics
from ctlib.decompose import decompose_images, decompose_mle
from ctlib.geometry import ConeBeam, FanBeam, ParallelBeam, Volume
from ctlib.linop import dot_test, scaled
from ctlib.losses import l1_ssim_loss
from ctlib.metrics.calibration import calibration, coverage, pairwise_rmse, spread_ratio, standardized_residuals
from ctlib.metrics.contrast import contrast_to_noise
from ctlib.nets.seeded import seeded
from ctlib.nets.unet import make_unet
from ctlib.papers.dip.fit import fit_dip
from ctlib.papers.dip.network import skip_prior
from ctlib.papers.dip.tasks import TASKS, make_task
from ctlib.papers.hqinet.information import entropy, mutual_information_bias
from ctlib.papers.hqinet.network import make_hqinet
from ctlib.papers.hqinet.redcnn import make_redcnn
from ctlib.papers.pcct.scatter_kernel import fit_scatter_kernel
from ctlib.papers.pcct.scatter_net import ScatterNet, cross_loss, direct_loss, scatter_ratio
from ctlib.papers.spectral2spectral.binned import bin_counts, bin_line_integrals, thin
from ctlib.papers.spectral2spectral.losses import paired_loss, similar_loss, spectral2spectral_loss
from ctlib.papers.spectral2spectral.low_rank import nonlocal_lowrank
from ctlib.papers.spectral2spectral.noise2noise import ThinnedPairs
from ctlib.papers.spectral2spectral.noise2sim import similar_slices
from ctlib.papers.spectral2spectral.noise_level import neighbor_correlation, noise_level
from ctlib.papers.spectral2spectral.prior import SelfTrainedPrior
from ctlib.papers.spectral2spectral.splitting import split_reconstruct
from ctlib.papers.spectral2spectral.subspace import MaterialSubspace
from ctlib.papers.tomography.adversarial import GanBatch, GanSettings, fit_gan
from ctlib.papers.tomography.bodies import FIELD_MM, body
from ctlib.papers.tomography.consistency import data_misfit
from ctlib.papers.tomography.critic import Critic
from ctlib.papers.tomography.inserts import count_inserts
from ctlib.papers.tomography.latent import projected_gradient, random_sphere
from ctlib.papers.tomography.losses import critic_loss, data_term, gaussian_nll, mean_loss, two_sample_kl
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor, Sampler
from ctlib.papers.tomography.noise_networks import MeanNet, PosteriorNet, SpreadNet, reading_features
from ctlib.papers.tomography.readings import Readings
from ctlib.papers.tomography.residual_unet import ResidualUNet
from ctlib.papers.tomography.signal_levels import SignalLevels
from ctlib.papers.tomography.warm_start import fit_scale, warm_start
from ctlib.physics import Detector, SpectralModel, Spectrum
from ctlib.projector import Projector
from ctlib.prox import prox_tv
from ctlib.recon import cgls, fbp, sirt
from ctlib.recon.tv import tv_reconstruct
from ctlib.train import Settings, fit

pytestmark = pytest.mark.usefixtures("one_thread", "device")

N, VIEWS = 16, 12
PLANE = Volume((N, N), 2.0)
GEOMETRIES = {
    "parallel": ParallelBeam(PLANE, VIEWS, N, 2.0),
    "fan": FanBeam(PLANE, VIEWS, N, 3.0, 60.0, 120.0),
    "cone": ConeBeam(Volume((4, 8, 8), 2.0), 6, 9, 3.0, 5, 60.0, 120.0),
}
SLICE = Projector(GEOMETRIES["parallel"], backend="torch")  # the device's engine on the CPU too: the same digits


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def net_of(make):
    torch.manual_seed(0)
    return make()


# Operators and reconstructions


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_projector_and_its_gradients(agree, rand, geometry):
    A = Projector(geometry, rays_per_bin=2 if geometry is GEOMETRIES["fan"] else 1)

    def products(x, y):
        x, y = x.requires_grad_(), y.requires_grad_()
        value = A(x).square().sum() + (A.T(y) * x).sum()
        return A(x).detach(), A.T(y).detach(), *torch.autograd.grad(value, (x, y))

    agree(products, rand(2, *A.domain_shape), rand(2, *A.range_shape, seed=1))
    assert dot_test(A, stream(), device=DEVICE) < 1e-12


RECONSTRUCTIONS = {
    "sirt": lambda A, y: sirt(A, y, 5),
    "cgls": lambda A, y: cgls(A, y, 5),
    "tv": lambda A, y: tv_reconstruct(A, y, 0.1, 5, nonneg=True),
    "tv by bin": lambda A, y: tv_reconstruct(A, y, torch.tensor([0.1, 0.2]).to(y)[:, None, None], 5),
}


@pytest.mark.parametrize("method", RECONSTRUCTIONS.values(), ids=RECONSTRUCTIONS)
def test_iterative_reconstructions(agree, rand, method):
    agree(lambda y: method(SLICE, y), rand(2, *SLICE.range_shape))


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_filtered_back_projection(agree, rand, geometry):
    A = Projector(geometry)
    agree(lambda y: fbp(A, y, "hann"), rand(*A.range_shape))


def test_tv_prox_and_its_gradient(agree, rand):
    agree(lambda v: prox_tv(v, 0.1, 20, nonneg=True), rand(2, N, N))
    agree(lambda v: torch.autograd.grad(prox_tv(v.requires_grad_(), 0.1, 5).square().sum(), v), rand(N, N))


# Spectral images


def specimen(rand):
    """Four slices in three bins (Z, E, Y, X), noisy."""
    return 0.02 + 0.01 * torch.linspace(0, 3, N).double().sin() + 0.002 * rand(4, 3, N, N)


def test_noise_level_and_low_rank(agree, rand):
    x = specimen(rand)
    agree(noise_level, x)
    agree(neighbor_correlation, x - x.mean())
    agree(nonlocal_lowrank, x.float())


def test_similar_slices_by_a_cpu_stream(agree, rand):
    found, mask = agree(lambda x: similar_slices(x, torch.tensor([0, 3]), stream(), limit=10.0), specimen(rand))
    assert found.shape == (2, 3, N, N)
    assert bool(mask.all())


def test_photons_are_dealt_out_by_a_cpu_stream(agree, rand):
    counts = (100 * rand(2, 3, VIEWS, N)).round()
    agree(lambda n: thin(n, stream()), counts)
    halves = lambda half: sirt(SLICE, bin_line_integrals(half, torch.full((3,), 60.0)), 3)  # noqa: E731
    agree(lambda n: ThinnedPairs(n, halves, stream(), 2)(), counts)


@pytest.mark.parametrize("mode", ["poisson", "subtract"])
def test_bin_counts_by_the_devices_stream(agree, rand, mode):
    agree(lambda lam: bin_counts(lam, torch.Generator(lam.device).manual_seed(0), mode), 50 * rand(3, VIEWS, N))


def test_material_subspace(agree, rand):
    def there_and_back(matrix, sigma, x):
        space = MaterialSubspace.spanned_by(matrix, sigma)
        return space.spectra(space.coordinates(x))

    agree(there_and_back, rand(3, 2), 0.1 + rand(3, seed=1), specimen(rand))


def test_decomposition_of_images(agree, rand):
    agree(decompose_images, specimen(rand), rand(3, 2), 0.1 + rand(3, seed=1))
    equal(decompose_images(specimen(rand).to(DEVICE), rand(3, 2)), decompose_images(specimen(rand), rand(3, 2)), DEVICE)


LOSSES = {
    "spectral2spectral": lambda net, x, index, t: spectral2spectral_loss(net, x, x.mean(1, True), stream(1), 1.0, 0.1),
    "noise2sim": lambda net, x, index, t: similar_loss(net, x, x.flip(0), x[:, :1] > 0.5),
    "noise2noise": lambda net, x, index, t: paired_loss(net, x, x.flip(0)),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_splitting_with_a_network_that_trains_itself(agree, rand, loss):
    def solve(y):
        net = make_unet(0, 3, 3, width=4, depth=1).to(y)
        prior = SelfTrainedPrior(net, loss, 2, 2, stream(), batch=2)
        out = split_reconstruct(SLICE, y, prior, sirt(SLICE, y, 3), 2, 2, 0.1, bregman=True)
        return out.x, out.z, out.gaps, prior.losses

    agree(solve, SLICE(specimen(rand)))


# The spectral model


@pytest.fixture
def model():
    pytest.importorskip("xraylib")
    spectrum = Spectrum.tungsten(120, {"Al": 3.0}, bin_kev=4.0)
    return SpectralModel(spectrum, ("water", "calcium"), Detector.silicon(), (15, 33, 45, 59, 120), photons=1e6)


def paths(rand):
    return rand(6, 2) * torch.tensor([20.0, 1.0]).double()


def test_spectral_model(agree, rand, model):
    agree(model, paths(rand))
    agree(model.derivatives, paths(rand))


def test_maximum_likelihood_and_its_gradient(agree, rand, model):
    def layer(counts):
        thresholds = model.thresholds_kev.clone().requires_grad_()
        found = decompose_mle(model, counts.requires_grad_(), thresholds_kev=thresholds)
        to_counts, to_thresholds = torch.autograd.grad(found.square().sum(), (counts, thresholds))
        return found.detach(), to_counts, to_thresholds.to(counts)

    agree(layer, model(paths(rand)))


# Readings of few photons


def test_readings_and_what_they_say(agree, rand):
    def seen(y):
        levels = SignalLevels([Readings(s, 3.0, 8) for s in (3.0, 4.0)], y, step=0)
        return levels.read(y, 3.0, 5), levels.drawn(y, [1, 2])

    agree(seen, 3 * rand(2, VIEWS, N, dtype=torch.float32))


def end_to_end(make=EndToEnd, z_channels=0, **options):
    first = seeded(0, ResidualUNet, 3, 2, 4, 1, 1)
    second = seeded(1, ResidualUNet, 2 + 4, 1, 4, 1, 3, **({"z_channels": z_channels} if z_channels else {}))
    return make(first, scaled(SLICE.T, math.pi / VIEWS), PostProcessor(second, Positions("fixed", (N, N))), **options)


def features(rand, num=3):
    y, sigma = 3 * rand(num, VIEWS, N, dtype=torch.float32), torch.full((num, VIEWS, N), 0.2)
    return reading_features(y, y, sigma), y, sigma


def test_noise_networks(agree, rand):
    def outputs(x, y):
        body = seeded(0, ResidualUNet, 3, 2, 4, 1, 1).to(x.device)
        mean, spread, both = MeanNet(body), SpreadNet(body), PosteriorNet(body)
        mu, sigma = mean(x), spread(x)
        losses = torch.stack([mean_loss(y, mu), gaussian_nll(y, mu, sigma), data_term(y, mu, sigma).mean()])
        return [t.detach() for t in (mu, sigma, both(x), losses)]

    agree(outputs, *features(rand)[:2])


def fitted_end_to_end(x, y):
    net, target = end_to_end().to(x.device), torch.zeros(len(x), 1, N, N, device=x.device)
    fetch = lambda indices, seeds: (x[indices.to(x.device)], target[indices])  # noqa: E731
    run = fit(net, nn.functional.mse_loss, fetch, len(x), Settings(2, 2, 1e-3, "warm-up", optimizer="radam"))
    return net, run


def test_end_to_end_training(agree, rand):
    def weights(x, y):
        net, run = fitted_end_to_end(x, y)
        return dict(net.state_dict()), run.history

    agree(weights, *features(rand)[:2])


def gan(x, y, sigma, path=None, steps=2):
    sampler = end_to_end(Sampler, z_channels=2).to(x.device)
    sampler = warm_start(sampler, end_to_end().to(x.device))
    fit_scale(sampler, x, sigma.log().mean((1, 2)) + y.mean((1, 2)))
    images = 0.1 * y[:, None, :1, :].expand(-1, 1, N, N)
    fetch = lambda i, seeds: GanBatch(x[i], y[i], sigma[i], images[i])  # noqa: E731
    settings = GanSettings(steps=steps, batch=2, lr=1e-3, lam=0.1, z_shape=(2, 4, 4))
    critic = seeded(2, Critic, (4, 8)).to(x.device)
    return sampler, critic, fit_gan(sampler, critic, SLICE, fetch, len(x), settings, path, 1)


def test_adversarial_training(agree, rand):
    def weights(*batch):
        sampler, critic, run = gan(*batch)
        return dict(sampler.state_dict()), dict(critic.state_dict()), run.history

    agree(weights, *features(rand))


def test_a_training_goes_on_from_its_checkpoint(rand, tmp_path):
    batch = [t.to(DEVICE) for t in features(rand)]

    class Stop(Exception):
        pass

    def stop(run):
        if run.step == 2:
            raise Stop

    def train(path=None, callback=None):
        net, x = end_to_end().to(DEVICE), batch[0]
        fetch = lambda i, seeds: (x[i], torch.zeros(len(i), 1, N, N, device=DEVICE))  # noqa: E731
        settings = Settings(3, 2, 1e-3, "warm-up", optimizer="radam")
        run = fit(net, nn.functional.mse_loss, fetch, 3, settings, path, 1, callback)
        return net, run

    with pytest.raises(Stop):
        train(tmp_path / "c", stop)
    (net, run), (whole, whole_run) = train(tmp_path / "c"), train()
    assert run.history == whole_run.history
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), whole.parameters(), strict=True))


def test_projected_gradient_over_the_latent(agree, rand):
    z = random_sphere((2, 3, 4, 4), stream())
    found, values = projected_gradient(lambda z: z[:, 0].sum((1, 2)).sin(), z.to(DEVICE), 3, 0.1)
    expected = projected_gradient(lambda z: z[:, 0].sum((1, 2)).sin(), z, 3, 0.1)
    equal(found, expected[0], DEVICE)
    equal(values, expected[1], "cpu")
    assert random_sphere((2, 5), torch.Generator(DEVICE)).device == found.device


# Networks and their training


NETS = {
    "hqinet": lambda: make_hqinet(0, stem=4, mids=(2, 2), blocks=(1, 1), aspp=4, rates=(1,), low=2, decoder=4),
    "unet": lambda: make_unet(0, 3, 1, width=4, depth=1, norm=True),
    "redcnn": lambda: make_redcnn(0, 3, width=4, depth=1, kernel=3),
}


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_supervised_training(agree, rand, make):
    def trained(x, y):
        net = make().to(x.device)
        loss = partial(l1_ssim_loss, data_range=1.0)
        fetch = lambda indices, seeds: (x[indices], y[indices])  # noqa: E731
        run = fit(net, loss, fetch, len(x), Settings(2, 2, 1e-3))
        return dict(net.state_dict()), run.history

    agree(trained, rand(3, 3, 32, 32, dtype=torch.float32), rand(3, 1, 32, 32, seed=1, dtype=torch.float32))


def test_scatter_network_and_kernel(agree, rand):
    counts = 0.2 + rand(2, 2, 3, 32, dtype=torch.float32)
    scatter = 0.1 * counts.flip(-1)

    def trained(counts, scatter):
        net = net_of(lambda: ScatterNet(2, (4, 4), 1)).to(counts.device)
        ratio = scatter_ratio(net, counts)
        cross = cross_loss(ratio, counts, counts, lambda c: -c.clamp_min(1e-3).log(), lambda p: p, 0.01)
        loss = direct_loss(ratio, counts, scatter) + cross
        return ratio.detach(), torch.autograd.grad(loss, list(net.parameters()))

    agree(trained, counts, scatter)
    total = counts.double().clamp_max(0.95)

    def kernel(total, scatter):
        found = fit_scatter_kernel(total, scatter, max_iters=3)
        return found.scatter(total)

    agree(kernel, total, scatter.double())


@pytest.mark.parametrize("task", TASKS)
def test_deep_image_prior(agree, rand, task):
    def run(truth):
        given = make_task(task, truth, 0)
        net, z = skip_prior((N, N), 0, 4, device=str(truth.device), channels=4, skip_channels=2, scales=2)
        out = fit_dip(given.A, given.x0, net, z, 3, stream(), truth=truth, held_out=(given.A, given.x0), snapshots=(1,))
        return out.average, out.snapshots, out.energy, out.psnr_average, out.variance, out.held_out

    agree(run, rand(N, N, dtype=torch.float32))


# Metrics


METRICS = {
    "rmse": metrics.rmse,
    "psnr": lambda x, ref: metrics.psnr(x, ref, data_range=1.0),
    "psnr in a mask": lambda x, ref: metrics.psnr(x, ref, data_range=1.0, mask=ref[0] > 0.5),
    "nmse": metrics.nmse,
    "ssim": lambda x, ref: metrics.ssim(x, ref, data_range=1.0),
    "ssim in a mask": lambda x, ref: metrics.ssim(x, ref, data_range=1.0, mask=ref[0] > 0.5),
    "mutual information": metrics.mutual_information,
    "its bias": mutual_information_bias,
    "entropy": lambda x, ref: entropy(x),
    "contrast to noise": lambda x, ref: contrast_to_noise(x, ref > 0.6, ref < 0.4),
    "misfit": lambda x, ref: data_misfit(SLICE, x, SLICE(ref)),
    "residuals": lambda x, ref: standardized_residuals(x, ref, 0.1 + ref),
    "coverage": lambda x, ref: coverage(standardized_residuals(x, ref, 0.1 + ref)),
    "two-sample divergence": lambda x, ref: two_sample_kl(x, ref, x, 0.1 + ref),
    "critic": critic_loss,
}


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_metrics_stay_on_the_device(agree, rand, metric):
    agree(metric, rand(2, N, N), rand(2, N, N, seed=1))


def test_calibration_of_samples(agree, rand):
    agree(lambda y, m: calibration(y, m, 0.1 + m, m > 0.2), rand(2, N, N), rand(2, N, N, seed=1))
    agree(lambda s, m: [spread_ratio(s, 0.1 + m), pairwise_rmse(s)], rand(4, N, N), rand(N, N, seed=1))


def test_inserts_are_counted_in_device_images():
    volume = Volume((48, 48), FIELD_MM / 48)
    given = body(3, volume)
    image = given.background + 2 * (given.image - given.background)
    found = count_inserts(image.to(DEVICE), given, volume, 0.001)
    assert found == count_inserts(image, given, volume, 0.001)
    assert any(found.shown)
