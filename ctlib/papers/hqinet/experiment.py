"""The chapter's runs: a cohort, and trainings that differ in one thing alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib import contract
from ctlib.data.pairs import DosePair, Stacks, require_disjoint, split_patients, stacks
from ctlib.errors import ArgumentError
from ctlib.losses import l1_ssim_loss
from ctlib.nets.unet import UNet, make_unet
from ctlib.papers.hqinet.cohort import DoseScanner, gray_of
from ctlib.papers.hqinet.comparison import mean_psnr
from ctlib.papers.hqinet.ldct import Cohort, find_cohort, read_cohort
from ctlib.papers.hqinet.ldct_split import SHARES, divide
from ctlib.physics.counts import line_integrals_from_counts, transmission_counts
from ctlib.recon.fbp import fbp
from ctlib.train import Run, Settings, fit
from ctlib.units import mu_from_hu

TUNING_SEED = 100  # of trainings that choose a learning rate; used nowhere else


def synthetic_cohort(
    scanner: DoseScanner, photons: float, doses: Sequence[float], num_patients: int, num_slices: int
) -> dict[str, list[DosePair]]:
    """Random torsos, divided by patient: {part: patients}; the low doses alternate and give names L... and C...

    photons  a reading in the open beam at full dose; doses are fractions of it
    """
    num_patients = contract.count("num_patients", num_patients, len(SHARES))
    dose_of = {f"{'LCN'[k % len(doses)]}{k:03d}": doses[k % len(doses)] for k in range(num_patients)}
    parts = split_patients(list(dose_of), SHARES, 0)
    patient = partial(scanner.patient, photons=photons, num_slices=num_slices)
    return {p: [patient(int(i[1:]), dose=dose_of[i], name=i) for i in names] for p, names in parts.items()}


def recorded_cohort(
    source: Cohort | str | Path, n: int, num_slices: int, least: int = 3, seed: int = 0
) -> dict[str, list[DosePair]]:  # fmt: skip
    """Exams of a folder, or of what `find_cohort` found there, at n x n pixels: {part: runs of patients}, as `divide`.

    num_slices, least  adjacent slices taken of a patient, and the fewest in a run: twice the margin of `stacks`, plus 1
    """
    cohort = source if isinstance(source, Cohort) else find_cohort(source)
    parts = divide(cohort, least, seed)[0]
    return {
        p: list(read_cohort(cohort, names, size=n, num_slices=num_slices, least=least)) for p, names in parts.items()
    }


def sample_sets(
    cohort: Mapping[str, Sequence[DosePair]], num_slices: int, margin: int, device: str = "cpu"
) -> dict[str, Stacks]:
    """The samples of every part, as `stacks` makes them; ArgumentError when two parts share a patient."""
    if empty := [part for part, pairs in cohort.items() if not pairs]:
        raise ArgumentError("cohort", f"no patients in {', '.join(empty)}", "patients in every part")
    require_disjoint({part: [p.patient for p in pairs] for part, pairs in cohort.items()})
    return {part: stacks(pairs, num_slices, margin).to(device) for part, pairs in cohort.items()}


def thinned_pair(
    scanner: DoseScanner, truth: Tensor, photons: float, dose: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Gray images (low, full) whose low dose is a share of the full dose's own photons, so that their noise is shared.

    truth  (Z, Y, X) gray
    """
    fine = truth.repeat_interleave(2, 1).repeat_interleave(2, 2)  # the scanner's anatomy has half the pixel size
    full = transmission_counts(scanner.forward(mu_from_hu(2000 * fine - 1000)), photons, generator)
    low = torch.binomial(full, torch.full_like(full, dose), generator=generator)
    counts = ((low, dose * photons), (full, photons))
    low, full = (gray_of(fbp(scanner.image, line_integrals_from_counts(c, i))) for c, i in counts)
    return low, full


def slices_taken(net: nn.Module, inputs: Tensor) -> Tensor:
    """The middle slices of stacks (N, S, Y, X), as many as the network's first convolution reads."""
    num = next(m for m in net.modules() if isinstance(m, nn.Conv2d)).in_channels
    first = inputs.shape[1] // 2 - num // 2
    return inputs[:, first : first + num]


