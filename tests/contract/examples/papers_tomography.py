"""Chapter 6: readings and their posterior, losses, the sphere, networks, critics."""

import torch
from torch import nn

from ctlib.geometry import Volume
from ctlib.nets.seeded import seeded
from ctlib.papers.tomography.adversarial import GanSettings
from ctlib.papers.tomography.bodies import Body, Insert
from ctlib.papers.tomography.critic import Critic
from ctlib.papers.tomography.networks import EndToEnd, Positions, PostProcessor, Sampler
from ctlib.papers.tomography.noise_networks import MeanNet, PosteriorNet, SpreadNet
from ctlib.papers.tomography.readings import Readings, line_integral_prior, posterior_table
from ctlib.papers.tomography.residual_unet import DownBlock, LatentUpBlock, ResidualBlock, ResidualUNet, UpBlock
from ctlib.papers.tomography.signal_levels import SignalLevels


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def made(make):
    return lambda **options: seeded(0, make, **options)


def net(make, *args, **options):
    return seeded(0, make, *args, **options).double().eval()


def post(z_channels=0):
    return PostProcessor(ResidualUNet(2 + 4, 1, 4, 1, 3, 1, z_channels), Positions("fixed", (8, 8)))


def through(kind=EndToEnd, **options):
    return net(
        lambda: kind(ResidualUNet(3, 2, 4, 1, 1), lambda s: s.transpose(-1, -2), post(**options), lambda s: 2 * s)
    )


def noise(kind, out):
    return net(lambda: kind(ResidualUNet(3, out, 4, 1, 1)))


READINGS = Readings(3.0, 2.0, 5)
PRIOR = line_integral_prior(3 * rand(40), 16)
RAYS = ("y", "mu", "sigma")
SETTINGS = {"steps": 1, "batch": 2, "lr": 0.1, "lam": 1.0, "z_shape": (2, 3)}


def levels():
    return SignalLevels([READINGS, Readings(4.0, 2.0, 5)], 3 * rand(40))


def rays(*names):
    return {name: rand(2, 3, 4, seed=k) for k, name in enumerate(names)}


def small_body():
    soft = torch.ones(9, 9, dtype=torch.bool)
    insert = Insert((0.0, 0.0), (2.0, 2.0), 0.0, 0.01)
    return Body(rand(9, 9), rand(9, 9, seed=1), soft, (insert,))


