"""The deep image prior: operators, network, fit, stopping rules, theory and the chapter's runs."""

import torch
from torch import nn

from ctlib.nets.seeded import seeded
from ctlib.papers.dip import bodies, operators
from ctlib.papers.dip.fit import Fit, Guard, MovingVariance
from ctlib.papers.dip.network import SkipNet, skip_prior
from ctlib.papers.dip.tasks import make_task, task_stream


def rand(*shape, seed=0):
    return 0.1 + torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def known():
    return rand(4, 6, seed=1) > 0.5


SMALL = {"channels": 2, "skip_channels": 1, "scales": 1}
CURVE = (3.0, 2.0, 1.0, 0.5, 0.7, 0.9)


def net():
    return skip_prior((4, 6), 0, 2, **SMALL)[0].double().eval()


def moved(weight):
    moving = MovingVariance(weight)
    return [moving.update(rand(3, 4, seed=s)) for s in (0, 1)]


def second(x):
    moving = MovingVariance()
    moving.update(rand(3, 4, seed=1))
    return moving.update(x)


def guarded(drop_db):
    guard = Guard(nn.Linear(1, 1), drop_db)
    return [guard.accept(p) for p in (10.0, 9.0, 1.0)]


def made(make):
    return lambda **options: seeded(0, make, **options)


def fitted(**options):
    net, z = skip_prior((4, 6), 0, 2, **SMALL)
    from ctlib.papers.dip.fit import fit_dip

    return fit_dip(operators.Identity((4, 6)), net=net.double(), z=z.double(), generator=stream(), **options).energy