@torch.no_grad()
def restore(net: nn.Module, inputs: Tensor) -> Tensor:
    """Output (N, 1, Y, X) of a network for stacks of slices (N, S, Y, X), a few at a time."""
    net.eval()
    return torch.cat([net(slices_taken(net, x)) for x in inputs.split(8)]).float()


@dataclass(frozen=True)
class Plan:
    """What trainings share that are to be compared.

    sets         samples of "train", "val" (curves and rates) and "test", on the device that trains
    settings     of `fit`; each training puts its own seed there
    alpha        weight of the L1 loss in [0, 1]; SSIM has the rest
    checkpoints  folder where a stopped training finds what it had; empty: none
    looks        how often a training is asked for the validation slices on its way, for its curve
    """

    sets: Mapping[str, Stacks]
    settings: Settings
    alpha: float = 0.85
    checkpoints: str = ""
    looks: int = 8

    def __post_init__(self):
        contract.number("alpha", self.alpha, at_least=0, at_most=1)
        contract.count("looks", self.looks)
        if self.settings.steps < 1:
            raise ArgumentError("steps", self.settings.steps, "a whole number >= 1: nothing would be trained")
        for part in ("train", "val", "test"):
            if part not in self.sets or not len(self.sets[part]):
                raise ArgumentError("sets", f"no samples to {part}", "samples of every part")

    def at_rate(self, lr: float) -> Plan:
        """The same with another learning rate."""
        return replace(self, settings=replace(self.settings, lr=lr))

    def checkpoint(self, name: str, seed: int) -> Path | None:
        """Where a training is kept, None without a folder."""
        return Path(self.checkpoints, f"{name.replace(' ', '-')}-{seed}.ckpt") if self.checkpoints else None


@dataclass(frozen=True)
class Trained:
    """A training's end: the network, its output (N, 1, Y, X) on the test slices, {step: validation PSNR [dB]}."""

    net: nn.Module
    output: Tensor
    curve: dict[int, float]


def train_once(plan: Plan, build: Callable[[int], nn.Module], seed: int, name: str) -> Trained:
    """One training of build(seed), asked for the validation slices on its way as often as the plan says."""
    samples, val, test = (plan.sets[part] for part in ("train", "val", "test"))
    device, steps = samples.inputs.device, plan.settings.steps
    net = build(seed).to(device, memory_format=torch.channels_last)  # convolutions are a tenth faster
    often = max(1, steps // plan.looks) if plan.looks else steps + 1
    inputs = slices_taken(net, samples.inputs)

    def fetch(indices: Tensor, seeds: list[int]) -> tuple[Tensor, Tensor]:
        indices = indices.to(device)
        return inputs[indices], samples.full[indices]

    def watch(run: Run) -> None:
        if run.step % often == 0:
            run.history.setdefault("validation", []).append(mean_psnr(restore(net, val.inputs), val.full))

    loss = partial(l1_ssim_loss, alpha=plan.alpha, beta=1 - plan.alpha, data_range=1.0)
    settings = replace(plan.settings, seed=seed)
    run = fit(net, loss, fetch, len(inputs), settings, plan.checkpoint(name, seed), 50, watch)
    curve = dict(zip(range(often, steps + 1, often), run.history.get("validation", ()), strict=True))
    return Trained(net, restore(net, test.inputs), curve)


def train_seeds(plan: Plan, build: Callable[[int], nn.Module], seeds: Sequence[int], name: str) -> list[Trained]:
    """One training a seed, of weights and of the order of the samples."""
    return [train_once(plan, build, seed, name) for seed in seeds]


def validation_psnr(
    plan: Plan, build: Callable[[int], nn.Module], name: str, rates: Sequence[float]
) -> dict[float, float]:
    """{learning rate: PSNR on the validation slices [dB]} of one training each, all from a seed of their own."""
    val, found = plan.sets["val"], {}
    for rate in rates:
        trained = train_once(replace(plan.at_rate(rate), looks=0), build, TUNING_SEED, f"{name} at {rate}")
        found[rate] = mean_psnr(restore(trained.net, val.inputs), val.full)
    return found


def plain_unet(seed: int, num_slices: int, width: int) -> UNet:
    """U-Net of three halvings, width to 8 width channels; its last layer starts at 0, as HQINet's."""
    net = make_unet(seed, num_slices, 1, width=tuple(width << k for k in range(4)), depth=3, norm=True)
    nn.init.zeros_(net.head[-1].weight)
    return net
