"""Deep image prior: fit an untrained network to one degraded image, and keep the whole trajectory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.errors import ArgumentError, ConvergenceError
from ctlib.metrics import psnr
from ctlib.papers.dip.resume import CURVES, Progress, identity
from ctlib.train.loop import Run, train
from ctlib.train.precision import Precision


def _observed(A, x: Tensor, x0: Tensor) -> tuple[Tensor, Tensor]:
    """An image and what is observed of it, if they fit A and each other."""
    x = contract.tensor("x", x, A.domain_shape)
    x0 = contract.alike("x0", contract.tensor("x0", x0, A.range_shape), "x", x)
    if x0.shape != (*x.shape[: x.ndim - len(A.domain_shape)], *A.range_shape) or not x0.numel():
        raise ArgumentError("x, x0", f"shapes {tuple(x.shape)}, {tuple(x0.shape)}", "equal leading axes, not empty")
    return x, x0


def data_energy(A, x: Tensor, x0: Tensor) -> Tensor:
    """E(x; x0) = |A x - x0|^2 per observed entry; entries a mask hides count neither above nor below the line."""
    x, x0 = _observed(A, x, x0)
    count = getattr(A, "num_observed", x0.numel())
    return (A(x) - x0).square().sum() / count


def perturbed(z: Tensor, std: float, generator: torch.Generator) -> Tensor:
    """z + std xi with fresh xi ~ N(0, I): the noise regularization of every step."""
    z, std = contract.tensor("z", z), contract.number("std", std, at_least=0)
    if std == 0:
        return z
    return z + std * torch.randn(z.shape, generator=generator).to(z)


def _like(name: str, past: Tensor | None, x: Tensor) -> Tensor:
    """The image x, if it is of the kind of what was before."""
    if (
        past is not None
        and contract.alike("x", contract.tensor("x", x), name, contract.tensor(name, past)).shape != past.shape
    ):
        raise ArgumentError(name, f"shape {tuple(past.shape)}", f"that of x, {tuple(x.shape)}")
    return contract.tensor("x", x)


def moving_average(average: Tensor | None, x: Tensor, gamma: float) -> Tensor:
    """gamma average + (1 - gamma) x; the first image starts it."""
    x, gamma = _like("average", average, x), contract.number("gamma", gamma, at_least=0, at_most=1)
    return x.clone() if average is None else gamma * average + (1 - gamma) * x


class MovingVariance:
    """Exponential moving variance of a sequence of images, {cite}`wang2023early`: how much the output still moves.

    m <- m + a (x - m),    v <- (1 - a)(v + a |x - m|^2 / N)
    """

    def __init__(self, weight: float = 0.1):
        self.weight, self.mean, self.value = contract.number("weight", weight, above=0, at_most=1), None, 0.0

    def update(self, x: Tensor) -> float:
        x = _like("mean", self.mean, x)
        if self.mean is None:
            self.mean = x.clone()
        change = x - self.mean
        self.mean = self.mean + self.weight * change
        self.value = (1 - self.weight) * (self.value + self.weight * float(change.square().mean()))
        return self.value

    def state_dict(self) -> dict:
        return {"mean": self.mean, "value": self.value}

    def load_state_dict(self, state: dict) -> None:
        self.mean, self.value = state["mean"], state["value"]


class Guard:
    """Falls back to the last good weights when the fit drops by more than `drop_db` within one step."""

    def __init__(self, net: nn.Module, drop_db: float):
        drop_db = contract.number("drop_db", drop_db, at_least=0, finite=False)
        self.drop_db, self.psnr, self.restored = drop_db, -float("inf"), 0
        self.now, self.weights = [p.detach() for p in net.parameters()], None  # as they are, and the last good ones

    def accept(self, psnr: float) -> bool:
        """Keep the weights if the fit is sound and return True; otherwise restore the last kept ones."""
        if self.weights is not None and not psnr >= self.psnr - self.drop_db:
            for p, kept in zip(self.now, self.weights, strict=True):
                p.copy_(kept)
            self.restored += 1
            return False
        self.weights, self.psnr = [p.clone() for p in self.now], psnr
        return True

    def state_dict(self) -> dict:
        return {"psnr": self.psnr, "restored": self.restored, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        self.psnr, self.restored, self.weights = state["psnr"], state["restored"], state["weights"]


@dataclass
class Fit:
    """Trajectory of one fit; lists have one entry per step, taken before the step.

    energy        data energy E(f_theta(z); x0)
    psnr_fit      PSNR of A f against the fitted x0 [dB], at most 200: what can be seen without truth
    psnr_truth    PSNR of f against the truth [dB], data range 1, inside the region; empty without truth
    psnr_average  the same of the exponential average
    variance      exponential moving variance of the output, for a stopping rule
    held_out      energy on entries kept from the fit, if any were
    snapshots     {step: image} of the steps asked for;  averages: the same of the exponential average
    average       the final exponential average, (Y, X)
    last          the final output, (Y, X)
    restored      how often the guard stepped in
    """

    energy: list[float] = field(default_factory=list)
    psnr_fit: list[float] = field(default_factory=list)
    psnr_truth: list[float] = field(default_factory=list)
    psnr_average: list[float] = field(default_factory=list)
    variance: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    averages: dict[int, Tensor] = field(default_factory=dict)
    average: Tensor | None = None
    last: Tensor | None = None
    restored: int = 0

    def first(self, steps: int) -> "Fit":
        """The trajectory as it would be, had the fit ended after steps; of images, those kept by then."""
        steps = contract.count("steps", steps)
        if steps >= len(self.energy) > 0:
            return self
        images = {k: {t: x for t, x in getattr(self, k).items() if t < steps} for k in ("snapshots", "averages")}
        ends = {"last": images["snapshots"].get(steps - 1), "average": images["averages"].get(steps - 1)}
        return Fit(**{name: getattr(self, name)[:steps] for name in CURVES}, **images, **ends)

    def best(self, averaged: bool = False) -> tuple[int, float]:
        """(step, PSNR) of the best output against truth: what no rule without truth can promise."""
        values = torch.tensor(self.psnr_average if averaged else self.psnr_truth)
        return int(values.argmax()), float(values.max())


def _numbers(num_iters: int, lr: float, reg_noise: float, ema: float, guard_db: float) -> tuple:
    """The settings of a fit, checked before it starts."""
    bounds = {"lr": {"above": 0}, "reg_noise": {"at_least": 0}, "ema": {"at_least": 0, "at_most": 1}}
    bounds["guard_db"] = {"at_least": 0, "finite": False}
    values = {"lr": lr, "reg_noise": reg_noise, "ema": ema, "guard_db": guard_db}
    return contract.count("num_iters", num_iters, 1), *(contract.number(n, v, **bounds[n]) for n, v in values.items())


def _images(A, x0: Tensor, truth: Tensor | None, region: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Observation, truth and region, if they are of A's range and domain and on one device."""
    if region is not None and contract.mask("region", region, A.domain_shape).shape != A.domain_shape:
        raise ArgumentError("region", f"shape {tuple(region.shape)}", f"that of an image, {A.domain_shape}")
    for name, t, shape in (("x0", x0, A.range_shape), ("truth", truth, A.domain_shape)):
        if t is None and name == "truth":
            continue
        if contract.tensor(name, t, shape).shape != shape or t.device != x0.device:
            raise ArgumentError(name, f"shape {tuple(t.shape)} on {t.device}", f"one image {shape} on x0's device")
    return x0, truth, region


