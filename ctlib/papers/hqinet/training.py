"""One training of the chapter: which network, which samples, which settings; and what comes out of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ctlib import contract, metrics
from ctlib.losses import l1_ssim_loss
from ctlib.nets.seeded import matched_width, num_parameters
from ctlib.nets.unet import UNet, make_unet
from ctlib.papers.hqinet.network import make_hqinet
from ctlib.papers.hqinet.redcnn import make_redcnn
from ctlib.train import Settings, fit
from ctlib.train.precision import Precision

WIDTHS = {"stem": 64, "mids": (64, 128, 256, 512), "aspp": 256, "low": 48, "decoder": 256}  # the paper's size
KINDS = ("hqinet", "unet", "redcnn")


@dataclass(frozen=True)
class Training:
    """What is trained and how; `block` is its part of the plan.

    kind        of `KINDS`; options  of its builder that differ from the study's, by name
    steps, batch, patch, lr, schedule, alpha  as in `Settings`, `CasePatches` and `l1_ssim_loss`
    """

    block: str
    method: str
    seed: int
    kind: str
    steps: int
    batch: int
    patch: int
    lr: float
    num_slices: int = 3
    alpha: float = 0.85
    schedule: str = "cosine"
    options: tuple[tuple[str, object], ...] = ()

    @property
    def name(self) -> str:
        """All that tells it from the other trainings of a chapter."""
        name = self.method.replace(" ", "-").replace(",", "").replace("'", "")
        return f"{name}-seed{self.seed}-{self.steps}x{self.batch}x{self.patch}-lr{self.lr:g}"

    @property
    def file(self) -> str:
        """Its checkpoint."""
        return f"{self.name}.ckpt"


@dataclass(frozen=True)
class Trained:
    """A training's end: the network with its best weights, and its validation curve (steps, PSNR [dB])."""

    net: nn.Module
    curve: tuple[tuple[int, ...], tuple[float, ...]]

    @property
    def best(self) -> float:
        """PSNR [dB] on the validation patches of the weights that are kept."""
        return max(self.curve[1])


def sizes(shrink: int, blocks: Sequence[int], rates: Sequence[int]) -> dict[str, object]:
    """Options of an `HQINet` of the paper's widths divided by a whole number: 8 channels, or multiples of 16."""
    shrink = contract.count("shrink", shrink, 1)
    thin = lambda w: 16 * math.ceil(w / shrink / 16) if w > 8 * shrink else 8  # noqa: E731
    found = {name: tuple(map(thin, w)) if isinstance(w, tuple) else thin(w) for name, w in WIDTHS.items()}
    return {**found, "blocks": tuple(blocks), "rates": tuple(rates)}


def plain_unet(seed: int, num_slices: int, width: int) -> UNet:
    """U-Net of three halvings, width to 8 width channels; its last layer starts at 0, as HQINet's."""
    net = make_unet(seed, num_slices, 1, width=tuple(width << k for k in range(4)), depth=3, norm=True)
    nn.init.zeros_(net.head[-1].weight)
    return net


def builder(kind: str, num_slices: int, size: Mapping[str, object], **options) -> Callable[[int], nn.Module]:
    """seed -> network: HQINet of a size, or a U-Net or RED-CNN with as many weights as HQINet with three slices."""
    if contract.choice("kind", kind, KINDS) == "hqinet":
        return partial(make_hqinet, num_slices=num_slices, **{**size, **options})
    make = {"unet": plain_unet, "redcnn": partial(make_redcnn, gain=0.5)}[kind]
    with torch.device("meta"):
        target = num_parameters(make_hqinet(0, num_slices=3, **size))
    wanted = {"tolerance": float("inf"), "widths": range(2, 1025)}
    width = matched_width(lambda w: make(0, num_slices=num_slices, width=w), target, **wanted)
    return partial(make, num_slices=num_slices, width=width, **options)


def middle_slices(inputs: Tensor, num: int) -> Tensor:
    """The middle `num` of the slices of stacks (N, S, Y, X)."""
    first = inputs.shape[1] // 2 - contract.count("num", num, 1, inputs.shape[1]) // 2
    return inputs[:, first : first + num]


@torch.no_grad()
def restore(
    net: nn.Module, inputs: Tensor, num_slices: int = 3, precision: str = "float32", at_once: int = 1
) -> Tensor:
    """Output (N, 1, Y, X) of a network for stacks of slices (N, S, Y, X), whole images, `at_once` at a time."""
    where = next(net.parameters()).device
    half, net = Precision(precision, where), net.eval()
    pieces = middle_slices(inputs, num_slices).split(contract.count("at_once", at_once, 1))
    return torch.cat([half(net, piece.to(where)).float().cpu() for piece in pieces])


def patch_psnr(x: Tensor, ref: Tensor) -> float:
    """Mean PSNR [dB] of patches (N, 1, Y, X), data range 1."""
    return float(metrics.psnr(x, ref, data_range=1.0).mean())


def train_once(
    t: Training, build: Callable[[int], nn.Module], fetch: Callable, held_out: tuple[Tensor, Tensor],
    precision: str = "float32", path: str | Path | None = None, looks: int = 12, device: str = "cpu",
) -> Trained:  # fmt: skip
    """Train build(seed) on what `fetch` gives, looking at the held-out patches `looks` times; the best weights stay.

    fetch     a `CasePatches` of t.num_slices;  held_out  (inputs of three slices, targets)
    """
    net = build(t.seed).to(device)
    inputs, targets = held_out

    def validate(trained: nn.Module) -> float:
        return -patch_psnr(restore(trained, inputs, t.num_slices, precision, 8), targets)

    loss = partial(l1_ssim_loss, alpha=t.alpha, beta=1 - t.alpha, data_range=1.0)
    settings = Settings(t.steps, t.batch, t.lr, t.schedule, t.seed, precision)
    often = max(1, t.steps // contract.count("looks", looks, 1))
    run = fit(net, loss, fetch, len(fetch), settings, path, often, validate=validate, validate_every=often)
    return Trained(net, (tuple(run.history["validation_step"]), tuple(-v for v in run.history["validation"])))