EXAMPLES = {
    "ctlib.papers.tomography.losses.rays": lambda: rays(*RAYS),
    "ctlib.papers.tomography.losses.ray_mean": lambda: dict(values=rand(2, 3, 4), mask=rand(2, 3, 4, seed=1) > 0.4),
    "ctlib.papers.tomography.losses.mean_loss": lambda: rays("y", "mu") | {"mask": rand(2, 3, 4, seed=9) > 0.4},
    "ctlib.papers.tomography.losses.gaussian_nll": lambda: rays(*RAYS),
    "ctlib.papers.tomography.losses.data_term": lambda: rays(*RAYS),
    "ctlib.papers.tomography.losses.gaussian_kl": lambda: rays("m", "s", "mu", "sigma"),
    "ctlib.papers.tomography.losses.fitted_gaussian": lambda: rays("y1", "y2"),
    "ctlib.papers.tomography.losses.two_sample_kl": lambda: rays("y1", "y2", "mu", "sigma") | {"eta": 0.05},
    "ctlib.papers.tomography.losses.critic_loss": lambda: dict(real=rand(3), fake=rand(3, seed=1)),
    "ctlib.papers.tomography.proper.many_sample_kl": lambda: dict(
        samples=rand(3, 2, 3, 4, seed=5), mu=rand(2, 3, 4), sigma=rand(2, 3, 4, seed=1), eta=0.05
    ),
    "ctlib.papers.tomography.proper.many_sample_floor": lambda: dict(num=4),
    "ctlib.papers.tomography.proper.energy_score": lambda: dict(samples=rand(3, 2, 4, 4, seed=5), truth=rand(2, 4, 4)),
    "ctlib.papers.tomography.lowest_law.semicircle_density": lambda: dict(y=rand(5)),
    "ctlib.papers.tomography.lowest_law.semicircle_cdf": lambda: dict(y=rand(5)),
    "ctlib.papers.tomography.lowest_law.pair_energy": lambda: dict(estimator="ml", eta=0.05, y=rand(5).cumsum(0)),
    "ctlib.papers.tomography.lowest_law.lowest_law": lambda: dict(estimator="ml", eta=0.05, num=21, reach=3.0),
    "ctlib.papers.tomography.lowest_law.gaussian_pairs": lambda: dict(seed=1, num=5),
    "ctlib.papers.tomography.lowest_law.semicircle_pairs": lambda: dict(seed=1, num=5),
    "ctlib.papers.tomography.lowest_law.loss_of_pairs": lambda: dict(pairs=rand(2, 5), estimator="ml", eta=0.05),
    "ctlib.papers.tomography.one_number.distance_to": lambda: dict(law="Gaussian", sorted_samples=rand(9)),
    "ctlib.papers.tomography.exact_case.exact_case": lambda: dict(noise=1.0, n=4, views=3),
    "ctlib.papers.tomography.worlds.nearest": lambda: dict(images=rand(2, 4, 4), others=rand(3, 4, 4, seed=1)),
    "ctlib.papers.tomography.worlds.inside_skin": lambda: dict(images=rand(2, 4, 4)),
    "ctlib.papers.tomography.critic_study.layer_norms": lambda: dict(critic=net(Critic, (2,)), n=8),
    "ctlib.papers.tomography.adversarial.spread": lambda: rays("y1", "y2", "sigma"),
    "ctlib.papers.tomography.adversarial.GanSettings": lambda: dict(**SETTINGS, eta=0.05, z_radius=2.0),
    "ctlib.papers.tomography.adversarial.latents": lambda: dict(settings=GanSettings(**SETTINGS), step=1),
    "ctlib.papers.tomography.latent.to_sphere": lambda: dict(z=rand(2, 3), radius=2.0),
    "ctlib.papers.tomography.latent.random_sphere": lambda: dict(
        shape=(2, 3), generator=stream(), radius=2.0, dtype=torch.float64
    ),
    "ctlib.papers.tomography.latent.sphere_step": lambda: dict(
        z=rand(2, 3), gradient=rand(2, 3, seed=1), lr=0.1, radius=2.0
    ),
    "ctlib.papers.tomography.latent.projected_gradient": lambda: dict(
        objective=lambda z: z.flatten(1)[:, :1].sum(1), z=rand(2, 3), num_iters=2, lr=0.1, radius=2.0
    ),
    "ctlib.papers.tomography.networks.position_maps": lambda: dict(shape=(3, 4)),
    "ctlib.papers.tomography.networks.Positions": lambda: dict(
        call=lambda shape: Positions("fixed", shape), shape=(3, 4)
    ),
    "ctlib.papers.tomography.networks.Positions.forward": lambda: dict(
        call=Positions("fixed", (3, 4)), x=rand(2, 2, 3, 4)
    ),
    "ctlib.papers.tomography.networks.PostProcessor.forward": lambda: dict(
        call=lambda image: net(post)(image), image=rand(2, 2, 8, 8)
    ),
    "ctlib.papers.tomography.networks.EndToEnd.forward": lambda: dict(call=through(), features=rand(2, 3, 8, 8)),
    "ctlib.papers.tomography.networks.EndToEnd.images": lambda: dict(call=through().images, features=rand(2, 3, 8, 8)),
    "ctlib.papers.tomography.networks.EndToEnd.sinogram": lambda: dict(
        call=through().sinogram, features=rand(2, 3, 8, 8)
    ),
    "ctlib.papers.tomography.networks.Sampler.forward": lambda: dict(
        call=through(Sampler, z_channels=2), features=rand(2, 3, 8, 8), z=rand(2, 2, 2, 2, seed=1)
    ),
    "ctlib.papers.tomography.networks.Sampler.prepare": lambda: dict(
        call=through(Sampler, z_channels=2).prepare, features=rand(2, 3, 8, 8)
    ),
    "ctlib.papers.tomography.noise_networks.reading_features": lambda: rays("log", "mu", "sigma"),
    "ctlib.papers.tomography.noise_networks.SpreadNet": lambda: dict(
        call=lambda smallest: SpreadNet(nn.Identity(), smallest)(torch.zeros(1, 3, 2, 2)), smallest=2.0
    ),
    "ctlib.papers.tomography.noise_networks.PosteriorNet": lambda: dict(
        call=lambda smallest: PosteriorNet(nn.Identity(), smallest)(torch.zeros(1, 3, 2, 2)), smallest=2.0
    ),
    "ctlib.papers.tomography.noise_networks.MeanNet.forward": lambda: dict(
        call=noise(MeanNet, 1), features=rand(2, 3, 4, 4)
    ),
    "ctlib.papers.tomography.noise_networks.SpreadNet.forward": lambda: dict(
        call=noise(SpreadNet, 1), features=rand(2, 3, 4, 4)
    ),
    "ctlib.papers.tomography.noise_networks.PosteriorNet.forward": lambda: dict(
        call=noise(PosteriorNet, 2), features=rand(2, 3, 4, 4)
    ),
    "ctlib.papers.tomography.readings.Readings": lambda: dict(signal=3.0, electronic_std=2.0, bits=5, step=1.5),
    "ctlib.papers.tomography.readings.Readings.sample": lambda: dict(
        call=READINGS.sample, y=rand(2, 3), generator=stream()
    ),
    "ctlib.papers.tomography.readings.Readings.line_integrals": lambda: dict(
        call=READINGS.line_integrals, r=10 * rand(2, 3), floor=0.5
    ),
    "ctlib.papers.tomography.readings.Readings.likelihood": lambda: dict(call=READINGS.likelihood, y=rand(4)),
    "ctlib.papers.tomography.readings.PosteriorTable.__call__": lambda: dict(
        call=posterior_table(READINGS, *PRIOR), r=(20 * rand(2, 3)).round()
    ),
    "ctlib.papers.tomography.readings.posterior_table": lambda: dict(readings=READINGS, y=PRIOR[0], weight=PRIOR[1]),
    "ctlib.papers.tomography.readings.line_integral_prior": lambda: dict(y=rand(3, 4), num_bins=5),
    "ctlib.papers.tomography.readings.converter_step": lambda: dict(
        readings=READINGS, y=PRIOR[0], weight=PRIOR[1], almost=1.0, certainty=0.9
    ),
    "ctlib.papers.tomography.residual_unet.group_norm": lambda: dict(channels=4),
    "ctlib.papers.tomography.residual_unet.ResidualBlock": lambda: dict(call=made(ResidualBlock), channels=4),
    "ctlib.papers.tomography.residual_unet.ResidualBlock.forward": lambda: dict(
        call=net(ResidualBlock, 4), x=rand(2, 4, 3, 5)
    ),
    "ctlib.papers.tomography.residual_unet.DownBlock": lambda: dict(
        call=made(DownBlock), in_channels=2, out_channels=4, num_blocks=1, stride=2
    ),
    "ctlib.papers.tomography.residual_unet.DownBlock.forward": lambda: dict(
        call=net(DownBlock, 2, 4, 1), x=rand(2, 2, 4, 5)
    ),
    "ctlib.papers.tomography.residual_unet.UpBlock": lambda: dict(
        call=made(UpBlock), below=2, skip=3, out_channels=4, num_blocks=1
    ),
    "ctlib.papers.tomography.residual_unet.UpBlock.forward": lambda: dict(
        call=net(UpBlock, 2, 3, 4, 1), h=rand(2, 2, 2, 3), skip=rand(2, 3, 4, 5, seed=1)
    ),
    "ctlib.papers.tomography.residual_unet.LatentUpBlock": lambda: dict(
        call=made(LatentUpBlock), below=2, skip=3, out_channels=4, num_blocks=1, z_channels=2
    ),
    "ctlib.papers.tomography.residual_unet.LatentUpBlock.forward": lambda: dict(
        call=net(LatentUpBlock, 2, 3, 4, 1, 2),
        h=rand(2, 2, 2, 3),
        skip=rand(2, 3, 4, 5, seed=1),
        z=rand(2, 2, 2, 2, seed=2),
    ),
    "ctlib.papers.tomography.residual_unet.join": lambda: dict(h=rand(2, 2, 2, 3), skip=rand(2, 3, 4, 5, seed=1)),
    "ctlib.papers.tomography.residual_unet.ResidualUNet": lambda: dict(
        call=made(ResidualUNet),
        in_channels=1,
        out_channels=2,
        width=4,
        num_blocks=1,
        depth=3,
        double_every=1,
        z_channels=2,
    ),
    "ctlib.papers.tomography.residual_unet.ResidualUNet.forward": lambda: dict(
        call=net(ResidualUNet, 2, 1, 4, 1, 1), x=rand(2, 2, 4, 5)
    ),
    "ctlib.papers.tomography.residual_unet.ResidualUNet.deep": lambda: dict(
        call=net(ResidualUNet, 2, 1, 4, 1, 1).deep, x=rand(2, 2, 4, 5)
    ),
    "ctlib.papers.tomography.critic.Critic": lambda: dict(call=made(Critic), widths=(2, 3), in_channels=2),
    "ctlib.papers.tomography.critic.Critic.forward": lambda: dict(call=net(Critic, (2,)), x=rand(2, 1, 4, 8)),
    "ctlib.papers.tomography.critic.conv_norm": lambda: dict(
        call=lambda shape, num_iters: conv(shape, num_iters), shape=(4, 6), num_iters=5
    ),
    "ctlib.papers.tomography.critic.lipschitz_bound": lambda: dict(critic=net(Critic, (2,)), shape=(4, 8)),
    "ctlib.papers.tomography.critic.reshaped_norm": lambda: dict(weight=rand(2, 3, 2, 2)),
    "ctlib.papers.tomography.signal_levels.SignalLevels": lambda: dict(
        detectors=[READINGS], prior=3 * rand(40), step=1.0
    ),
    "ctlib.papers.tomography.signal_levels.SignalLevels.read": lambda: dict(
        call=levels().read, y=rand(2, 3, 4), signal=3.0, seed=1
    ),
    "ctlib.papers.tomography.signal_levels.SignalLevels.features": lambda: dict(
        call=levels().features, r=(10 * rand(2, 3, 4)).round(), signal=3.0
    ),
    "ctlib.papers.tomography.scans.hit": lambda: dict(mu=rand(2, 3, 4)),
    "ctlib.papers.tomography.consistency.data_misfit": lambda: dict(
        project=lambda x: x.mean((1, 2), keepdim=True).expand(-1, 3, 4),
        x=rand(2, 4, 5),
        y=rand(2, 3, 4, seed=1),
        sigma=rand(2, 3, 4, seed=2),
    ),
    "ctlib.papers.tomography.inserts.local_contrast": lambda: dict(
        difference=rand(7, 8), soft=rand(7, 8, seed=1) > 0.2, plain=rand(7, 8, seed=2) > 0.3, radius=1.0
    ),
    "ctlib.papers.tomography.inserts.count_inserts": lambda: dict(
        image=rand(9, 9, seed=3), body=small_body(), volume=Volume((9, 9), 1.0), threshold=0.1
    ),
    "ctlib.papers.tomography.bodies.body": lambda: dict(seed=3, volume=Volume((12, 12), 12.0), dtype=torch.float64),
    "ctlib.papers.tomography.experiment.average_of_views": lambda: dict(call=averaged, spacing=0.1),
}


