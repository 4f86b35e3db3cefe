"""bfloat16 against float32 for the networks of the book: `python tests/bench/precision.py --out FILE [--quick]`.

Every network is trained from the same weights on the same samples in both, once a seed: noisy torso slices, or for
chapter 3 their neighboring pixels, and judged in float32 on slices it never saw. Rows of the JSON:

case, network, parameters, image, batch, steps, device, threads, date
precision      "float32" or "bf16", weights channels last in the latter
step_ms        the least time of a step: of its thread on a CPU, which other work does not lengthen, else of the clock
ratio          of float32's time to it
psnr_db        of every seed;  difference_db: mean of what bf16 gains over float32 from the same seed
spread_db      standard deviation of float32 over the seeds
within_spread  whether the difference is smaller than that

Rows of other networks that FILE holds stay, if they are of this machine and these versions: so each network can have
its own `--only`, `--steps` and `--size`. `--take OTHER` puts the rows of another such file there; nothing is measured.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import report
import torch
from torch import Tensor, nn

from ctlib.contract import count
from ctlib.errors import ArgumentError, CtlibError, DataError
from ctlib.files import replacing
from ctlib.geometry import Volume
from ctlib.losses import l1_ssim_loss
from ctlib.metrics import psnr
from ctlib.nets.seeded import num_parameters, seeded
from ctlib.nets.unet import make_unet
from ctlib.papers.dip.fit import fit_dip
from ctlib.papers.dip.network import skip_prior
from ctlib.papers.dip.operators import Identity
from ctlib.papers.hqinet.network import make_hqinet
from ctlib.papers.spectral2spectral.losses import neighbor_choice, subsample
from ctlib.papers.tomography.residual_unet import ResidualUNet
from ctlib.phantoms import torso_slice
from ctlib.train import Settings, fit

NOISE, FIELD_MM, PER_MM = 0.1, 360.0, 0.035  # of gray values; side of a slice; what is white
PRECISIONS = ("float32", "bf16")


@dataclass(frozen=True)
class Case:
    """A network and its training; channels: of its input, its output has one or, as neighbors have, as many."""

    name: str
    make: Callable[[int], nn.Module]
    channels: int
    batch: int
    lr: float
    neighbors: bool = False


def cases(quick: bool) -> list[Case]:
    """The networks at the widths of their papers; in a quick run as small as they can be."""
    hqinet = {"stem": 4, "mids": (2, 3), "blocks": (1, 1), "aspp": 4, "rates": (1,), "low": 2, "decoder": 4}
    width, blocks, depth = (4, 1, 2) if quick else (32, 1, 4)
    n2n = {"width": 4, "depth": 2, "decoder_width": 8} if quick else {"width": 48, "depth": 5, "decoder_width": 96}
    residual = lambda seed, b: seeded(seed, ResidualUNet, 1, 1, width, b, depth=depth)  # noqa: E731
    large = [] if quick else [Case("residual U-Net, M", lambda s: seeded(s, ResidualUNet, 1, 1, 64, 4), 1, 4, 3e-4)]
    return [
        Case("HQINet", partial(make_hqinet, **(hqinet if quick else {})), 3, 4, 1e-3),
        Case("residual U-Net, XXS", partial(residual, b=blocks), 1, 4, 1e-3),
        *large,
        Case(
            "Neighbor2Neighbor", lambda s: make_unet(s, 4, 4, input_skips=True, deep_convs=1, **n2n), 4, 4, 1e-3, True
        ),
    ]


def slices(size: int, seeds: range, device: str) -> Tensor:
    """Gray torso slices (N, 1, size, size)."""
    volume = Volume((size, size), FIELD_MM / size)
    return torch.stack([torso_slice(volume, seed).float() / PER_MM for seed in seeds])[:, None].to(device)


def noisy(x: Tensor, channels: int, seed: int) -> Tensor:
    """The slices with noise of their own in every channel (N, channels, Y, X)."""
    xi = torch.randn(len(x), channels, *x.shape[2:], generator=torch.Generator().manual_seed(seed))
    return x + NOISE * xi.to(x.device)


class Clock:
    """The least time between two steps [ms]."""

    def __init__(self, device: str):
        self.cuda, self.least, self.last = device.startswith("cuda"), float("inf"), None

    def __call__(self, *step) -> None:
        if self.cuda:
            torch.cuda.synchronize()
        now = time.perf_counter() if self.cuda else time.thread_time()
        if self.last is not None:
            self.least = min(self.least, 1e3 * (now - self.last))
        self.last = now


def trained(case: Case, size: int, steps: int, device: str, seed: int, precision: str) -> tuple[float, float]:
    """(PSNR on the slices left out [dB], ms a step) of one training."""
    x, left = slices(size, range(24), device), slices(size, range(100, 108), device)
    inputs, net, clock = noisy(x, case.channels, seed), case.make(seed).to(device), Clock(device)

    def pairs(indices: Tensor, seeds: list[int]) -> tuple[Tensor, Tensor]:
        picked = inputs[indices]
        if not case.neighbors:
            return picked, x[indices]
        first, second = neighbor_choice(picked.shape, torch.Generator().manual_seed(seeds[0]))
        return subsample(picked, first), subsample(picked, second)

    loss = nn.functional.mse_loss if case.neighbors else partial(l1_ssim_loss, data_range=1.0)
    settings = Settings(steps, case.batch, case.lr, "cosine", seed, precision)
    fit(net, loss, pairs, len(x), settings, callback=clock)
    with torch.no_grad():
        found = net(noisy(left, case.channels, 1000)).mean(1, keepdim=True)
    return float(psnr(found.double(), left.double(), data_range=1.0).mean()), clock.least


def prior(channels: int, size: int, steps: int, device: str, seed: int, precision: str) -> tuple[float, float]:
    """The same of a deep image prior that denoises one slice: PSNR of its averaged output."""
    truth, clock = slices(size, range(1), device)[0, 0], Clock(device)
    x0 = noisy(truth[None, None], 1, seed)[0, 0]
    net, z = skip_prior((size, size), seed, 32, device, channels=channels, scales=5 if channels > 8 else 2)
    noise = torch.Generator().manual_seed(seed)
    run = fit_dip(
        Identity((size, size)), x0, net, z, steps, noise, truth=truth, ema=0.9, callback=clock, precision=precision
    )
    return run.psnr_average[-1], clock.least


def rows(name: str, parameters: int, run: Callable, seeds: int, labels: dict) -> list[dict]:
    """Both precisions of one network, seed by seed."""
    found = {p: [run(seed=seed, precision=p) for seed in range(seeds)] for p in PRECISIONS}
    scores = {p: [score for score, _ in values] for p, values in found.items()}
    least = {p: min(ms for _, ms in values) for p, values in found.items()}
    gained = statistics.mean(b - a for a, b in zip(scores["float32"], scores["bf16"], strict=True))
    spread = statistics.stdev(scores["float32"])
    about = {"case": "precision", "network": name, "parameters": parameters, **labels}
    compared = {"difference_db": gained, "spread_db": spread, "within_spread": abs(gained) < spread}
    return [
        {
            **about, "precision": p, "step_ms": round(least[p], 3), "ratio": round(least["float32"] / least[p], 3),
            "psnr_db": scores[p], **(compared if p == "bf16" else {}),
        }
        for p in PRECISIONS
    ]  # fmt: skip


def table(records: list[dict]) -> str:
    """A line per network."""
    lines = [f"{'network':22s} {'weights':>11s} {'float32':>10s} {'bf16':>10s} {'gain':>6s}   PSNR bf16 - float32"]
    for one, two in zip(records[::2], records[1::2], strict=True):
        verdict = "within" if two["within_spread"] else "OUTSIDE"
        lines.append(
            f"{one['network']:22s} {one['parameters']:11,} {one['step_ms']:7.1f} ms {two['step_ms']:7.1f} ms "
            f"{two['ratio']:5.2f}x   {two['difference_db']:+.3f} dB, {verdict} {two['spread_db']:.3f} dB"
        )
    return "\n".join(lines)


def stored(path: Path) -> list[dict]:
    """Rows of a file that this script wrote on this machine with these versions."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        written = run["digest"] == report.digest({k: v for k, v in run.items() if k != "digest"})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(path, "JSON", f"is not of this benchmark ({error}); give another file") from None
    own = {"digest": True, "machine": report.machine(), "versions": report.versions(), "gpu": report.gpu()}
    for field, value in {**run, "digest": written}.items():
        if field in own and value != own[field]:
            raise DataError(path, field, "is of another machine or version, or was edited; give another file")
    return run["records"]