EXAMPLES = {
    "ctlib.papers.dip.operators.Identity.__call__": lambda: dict(call=operators.Identity((4, 6)), x=rand(2, 4, 6)),
    "ctlib.papers.dip.operators.Identity.T": lambda: dict(call=operators.Identity((4, 6)).T, y=rand(2, 4, 6)),
    "ctlib.papers.dip.operators.Identity": lambda: dict(shape=(4, 6)),
    "ctlib.papers.dip.operators.Mask": lambda: dict(mask=known()),
    "ctlib.papers.dip.operators.Mask.__call__": lambda: dict(call=operators.Mask(known()), x=rand(2, 4, 6)),
    "ctlib.papers.dip.operators.Mask.T": lambda: dict(call=operators.Mask(known()).T, y=rand(2, 4, 6)),
    "ctlib.papers.dip.operators.Downsample": lambda: dict(shape=(4, 6), factor=2),
    "ctlib.papers.dip.operators.Downsample.__call__": lambda: dict(
        call=operators.Downsample((4, 6), 2), x=rand(2, 4, 6)
    ),
    "ctlib.papers.dip.operators.Downsample.T": lambda: dict(call=operators.Downsample((4, 6), 2).T, y=rand(2, 2, 3)),
    "ctlib.papers.dip.operators.lanczos_kernel": lambda: dict(factor=2, lobes=2),
    "ctlib.papers.dip.operators.bernoulli_mask": lambda: dict(shape=(4, 6), keep=0.5, generator=stream()),
    "ctlib.papers.dip.operators.box_mask": lambda: dict(shape=(4, 6), size=0.5),
    "ctlib.papers.dip.operators.text_mask": lambda: dict(shape=(30, 40), scale=1),
    "ctlib.papers.dip.network.SkipNet": lambda: dict(
        call=made(SkipNet), in_channels=2, out_channels=1, channels=2, skip_channels=1, scales=1
    ),
    "ctlib.papers.dip.network.SkipNet.forward": lambda: dict(call=net(), z=rand(1, 2, 4, 6)),
    "ctlib.papers.dip.network.skip_prior": lambda: dict(shape=(4, 6), seed=1, in_channels=2, **SMALL),
    "ctlib.papers.dip.fit.data_energy": lambda: dict(A=operators.Identity((4, 6)), x=rand(4, 6), x0=rand(4, 6, seed=1)),
    "ctlib.papers.dip.fit.perturbed": lambda: dict(z=rand(1, 2, 4, 6), std=0.1, generator=stream()),
    "ctlib.papers.dip.fit.moving_average": lambda: dict(average=rand(4, 6), x=rand(4, 6, seed=1), gamma=0.9),
    "ctlib.papers.dip.fit.MovingVariance": lambda: dict(call=moved, weight=0.1),
    "ctlib.papers.dip.fit.MovingVariance.update": lambda: dict(call=second, x=rand(3, 4)),
    "ctlib.papers.dip.fit.Guard": lambda: dict(call=guarded, drop_db=5.0),
    "ctlib.papers.dip.fit.Fit.first": lambda: dict(call=Fit(list(CURVE)).first, steps=3),
    "ctlib.papers.dip.fit.fit_dip": lambda: dict(
        call=fitted,
        x0=rand(4, 6),
        truth=rand(4, 6, seed=1),
        num_iters=2,
        lr=0.01,
        reg_noise=0.03,
        ema=0.9,
        guard_db=5.0,
    ),
    "ctlib.papers.dip.stopping.stop_at_discrepancy": lambda: dict(energy=CURVE, sigma=1.0),
    "ctlib.papers.dip.stopping.stop_at_variance": lambda: dict(variance=CURVE, patience=2, burn_in=1),
    "ctlib.papers.dip.stopping.stop_at_held_out": lambda: dict(held_out=CURVE, patience=2, window=3),
    "ctlib.papers.dip.theory.mean_frequency": lambda: dict(images=rand(2, 4, 6)),
    "ctlib.papers.dip.theory.expected_error": lambda: dict(
        kappa=rand(4), initial=rand(4, seed=1), sigma=0.1, t=rand(3, seed=2)
    ),
    "ctlib.papers.dip.theory.expected_energy": lambda: dict(
        kappa=rand(4), initial=rand(4, seed=1), sigma=0.1, t=rand(3, seed=2)
    ),
    "ctlib.papers.dip.tasks.make_task": lambda: dict(name="denoise", truth=rand(4, 8), seed=1, sigma=0.1),
    "ctlib.papers.dip.tasks.impedance_targets": lambda: dict(truth=rand(4, 6), seed=1, sigmas=(0.1, 0.3)),
    "ctlib.papers.dip.tasks.rescaled_targets": lambda: dict(truth=rand(4, 6), seed=1, variances=(0.01, 1.0)),
    "ctlib.papers.dip.tasks.gray_slice": lambda: dict(mu=rand(4, 6), low=0.2, high=0.8),
    "ctlib.papers.dip.bodies.body_of": lambda: dict(
        call=lambda hu, pixel_mm: bodies.body_of("x", hu, pixel_mm, "").gray, hu=100 * rand(5, 6), pixel_mm=1.0
    ),
    "ctlib.papers.dip.bodies.inside_skin": lambda: dict(hu=-900 * rand(5, 6)),
    "ctlib.papers.dip.bodies.reduced": lambda: dict(
        call=lambda hu, n: bodies.reduced(hu, n)[0], hu=100 * rand(5, 6), n=3
    ),
    "ctlib.papers.dip.bodies.middle": lambda: dict(
        call=lambda hu, n, multiple: bodies.middle(hu, n, multiple)[0], hu=100 * rand(5, 6), n=3, multiple=1
    ),
    "ctlib.papers.dip.bodies.measured_noise": lambda: dict(image=rand(6, 8)),
    "ctlib.papers.dip.bodies.synthetic_body": lambda: dict(
        call=lambda n, seed: bodies.synthetic_body(n, seed).gray, n=8, seed=1
    ),
    "ctlib.papers.dip.experiment.psnr_db": lambda: dict(x=rand(4, 6), truth=rand(4, 6, seed=1), mask=known()),
    "ctlib.papers.dip.experiment.hold_out": lambda: dict(task=make_task("denoise", rand(4, 6), 0), keep=0.5, seed=1),
    "ctlib.papers.dip.rivals.fill_tv": lambda: dict(task=make_task("restore", rand(4, 6), 0), weight=0.1, num_iters=3),
    "ctlib.papers.dip.rivals.denoise_tv": lambda: dict(task=make_task("denoise", rand(4, 6), 0), weight=0.1),
    "ctlib.papers.dip.scan.noisy_scan": lambda: dict(
        A=operators.Identity((4, 6)), x=rand(4, 6), photons=1000.0, seed=1
    ),
    "ctlib.papers.dip.scan.blurred": lambda: dict(x=rand(2, 5, 6), std=0.7),
}
EXAMPLES["ctlib.papers.dip.tasks.task_stream"] = lambda: dict(
    call=lambda seed: torch.rand(2, generator=task_stream(10, seed)), seed=1
)
RUNS = "the chapter's runs: whole fits, whose parts are walked; their parameters are declared in the chapter"
ON_TASK = "a whole method on a record of a task; tested on known images"
SKIP = {
    "ctlib.papers.dip.bodies.Body*": "a record of a slice",
    "ctlib.papers.dip.bodies.own_body": "reads a file; tested with files",
    "ctlib.papers.dip.bodies.real_body": "reads the sample; tested with it",
    "ctlib.papers.dip.budget.*": RUNS,
    "ctlib.papers.dip.compare.*": RUNS,
    "ctlib.papers.dip.experiment.Setup*": RUNS,
    "ctlib.papers.dip.study.measured_bodies": RUNS,
    "ctlib.papers.dip.experiment.fit_*": RUNS,
    "ctlib.papers.dip.experiment.kernel_spectrum": RUNS,
    "ctlib.papers.dip.experiment.target_energies": RUNS,
    "ctlib.papers.dip.plan.*": RUNS,
    "ctlib.papers.dip.rivals.*": ON_TASK,
    "ctlib.papers.dip.scan.*": ON_TASK,
    "ctlib.papers.dip.stopping.stops_of": "the rules, which are walked, on records of fits",
    "ctlib.papers.dip.fit.Fit": "a record of a fit",
    "ctlib.papers.dip.fit.Guard.accept": "the fit of a step that failed is any number, or none",
    "ctlib.papers.dip.fit.log_step": "writes into a record of a fit",
    "ctlib.papers.dip.resume.*": "what a checkpoint holds and says of a fit whose arguments are checked",
    "ctlib.papers.dip.network.Scale*": "a part of SkipNet, which checks",
    "ctlib.papers.dip.network.hourglass": "SkipNet with other defaults, weights of the global stream",
    "ctlib.papers.dip.tasks.Task": "a record of a task",
    "ctlib.papers.dip.theory.tangent_kernel": "differentiates a network, which checks",
}
STREAM, WIDTHS = "the noise of another shape is other noise", {"list": "one width a scale", "numpy axis": "likewise"}
ALLOW = {
    "ctlib.papers.dip.network.SkipNet": WIDTHS,
    "ctlib.papers.dip.network.skip_prior": WIDTHS,
    "ctlib.papers.dip.fit.perturbed": {"batch": STREAM},
    "ctlib.papers.dip.fit.fit_dip": {"truth: None": "a fit need not know the truth"},
}