def conv(shape, num_iters):
    from ctlib.papers.tomography.critic import conv_norm

    return conv_norm(net(nn.Conv2d, 2, 3, 3, 1, 1), shape, num_iters)


def averaged(spacing):
    from ctlib.geometry import ParallelBeam
    from ctlib.papers.tomography.experiment import average_of_views
    from ctlib.projector import Projector

    A = Projector(ParallelBeam(Volume((4, 4), 1.0), 3, 6, 1.0), "torch")
    return average_of_views(A, spacing)(rand(3, 6))


RECORD, WIRING = "a record that a function returns", "wiring of the chapter; its numbers are checked by what it calls"
SKIP = {
    "ctlib.papers.tomography.adversarial.GanBatch": RECORD,
    "ctlib.papers.tomography.adversarial.Players.*": WIRING,
    "ctlib.papers.tomography.adversarial.fit_gan": WIRING,
    "ctlib.papers.tomography.adversarial.match_term": WIRING,
    "ctlib.papers.tomography.bench.*": WIRING,
    "ctlib.papers.tomography.bodies.Body": RECORD,
    "ctlib.papers.tomography.bodies.Insert": RECORD,
    "ctlib.papers.tomography.bodies.bodies": "a list of seeds for body",
    "ctlib.papers.tomography.contenders.*": WIRING,
    "ctlib.papers.tomography.courses.*": "numbers of histories: tests/papers/tomography/test_courses.py",
    "ctlib.papers.tomography.critic_study.steepest": "a gradient of a critic: by Critic",
    "ctlib.papers.tomography.exact_case.ExactCase*": WIRING,
    "ctlib.papers.tomography.exact_case.judged_exactly": WIRING,
    "ctlib.papers.tomography.exact_case.judged_losses": "trains: by trained_generator",
    "ctlib.papers.tomography.exact_case.trained_generator": "trains: tests/papers/tomography/test_exact_case.py",
    "ctlib.papers.tomography.experiment.Family*": WIRING,
    "ctlib.papers.tomography.experiment.paper_rates": "options of `Settings`, which checks them",
    "ctlib.papers.tomography.generator_study.*": WIRING,
    "ctlib.papers.tomography.generator_verdicts.*": WIRING,
    "ctlib.papers.tomography.image_scores.*": WIRING,
    "ctlib.papers.tomography.image_study.*": WIRING,
    "ctlib.papers.tomography.image_verdicts.*": WIRING,
    "ctlib.papers.tomography.inserts.InsertCount": RECORD,
    "ctlib.papers.tomography.losses.distillation_loss": "pairs of tensors, checked by gaussian_kl",
    "ctlib.papers.tomography.lowest_law.best_ratio": "300 000 pairs: by loss_of_pairs",
    "ctlib.papers.tomography.lowest_law.floor_rows": "300 000 pairs: by loss_of_pairs",
    "ctlib.papers.tomography.networks.Sampler.render": "maps as prepare gives them",
    "ctlib.papers.tomography.noise_study.*": WIRING,
    "ctlib.papers.tomography.noise_verdicts.*": WIRING,
    "ctlib.papers.tomography.one_number.courses_to": "trains: by trained_numbers",
    "ctlib.papers.tomography.one_number.of_kind": "losses by name",
    "ctlib.papers.tomography.one_number.trained_numbers": "trains: tests/papers/tomography/test_proper_scores.py",
    "ctlib.papers.tomography.readings.PosteriorTable": RECORD,
    "ctlib.papers.tomography.residual_unet.ResidualUNet.late": "maps as deep gives them",
    "ctlib.papers.tomography.residual_unet.residual_blocks": "made within networks, of the global stream",
    "ctlib.papers.tomography.residual_unet.unet_of_size": "the sizes of the paper: by ResidualUNet",
    "ctlib.papers.tomography.sample_numbers.*": "of samples: tests/papers/tomography/test_sample_numbers.py",
    "ctlib.papers.tomography.samples.*": WIRING,
    "ctlib.papers.tomography.scans.Scans*": WIRING,
    "ctlib.papers.tomography.scans.both": WIRING,
    "ctlib.papers.tomography.scans.predict": WIRING,
    "ctlib.papers.tomography.signal_levels.SignalLevels.drawn": "one seed a sinogram: by read and features",
    "ctlib.papers.tomography.throughput.frames_per_second": "measures seconds",
    "ctlib.papers.tomography.warm_start.*": "copies weights: tests/papers/tomography/test_warm_start.py",
    "ctlib.papers.tomography.worlds.World": RECORD,
    "ctlib.papers.tomography.worlds.in_turn": "slices in turn of each person",
    "ctlib.papers.tomography.worlds.real_world": WIRING,
    "ctlib.papers.tomography.worlds.synthetic_world": WIRING,
    "ctlib.papers.tomography.worlds.world_of": WIRING,
}
NOISE = "noise of another shape is other noise"
FITS = {"features: axis 2 + 1": "the back-projection decides what fits", "features: axis 3 + 1": "likewise"}
SAMPLE = {"z: batch": "all axes but the first are one sample"}
KERNEL = "a kernel of any number of axes"
ALLOW = {
    "ctlib.papers.tomography.proper.many_sample_kl": {
        "samples: missing axis": "the first axis counts samples",
        "samples: batch": "the first axis counts samples",
    },
    "ctlib.papers.tomography.scans.hit": {"nan": "a ray of unknown estimate does not count as through the body"},
    "ctlib.papers.tomography.readings.Readings.sample": {
        "missing axis": NOISE,
        "batch": NOISE,
        "float32": "rounding moves photons",
    },
    "ctlib.papers.tomography.signal_levels.SignalLevels": {"prior: missing axis": "a histogram of values"},
    "ctlib.papers.tomography.signal_levels.SignalLevels.read": {
        "missing axis": NOISE,
        "batch": NOISE,
        "float32": "rounding moves photons",
    },
    "ctlib.papers.tomography.critic.reshaped_norm": {"missing axis": KERNEL, "batch": KERNEL},
    "ctlib.papers.tomography.latent.to_sphere": SAMPLE,
    "ctlib.papers.tomography.latent.projected_gradient": SAMPLE,
    "ctlib.papers.tomography.networks.EndToEnd.forward": FITS,
    "ctlib.papers.tomography.networks.Sampler.forward": FITS,
    "ctlib.papers.tomography.networks.Sampler.prepare": FITS,
}