def write(path: Path, records: list[dict]) -> None:
    """Put these rows in the place of those of the same networks, whole or not at all."""
    networks = {}
    for r in (stored(path) if path.exists() else []) + records:
        networks.setdefault(r["network"], {})[r["precision"]] = r
    result = {"machine": report.machine(), "versions": report.versions(), "date": report.today()}
    result |= {"gpu": report.gpu(), "notes": [], "records": [r for pair in networks.values() for r in pair.values()]}
    with replacing(path) as part:
        part.write_text(json.dumps(result | {"digest": report.digest(result)}, indent=1) + "\n")


def main(options: argparse.Namespace) -> None:
    """Every network, the JSON written after each."""
    if options.out.exists():
        stored(options.out)  # one that cannot be added to is said before hours of work, not after
    if options.take:
        write(options.out, stored(options.take))
        print(table(stored(options.out)))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    seeds = count("--seeds", options.seeds, 2)  # one has no spread
    size, seeds = (32, 2) if options.quick else (options.size, seeds)
    steps, channels = 6 if options.quick else options.steps, 4 if options.quick else 128
    labels = {"image": f"{size} x {size}", "steps": steps, "device": device}
    labels |= {"threads": options.threads, "date": report.today()}
    runs = [
        (c.name, num_parameters(c.make(0)), partial(trained, c, size, steps, device), c.batch)
        for c in cases(options.quick)
    ]
    dip = skip_prior((size, size), 0, 32, channels=channels, scales=5 if channels > 8 else 2)[0]
    runs.insert(0, ("deep image prior", num_parameters(dip), partial(prior, channels, size, steps, device), 1))
    runs = [run for run in runs if options.only in run[0]]
    if not runs:
        raise ArgumentError("--only", repr(options.only), "part of a network's name")
    torch.set_num_threads(options.threads)
    for name, parameters, run, batch in runs:
        print(name, file=sys.stderr, flush=True)
        write(options.out, rows(name, parameters, run, seeds, {"batch": batch, **labels}))
    print(table(stored(options.out)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="bfloat16 against float32, network by network.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--quick", action="store_true", help="tiny networks, seconds: does it run at all?")
    parser.add_argument("--size", type=int, default=64, help="pixels a side (default: 64)")
    parser.add_argument("--steps", type=int, default=40, help="steps of a training (default: 40)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network (default: 3)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--take", type=Path, metavar="FILE", help="take the rows of this file; nothing is measured")
    try:
        main(parser.parse_args())
    except CtlibError as error:
        sys.exit(f"error: {error}")