def fit_dip(
    A,
    x0: Tensor,
    net: nn.Module,
    z: Tensor,
    num_iters: int,
    generator: torch.Generator,
    lr: float = 0.01,
    reg_noise: float = 0.03,
    ema: float = 0.99,
    guard_db: float = 5.0,
    truth: Tensor | None = None,
    held_out: tuple | None = None,
    snapshots: Sequence[int] = (),
    callback: Callable[[int, Tensor], None] | None = None,
    path: str | Path | None = None,
    every: int = 0,
    precision: str = "float32",
    anew: bool = False,
    region: Tensor | None = None,
) -> Fit:
    """Deep image prior, {cite}`ulyanov2018`: Adam on theta for min E(f_theta(z); x0), z fixed.

    A           linear operator of the task, (Y, X) -> shape of x0
    x0          observation, same device as net and z
    generator   stream of the noise added to z (CPU)
    held_out    (operator, observation) of entries not fitted: their energy is logged
    snapshots   steps whose output is kept, and its average
    callback    called with step and output after every step that is computed, not after those that a checkpoint knows
    path, every, anew  of a checkpoint, as in `ctlib.train.train`: a fit that was stopped goes on bit by bit, one that
                is finished is loaded; a DataError says in what that of another fit differs
    precision   of the network: "float32" (its own type), "bf16" or "auto", as in `ctlib.train.Settings`
    region      bool (Y, X): where the PSNR against the truth is taken; everywhere without

    ConvergenceError when the energy is not finite.
    """
    num_iters, lr, reg_noise, ema, guard_db = _numbers(num_iters, lr, reg_noise, ema, guard_db)
    x0, truth, region = _images(A, x0, truth, region)
    half = Precision(contract.choice("precision", precision, ("float32", "bf16", "auto")), x0.device)
    fit, guard, moving = Fit(), Guard(half.prepare(net), guard_db), MovingVariance()
    optimizer = torch.optim.Adam(net.parameters(), lr, fused=True)

    def update(step: int) -> dict[str, float]:
        x = half(net, perturbed(z, reg_noise, generator))[0, 0]  # (Y, X)
        energy = data_energy(A, x, x0)
        if not torch.isfinite(energy):
            raise ConvergenceError(f"fit_dip: the energy is {energy.item()} at step {step}; lower lr = {lr}")
        fit.last, fit.average = x.detach(), moving_average(fit.average, x.detach(), ema)
        fit.variance.append(moving.update(fit.last))
        log_step(fit, energy, fit.last, fit.average, truth, held_out, region)
        if step in snapshots:
            fit.snapshots[step], fit.averages[step] = fit.last.clone(), fit.average.clone()
        if guard.accept(fit.psnr_fit[-1]):
            half.descend(optimizer, energy, lr)
        fit.restored = guard.restored
        if callback is not None:
            callback(step, fit.last)
        return {}

    run = Run({"net": net, "fit": Progress(fit, guard, moving, optimizer, generator, num_iters)})
    if path is not None:
        settings = {"num_iters": num_iters, "lr": lr, "reg_noise": reg_noise, "ema": ema, "guard_db": guard_db}
        settings |= {"precision": half.name, "snapshots": repr(sorted(snapshots))}
        images = {"x0": x0, "truth": truth, "region": region, "z": z.flatten()}
        run.about = identity(A, net, optimizer, generator, settings, images, held_out)
    train(run, update, num_iters, path, every, device=x0.device, anew=anew)
    return fit


def log_step(
    fit: Fit, energy: Tensor, x: Tensor, average: Tensor, truth: Tensor | None, held_out, region: Tensor | None = None
) -> None:
    """Append one step's figures to a trajectory."""
    fit.energy.append(float(energy.detach()))
    fit.psnr_fit.append(-10 * math.log10(max(fit.energy[-1], 1e-20)))  # the energy is a mean squared error
    if truth is not None:
        fit.psnr_truth.append(_psnr(x, truth, region))
        fit.psnr_average.append(_psnr(average, truth, region))
    if held_out is not None:
        fit.held_out.append(float(data_energy(held_out[0], x, held_out[1])))


def _psnr(x: Tensor, truth: Tensor, region: Tensor | None) -> float:
    """In double precision: `Fit.best` compares steps that hardly differ."""
    return float(psnr(x.double(), truth.double(), data_range=1.0, mask=region))
